from __future__ import annotations

from tests.support.world import Repo


async def test_status_says_where_the_run_stands_to_whoever_may_read(repo: Repo) -> None:
    issue, run = await repo.started()
    (answer,) = await repo.person("reader").says(issue, "/status")
    assert f"Run `{run.id}` is awaiting review." in answer
    assert f"Checkpoint 1, `{run.head[:7]}`: `notes` success." in answer
    assert f"Pull request: #{run.pull_request}." in answer


async def test_status_without_a_run_says_how_one_starts(repo: Repo) -> None:
    issue = await repo.person("reader").issue("Nothing here")
    assert await repo.person("reader").says(issue, "/status") == []
    (answer,) = await repo.person("reader").says(issue, "/orchestrate status")
    assert "There is no run in this conversation" in answer
