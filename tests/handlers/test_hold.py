"""What keeps an approved run from being merged: `/hold`, a label, a time for no merges."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.events import Event, Type
from bot.runs.transitions import State
from tests.support.world import CONFIG, Repo, World, yaml_of


async def test_a_held_run_notes_its_approval_and_is_merged_once_nobody_holds_it(
    repo: Repo,
) -> None:
    issue, run = await repo.started()
    writer, maintainer = repo.person("writer"), repo.person("maintainer")
    assert run.pull_request
    (refused,) = await repo.person("reader").says(run.pull_request, "/hold")
    assert "needs the write role" in refused
    assert await writer.says(run.pull_request, "/hold until the <b>release</b>") == []
    (status,) = await repo.status_comments(issue)
    held = "Held by `writer` (`until the <b>release</b>`): it is merged only after `/unhold`."
    assert held in status
    assert held in (await repo.pull(run.pull_request))["body"]
    await maintainer.label(run.pull_request, "do-not-merge")
    (noted,) = await maintainer.says(run.pull_request, f"/approve {run.head}")
    assert f"Noted: `{run.head[:7]}` is not merged yet" in noted
    assert "held by `writer` (`until the <b>release</b>`)" in noted
    assert "a label on the pull request, `do-not-merge`" in noted
    assert (await repo.pull(run.pull_request))["merged"] is False
    assert await maintainer.says(run.pull_request, "/unhold") == []
    (none,) = await maintainer.says(run.pull_request, "/unhold")
    assert "Nobody holds this run" in none
    (noted,) = await maintainer.says(run.pull_request, f"/approve {run.head}")
    assert "held by `writer`" not in noted
    assert "take it off" in noted
    label = f"/issues/{run.pull_request}/labels/do-not-merge"
    (await maintainer.request("DELETE", label)).raise_for_status()
    assert await maintainer.says(run.pull_request, f"/approve {run.head}") == []
    await repo.until(issue, State.DONE)


async def test_a_hold_counts_until_the_merge_itself(repo: Repo) -> None:
    """Somebody holds it after the approval was recorded, and before it is merged."""
    issue, run = await repo.started()
    await repo.person("writer").says(issue, "/hold")
    data = {"of": "head", "sha": run.head, "tree": run.tree, "how": "command"}
    given = Event(
        id="late", at=datetime.now(UTC), actor="maintainer", type=Type.APPROVED, data=data
    )
    await repo.world.server.bot.store.append(run.id, lambda _: [given])
    run = await repo.until(issue, State.BLOCKED)
    assert "held by `writer`" in run.reason
    assert run.pull_request
    assert (await repo.pull(run.pull_request))["merged"] is False


async def test_in_a_freeze_an_approval_is_noted_and_nothing_is_merged(world: World) -> None:
    always = [{"name": "release", "start": "2020-01-01", "end": "2999-01-01 08:00"}]
    repo = await world.repository({"freeze": always})
    issue, run = await repo.started()
    maintainer = repo.person("maintainer")
    assert run.pull_request
    (noted,) = await maintainer.says(run.pull_request, f"/approve {run.head}")
    assert "Nothing is merged before 2999-01-01 08:00 (UTC), because of `release`" in noted
    assert (await repo.pull(run.pull_request))["merged"] is False
    (status,) = await repo.status_comments(issue)
    assert "Approved so far by `maintainer`. It was not merged then: Nothing is merged" in status
    text = yaml_of({**CONFIG, "freeze": []})
    await maintainer.write(".github/orchestrate.yml", text, branch="main")
    assert await maintainer.says(run.pull_request, f"/approve {run.head}") == []
    await repo.until(issue, State.DONE)
