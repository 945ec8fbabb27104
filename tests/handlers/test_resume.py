from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bot.runs import work
from bot.runs.ports import TurnOrder, TurnReport
from bot.runs.transitions import State
from tests.support.world import PATIENCE_SECONDS, Repo, World

ELSE = 'if [ "$ORCHESTRATE_TURN" != 1 ]; then echo good > good.txt; exit 0; fi; '


async def acting(world: World, first: str, **config: object) -> Repo:
    """Make a repository whose agent does `first` in its first turn, and good ones after that."""
    agents = {"writer": {"command": ELSE + first}}
    return await world.repository({"agents": agents, "checks": [], **config})


@pytest.mark.parametrize(
    ("first", "why", "checkpoints"),
    [
        ("true", "changed nothing", 0),
        ("echo no such model >&2; exit 3", "failed with exit code 3: no such model", 0),
        ("echo half > half.txt; exit 4", "failed with exit code 4", 1),
        ("nonsense-program", "The program nonsense-program was not found", 0),
    ],
)
async def test_a_turn_that_came_to_nothing_blocks_and_resume_gives_another(
    world: World, first: str, why: str, checkpoints: int
) -> None:
    repo = await acting(world, first)
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    assert why in run.reason
    assert len(run.checkpoints) == checkpoints
    (status,) = await repo.status_comments(issue)
    assert "**Blocked.**" in status
    assert "/resume" in status
    (call,) = await repo.calls(issue)
    assert "@writer" in call
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert repo.file(run.head, "good.txt") == "good"
    assert len(await repo.status_comments(issue)) == 1


async def test_a_turn_that_takes_too_long_is_stopped_and_what_it_did_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = await acting(world, "echo half > half.txt; sleep 60")
    monkeypatch.setattr(work, "MINUTE_SECONDS", 0.7)
    issue, run = await repo.started(minutes="1")
    assert run.state is State.BLOCKED
    assert "did not end within its" in run.reason
    assert [each.kind for each in run.checkpoints] == ["partial"]
    monkeypatch.undo()
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert repo.file(run.head, "half.txt") == "half"


@pytest.mark.parametrize(
    ("first", "path"),
    [
        (
            "mkdir -p .github/workflows; echo evil > .github/workflows/x.yml",
            ".github/workflows/x.yml",
        ),
        ("echo evil > CLAUDE.md", "CLAUDE.md"),
    ],
)
async def test_what_breaks_the_rules_is_never_pushed_and_the_run_says_why(
    world: World, first: str, path: str
) -> None:
    repo = await acting(world, f"echo fine > fine.txt; {first}")
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    assert run.checkpoints == ()
    (status,) = await repo.status_comments(issue)
    assert "The rules refused" in status
    assert path in status
    assert await repo.pulls() == []
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert repo.git("diff", "--name-only", "main", run.head) == "good.txt"
    assert not repo.contains(path)
    assert not repo.contains("fine.txt")


