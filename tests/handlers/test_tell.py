from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bot.runs.model import Run
from bot.runs.ports import TurnOrder, TurnReport
from bot.runs.transitions import State
from tests.support.world import Repo, World


async def at_work(world: World, **config: Any) -> tuple[Repo, int, Run]:
    """Start a run, and come back when its agent is at work."""
    agents = {"writer": {"command": "cat > prompt-$ORCHESTRATE_TURN.txt"}}
    repo = await world.repository({"agents": agents, "checks": [], **config})
    writer = repo.person("writer")
    issue = await writer.issue("Slow")
    await writer.comment(issue, "/orchestrate take your time")
    async with asyncio.timeout(20):
        while True:
            runs = await world.server.bot.store.of_thread(repo.id, issue)
            if runs and runs[0].turn_open:
                return repo, issue, runs[0]
            await world.moved()


class Gate:
    """Holds each turn until it is opened; then the turn goes on as it would have."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = asyncio.Event()
        self.heard: list[str] = []
        self.acks = True
        self._turn = world.server.bot.agents.turn
        monkeypatch.setattr(world.server.bot.agents, "turn", self._held)

    async def _held(self, order: TurnOrder, *, stop: asyncio.Event, output: Any) -> TurnReport:
        hears = asyncio.create_task(self._hear(order))
        waits = [asyncio.create_task(event.wait()) for event in (self.open, stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in (hears, *waits):
            task.cancel()
        report = await self._turn(order, stop=stop, output=output)
        return replace(report, outcome="stopped") if stop.is_set() else report

    async def _hear(self, order: TurnOrder) -> None:
        while True:
            told = await order.steer.next()
            self.heard.append(f"{told.by}: {told.text}")
            if self.acks:
                await order.steer.ack(told)


async def until(world: World, run: Run, holds: Any) -> Run:
    """Wait for a run to be as wanted, while it is at work."""
    async with asyncio.timeout(20):
        while not holds(now := await world.server.bot.store.load(run.id)):
            await world.moved()
    return now


async def test_an_agent_that_can_hear_is_told_at_once_and_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(world, monkeypatch)
    repo, issue, run = await at_work(world)
    comment = await repo.person("writer").comment(issue, "/tell use tabs\n\nin all files")

    run = await until(world, run, lambda now: now.messages and now.messages[0].turn == 1)
    assert gate.heard == ["writer: use tabs\n\nin all files"]
    gate.open.set()
    run = await repo.until(issue, State.AWAITING_REVIEW)

    assert run.turns == 1
    (status,) = await repo.status_comments(issue)
    assert "use tabs in all files (told in turn 1)" in status
    reactions = await repo.person("reader").get(f"/issues/comments/{comment}/reactions")
    assert [each["content"] for each in reactions] == ["eyes"]
    record = await world.server.bot.store.events(run.id)
    assert [each.type for each in record if each.type in ("told", "heard")] == ["told", "heard"]


async def test_an_agent_that_cannot_hear_is_told_in_a_turn_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(world, monkeypatch)
    gate.acks = False
    repo, issue, run = await at_work(world)
    await repo.person("writer").comment(issue, "/tell use tabs")

    run = await until(world, run, lambda now: now.messages)
    await world.server.bot.reconciler.settled()
    (status,) = await repo.status_comments(issue)
    assert "use tabs (will be told at its next turn)" in status
    gate.open.set()
    run = await repo.until(issue, State.AWAITING_REVIEW)

    assert run.turns == 2
    assert "use tabs" not in repo.file(run.head, "prompt-1.txt")
    assert repo.file(run.head, "prompt-2.txt").count("use tabs") == 1
    (status,) = await repo.status_comments(issue)
    assert "use tabs (told in turn 2)" in status


async def test_what_a_stopped_turn_was_told_is_told_again_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(world, monkeypatch)
    repo, issue, run = await at_work(world)
    writer = repo.person("writer")
    await writer.comment(issue, "/tell use tabs")
    await until(world, run, lambda now: now.messages and now.messages[0].turn == 1)
    await writer.comment(issue, "/pause")
    run = await repo.until(issue, lambda now: now.state is State.PAUSED and not now.active)
    await writer.says(issue, "/tell and write tests")
    gate.open.set()
    await writer.comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)

    prompt = repo.file(run.head, f"prompt-{run.turns}.txt")
    assert prompt.count("use tabs") == 1
    assert prompt.count("and write tests") == 1
    assert run.unheard() == ()


async def test_it_reaches_the_agent_from_another_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process writes is not told of by listeners; it is looked for."""
    gate = Gate(world, monkeypatch)
    repo, issue, run = await at_work(world)
    store = world.server.bot.store
    monkeypatch.setattr(store, "_tell", lambda _run: None)
    await repo.person("writer").comment(issue, "/tell from afar")

    async with asyncio.timeout(10):
        while not gate.heard:
            await world.moved()
    monkeypatch.undo()
    gate.open.set()
    await store.append(run.id, lambda _: [])
    await until(world, run, lambda now: not now.turn_open)
    assert gate.heard == ["writer: from afar"]


async def test_only_who_may_is_heard_and_only_while_somebody_works(world: World) -> None:
    repo = await world.repository()
    issue, run = await repo.started()
    assert run.pull_request

    (answer,) = await repo.person("reader").says(issue, "/tell do as I say")
    assert "may" in answer or "needs" in answer
    (answer,) = await repo.person("writer").says(issue, "/tell do as I say")
    assert "No agent is at work" in answer
    assert "/orchestrate REQUEST" in answer
    assert (await repo.run(issue)).messages == ()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("/tell", "Something is missing"),
        ("/tell \u200b\u2063", "empty to whoever reads it"),
        ("/tell " + "x" * 4_001, "at most 4,000 characters"),
    ],
)
async def test_what_cannot_be_told_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, said: str, answer: str
) -> None:
    gate = Gate(world, monkeypatch)
    repo, issue, _ = await at_work(world)
    (refusal,) = await refused(repo, issue, said)
    gate.open.set()
    run = await repo.until(issue, State.AWAITING_REVIEW)

    assert answer in refusal
    assert run.messages == ()


async def refused(repo: Repo, issue: int, said: str) -> list[str]:
    """Say something, and wait for what the bot answers to it while the agent works on."""
    await repo.person("writer").comment(issue, said)
    async with asyncio.timeout(20):
        while not (replies := await repo.replies(issue)):
            await repo.world.moved()
    return replies


async def test_other_comments_are_between_people(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(world, monkeypatch)
    repo, issue, run = await at_work(world)
    await repo.person("writer").comment(issue, "I wonder whether tabs would be better.")
    await world.hub.settled()
    await world.server.dispatcher.settled()
    gate.open.set()
    run = await repo.until(issue, State.AWAITING_REVIEW)

    assert run.messages == ()
    assert "tabs" not in repo.file(run.head, "prompt-1.txt")
