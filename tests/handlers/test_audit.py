"""Who decided what, as the records in git tell of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bot.audit import decisions
from bot.runs.transitions import State
from tests.support.world import Repo


async def test_the_decisions_of_a_run_are_told_with_their_evidence(repo: Repo) -> None:
    issue, run = await repo.started("add a note about the weather")
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    run = await repo.until(issue, State.DONE)
    settings = repo.world.server.settings
    found = await decisions(settings, run.id)
    assert found["unread"] == []
    told = {row["did"]: row for row in found["decisions"]}
    assert (told["requested"]["actor"], told["requested"]["person"]) == ("writer", True)
    approved = told["approved"]
    assert approved["actor"] == "maintainer"
    last = run.checkpoints[-1]
    assert (approved["evidence"]["sha"], approved["evidence"]["tree"]) == (last.sha, last.tree)
    assert {"plan", "policy", "under", "how", "reason"} <= approved["evidence"].keys()
    assert told["merged"]["evidence"]["sha"] == run.merge_sha
    assert "weather" not in str(told["requested"]["evidence"])
    later = datetime.now(UTC) + timedelta(days=1)
    assert (await decisions(settings, run.id, later))["decisions"] == []
