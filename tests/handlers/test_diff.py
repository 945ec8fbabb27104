from __future__ import annotations

import pytest

from bot import library
from tests.support.world import Repo


async def test_diff_shows_what_changed_between_checkpoints(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue, run = await repo.started()
    reader, pull = repo.person("reader"), run.pull_request or 0
    await repo.person("writer").comment(pull, "/orchestrate more")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    (whole,) = await reader.says(pull, "/diff")
    assert "changes 1 file" in whole
    assert whole.count("\n+more") == 2
    (second,) = await reader.says(pull, "/diff 1..2")
    assert second.count("\n+more") == 1
    assert f"`{run.checkpoints[0].sha[:7]}..{run.checkpoints[1].sha[:7]}`" in second
    (first,) = await reader.says(pull, "/diff 1")
    assert f"`{run.base_sha[:7]}..{run.checkpoints[0].sha[:7]}`" in first
    (wrong,) = await reader.says(pull, "/diff 1..9")
    assert "There is no checkpoint `9`" in wrong
    assert "/compare/" not in whole
    monkeypatch.setattr(library, "PATCH_BYTES", 20)
    (cut,) = await reader.says(pull, "/diff")
    page = (await repo.pull(pull))["html_url"].partition("/pull/")[0]
    assert f"All of it: {page}/compare/{run.base_sha}...{run.head}" in cut
