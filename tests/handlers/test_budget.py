"""What a day may cost: warned of, kept to, and said before anything is spent."""

from __future__ import annotations

import pytest

from bot.runs.transitions import State
from tests.handlers.test_resume import Spending
from tests.support.world import World


async def nothing(*_: object) -> None:
    """It is the day's budget that ends, and not the run's own."""


async def test_a_days_budget_is_warned_of_kept_to_and_refuses_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spending, "_warned", nothing)
    spending = Spending(world, monkeypatch, 0.85, 0.2)
    budget = {"repository": {"usd": 1.0}, "person": {"usd": 2.0}}
    repo = await world.repository({"checks": [], "budget": budget})
    _, first = await repo.started()
    assert (first.state, first.day) == (State.AWAITING_REVIEW, "")

    issue, run = await repo.started("more of it")
    assert run.day == "This repository has used $0.85 of $1.00 of today's budget."
    assert [each.allowance_usd for each in spending.orders] == [1.0, pytest.approx(0.15)]
    assert (run.state, run.reason) == (State.BLOCKED, "What was left of today's budget is used up.")
    assert [each.kind for each in run.checkpoints] == ["partial"]

    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, lambda run: run.state is State.BLOCKED and not run.active)
    assert "this repository has used $1.05 of $1.00" in run.reason
    assert len(spending.orders) == 2
    (status,) = await repo.status_comments(issue)
    assert "a maintainer may raise `budget: repository: usd:`" in status

    # Nothing is begun that could not go on.
    other = await repo.person("writer").issue("Another")
    (answer,) = await repo.person("writer").says(other, "/orchestrate yet another")
    assert "Today's budget is used up" in answer
    assert await world.server.bot.store.of_thread(repo.id, other) == []


async def test_past_runs_say_what_the_next_one_may_cost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spending(world, monkeypatch, 0.5, 0.7, 0.6, 0.1)
    repo = await world.repository({"checks": []})
    for _ in range(3):
        issue, run = await repo.started()
        assert run.forecast == {}
        await repo.person("maintainer").comment(issue, f"/approve {run.head}")
        await repo.until(issue, State.DONE)
    issue, run = await repo.started(budget="0.55")
    (status,) = await repo.status_comments(issue)
    assert run.forecast == {"runs": 3, "usd": 0.6, "usd_most": 0.7}
    told = (
        "Of the last 3 runs here half cost at most $0.60, which is more than the $0.55 of this run"
    )
    assert told in status