async def test_a_later_candidate_that_breaks_the_rules_leaves_the_head_as_it_was(
    world: World,
) -> None:
    bad = 'if [ "$ORCHESTRATE_TURN" = 2 ]; then echo evil > AGENTS.md; fi; echo more >> notes.txt'
    repo = await world.repository({"agents": {"writer": {"command": bad}}})
    issue, run = await repo.started()
    await repo.person("writer").comment(run.pull_request or 0, "/orchestrate more")
    run = await repo.until(issue, State.BLOCKED)
    assert len(run.checkpoints) == 1
    checks = await repo.check_runs(run.head)
    assert checks["orchestrate / refused candidate"] == "neutral"
    assert checks["orchestrate / notes"] == "success"
    await repo.person("writer").comment(run.pull_request or 0, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert len(run.checkpoints) == 2
    assert not repo.contains("AGENTS.md")


async def test_another_agent_may_resume_what_one_began(world: World) -> None:
    agents = {"lazy": {"command": "true"}, "keen": {"command": "echo done > done.txt"}}
    repo = await world.repository({"agents": agents, "agent": "lazy", "checks": []})
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    await repo.person("writer").comment(issue, "/resume --agent keen")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert "Orchestrate-Agent: keen" in repo.git("log", "-1", "--format=%B", run.head)


class Spending:
    """Makes turns report what a model would have taken, and stop where the allowance ends.

    `usd` is what each turn takes; `during` is told of it while the turn goes on.
    """

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *usd: float) -> None:
        self.orders: list[TurnOrder] = []
        self._usd = list(usd)
        self._store = world.server.bot.store
        self._turn = world.server.bot.agents.turn
        monkeypatch.setattr(world.server.bot.agents, "turn", self._spent)

    async def _spent(self, order: TurnOrder, *, stop: asyncio.Event, output: Any) -> TurnReport:
        self.orders.append(order)
        usage = {"requests": 1, "input_tokens": 1000, "usd": self._usd.pop(0)}
        order.progress.usage(usage)
        order.progress.session(f"acp:{len(self.orders)}")
        if order.allowance_usd is not None and usage["usd"] >= order.allowance_usd:
            await self._warned(order.log.parent.parent.name)
        report = await self._turn(order, stop=stop, output=output)
        over = order.allowance_usd is not None and usage["usd"] >= order.allowance_usd
        return replace(
            report,
            outcome="budget" if over else report.outcome,
            usage=usage,
            session=f"acp:{len(self.orders)}",
        )

    async def _warned(self, run: str) -> None:
        """Work until people were warned, as a turn of minutes does."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await self._store.load(run)).budget_low:  # noqa: ASYNC110 - another task's
                await asyncio.sleep(0.02)


AGENTS = {
    "writer": {"command": "cat > prompt-$ORCHESTRATE_TURN.txt; echo I did the first half."},
    "other": {"command": "cat > prompt-$ORCHESTRATE_TURN.txt"},
}


async def test_the_end_of_the_budget_is_a_checkpoint_and_more_goes_on_from_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spending = Spending(world, monkeypatch, 2.04, 0.3)
    repo = await world.repository({"agents": AGENTS, "agent": "writer", "checks": []})
    issue, run = await repo.started(budget="2")

    assert run.state is State.BLOCKED
    assert run.reason == "The run has used $2.04 of its $2.00."
    assert [each.kind for each in run.checkpoints] == ["partial"]
    # What a turn left that did not end by itself is in the record, and on the branch later.
    assert repo.git("merge-base", run.head, f"refs/orchestrate/{run.id}") == run.head
    (status,) = await repo.status_comments(issue)
    assert "$2.04 of $2.00, 1,000 tokens" in status
    assert "/resume --budget +2" in status

    (refusal,) = await repo.person("writer").says(issue, "/resume")
    assert "`/resume --budget +2` goes on from here" in refusal
    await repo.person("writer").comment(issue, "/resume --agent other --budget +2")
    run = await repo.until(issue, State.AWAITING_REVIEW)

    assert (run.usd_limit, run.usage.usd, run.turns) == (4.04, 2.34, 2)
    assert "$2.34 of $4.04" in (await repo.pull(run.pull_request or 0))["body"]
    first, second = spending.orders
    assert (first.allowance_usd, second.allowance_usd) == (2.0, 2.0)
    assert (first.session, second.session) == ("", "")
    prompt = repo.file(run.head, "prompt-2.txt")
    assert "- checkpoint 1: Add a note (not finished)" in prompt
    assert "The agent `writer` worked on this before you." in prompt
    assert "> I did the first half." in prompt
    events = await world.server.bot.store.events(run.id)
    assert [each.type for each in events].count("budget_low") == 1
    assert [each.data["usage"]["usd"] for each in events if each.type == "turn_ended"] == [
        2.04,
        0.3,
    ]
    assert not any("first half" in str(each.data) for each in events)


async def test_the_same_agent_goes_on_in_its_own_session(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spending = Spending(world, monkeypatch, 0.5, 0.5)
    repo = await world.repository({"agents": AGENTS, "agent": "writer", "checks": []})
    issue, run = await repo.started()
    await repo.person("writer").comment(run.pull_request or 0, "/orchestrate more --budget +1")
    run = await repo.until(issue, lambda now: now.turns == 2 and not now.active)

    assert [order.session for order in spending.orders] == ["", "acp:1"]
    assert [order.allowance_usd for order in spending.orders] == [5.0, 5.5]
    assert "Your last words were" in repo.file(run.head, "prompt-2.txt")


async def test_a_budget_used_up_by_a_whole_turn_stops_before_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spending(world, monkeypatch, 0.6, 0.6)
    checks = [{"name": "never", "run": "false"}]
    limits = {"usd": 1, "turns": 5}
    repo = await world.repository(
        {"agents": AGENTS, "agent": "writer", "checks": checks, "limits": limits}
    )
    issue, run = await repo.started()

    assert (run.state, run.turns) == (State.BLOCKED, 2)
    assert "$1.20 of its $1.00" in run.reason
    (status,) = await repo.status_comments(issue)
    assert "`/resume --budget +1`" in status


async def test_it_is_said_while_a_turn_goes_on_that_the_budget_comes_to_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spending = Spending(world, monkeypatch, 0.9)
    waits = {"writer": {"command": "echo a > a.txt; while [ ! -e go ]; do sleep 0.05; done"}}
    repo = await world.repository({"agents": waits, "checks": [], "limits": {"usd": 1}})
    issue = await repo.person("writer").issue("Dear")
    await repo.person("writer").comment(issue, "/orchestrate spend")
    async with asyncio.timeout(20):
        while not any("Most of the budget" in each for each in await repo.status_comments(issue)):
            await world.moved()
    await repo.person("writer").comment(issue, "/resume --budget +2")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await spending.orders[0].purse.changed()).usd == 3.0
        while any("Most of the budget" in each for each in await repo.status_comments(issue)):
            await world.moved()
    await repo.person("writer").comment(issue, "/resume --minutes 5 --budget +2")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (answers := await repo.replies(issue)):
            await world.moved()
    assert "`/resume --budget +2` alone gives it more meanwhile" in answers[0]
    await repo.person("writer").comment(issue, "/pause")
    run = await repo.until(issue, lambda now: now.state is State.PAUSED and not now.active)

    assert [each.kind for each in run.checkpoints] == ["interrupted"]
    assert (run.usage.usd, run.usd_limit) == (0.9, 3.0)
    assert "budget_low" in [each.type for each in await world.server.bot.store.events(run.id)]


@pytest.mark.parametrize(
    ("rest", "answer"),
    [
        ("--budget two", "`--budget` takes dollars"),
        ("--tokens many", "`--tokens` takes a number of tokens"),
        ("--minutes +5", "`--minutes` takes a whole number"),
    ],
)
async def test_what_is_no_limit_is_refused(world: World, rest: str, answer: str) -> None:
    repo = await acting(world, "true")
    issue, before = await repo.started()
    (refusal,) = await repo.person("writer").says(issue, f"/resume {rest}")

    assert answer in refusal
    assert (await repo.run(issue)).seq == before.seq
