from __future__ import annotations

import asyncio
import time

from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import Repo, World

SLOW = """
if [ "$ORCHESTRATE_TURN" = 1 ]; then echo half > half.txt; sleep 60; fi
echo whole > whole.txt
"""


async def at_work(repo: Repo) -> tuple[int, Run]:
    """Start a run whose agent is half through its turn."""
    writer = repo.person("writer")
    issue = await writer.issue("Slow")
    await writer.comment(issue, "/orchestrate take your time")
    async with asyncio.timeout(20):
        while True:
            runs = await repo.world.server.bot.store.of_thread(repo.id, issue)
            folder = repo.world.folder / "bot" / "runs"
            if runs and (folder / runs[0].id / "workspace" / "half.txt").exists():
                return issue, runs[0]
            await asyncio.sleep(0.02)


async def slow_repository(world: World) -> Repo:
    return await world.repository({"agents": {"writer": {"command": SLOW}}, "checks": []})


async def test_a_pause_stops_the_agent_at_once_and_keeps_what_it_did(world: World) -> None:
    repo = await slow_repository(world)
    issue, _ = await at_work(repo)
    began = time.monotonic()
    await repo.person("writer").comment(issue, "/pause")
    run = await repo.until(issue, lambda run: run.state is State.PAUSED and not run.active)
    assert time.monotonic() - began < 10
    assert [each.kind for each in run.checkpoints] == ["interrupted"]
    assert repo.git("merge-base", run.head, f"refs/orchestrate/{run.id}") == run.head
    (status,) = await repo.status_comments(issue)
    assert "Paused by" in status
    assert "writer" in status
    assert "/resume" in status

    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert [each.kind for each in run.checkpoints] == ["interrupted", "agent"]
    assert repo.file(run.head, "half.txt") == "half"
    assert repo.file(run.head, "whole.txt") == "whole"
    assert repo.git("rev-parse", run.branch) == run.head
    assert len(await repo.status_comments(issue)) == 1


async def test_a_pause_while_a_run_waits_holds_it_where_it_was(repo: Repo) -> None:
    issue, before = await repo.started()
    assert before.pull_request
    await repo.person("writer").comment(before.pull_request, "/pause")
    await repo.until(issue, State.PAUSED)
    (answer,) = await repo.person("maintainer").says(before.pull_request, "/approve")
    assert "paused" in answer
    await repo.person("writer").comment(before.pull_request, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert run.checkpoints == before.checkpoints
