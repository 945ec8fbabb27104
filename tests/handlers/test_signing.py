"""`commits: api`: checkpoints that GitHub signs, with the files as the agent left them."""

from __future__ import annotations

from typing import Any

from bot.runs.transitions import State
from tests.support.world import Repo, World

# Leaves a changed file, a program and a link, and grows each turn.
AGENT = "cat > /dev/null; echo more >> notes.txt; echo ':' > go; chmod +x go; ln -sf go link"
CONFIG: dict[str, Any] = {"commits": "api", "agents": {"writer": {"command": AGENT}}}


async def verified(repo: Repo, sha: str) -> bool:
    shown = await repo.person("reader").get(f"/git/commits/{sha}")
    return bool(shown["verification"]["verified"])


async def test_every_checkpoint_is_verified_and_merged_where_signatures_are_asked_for(
    world: World,
) -> None:
    repo = await world.repository(CONFIG)
    await repo.rules({"type": "required_signatures"})
    issue, run = await repo.started()
    assert run.pull_request
    writer = repo.person("writer")
    await writer.comment(run.pull_request, "/orchestrate once more")
    await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    await writer.comment(run.pull_request, "/rollback 1")
    await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    await writer.write("base.txt", "new\n", branch="main")
    await writer.comment(run.pull_request, "/update")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 4 and not run.active)
    assert [await verified(repo, each.sha) for each in run.checkpoints[:3]] == [True] * 3
    first = run.checkpoints[0]
    assert repo.git("log", "-1", "--format=%T", first.sha) == first.tree
    listed = repo.git("ls-tree", first.sha).splitlines()
    modes = {line.rsplit("\t", 1)[1]: line.split(" ", 1)[0] for line in listed}
    assert (modes["go"], modes["link"], modes["notes.txt"]) == ("100755", "120000", "100644")
    text = repo.git("log", "-1", "--format=%B", first.sha)
    assert f"Orchestrate-Run: {run.id}" in text
    assert repo.git("for-each-ref", "refs/orchestrate-unsigned") == ""
    assert repo.git("rev-parse", run.branch) == run.head


async def test_what_a_person_pushed_meanwhile_is_not_overwritten(world: World) -> None:
    repo = await world.repository(CONFIG)
    issue, run = await repo.started()
    writer = repo.person("writer")
    world.hub.faults.webhooks("drop", "push")
    world.hub.faults.webhooks("drop", "pull_request")
    theirs = await writer.write("mine.txt", "mine\n", branch=run.branch)
    await writer.comment(run.pull_request or 0, "/orchestrate once more")
    run = await repo.until(issue, State.PAUSED)
    assert repo.git("rev-parse", run.branch) == theirs
