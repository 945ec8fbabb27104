from __future__ import annotations

from bot.runs.transitions import State
from tests.support.world import World

PROMPT = {"agents": {"writer": {"command": "cat > prompt.txt"}}, "checks": []}


async def test_a_plan_is_shown_rejected_approved_and_only_then_worked_on(world: World) -> None:
    repo = await world.repository(PROMPT)
    writer, maintainer = repo.person("writer"), repo.person("maintainer")
    issue = await writer.issue("Plan")
    await writer.comment(issue, "/orchestrate add a note --plan")
    run = await repo.until(issue, State.AWAITING_APPROVAL)
    (status,) = await repo.status_comments(issue)
    assert "The plan waits for approval" in status
    assert "Add a note" in status
    assert await repo.pulls() == []
    (answer,) = await writer.says(issue, "/approve")
    assert "maintain" in answer
    await maintainer.comment(issue, "/reject keep it short")
    run = await repo.until(issue, lambda run: bool(run.instructions) and not run.active)
    assert run.state is State.AWAITING_APPROVAL
    assert run.turns == 0
    (status,) = await repo.status_comments(issue)
    assert "keep it short" in status
    await maintainer.comment(issue, "/approve")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert "keep it short" in repo.file(run.head, "prompt.txt")


async def test_rejecting_a_head_is_the_next_turn_and_needs_a_reason(world: World) -> None:
    repo = await world.repository(PROMPT)
    issue, run = await repo.started()
    assert run.pull_request
    maintainer = repo.person("maintainer")
    (answer,) = await maintainer.says(run.pull_request, "/reject")
    assert "/reject WHY" in answer
    await maintainer.comment(run.pull_request, "/reject the names are wrong")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert "the names are wrong" in repo.file(run.head, "prompt.txt")
