from __future__ import annotations

from tests.support.world import Repo


async def test_the_plan_says_what_is_done_and_what_is_next(repo: Repo) -> None:
    issue, _ = await repo.started()
    (answer,) = await repo.person("reader").says(issue, "/plan")
    assert answer.endswith("- `1` `Add a note`: done, by `writer`")
