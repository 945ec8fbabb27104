"""What is kept of a turn while it goes on, and what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.database import open_database
from bot.events import Event, Type
from bot.redact import Redactor
from bot.runs import watch
from bot.runs.model import Repository, Run, Source
from bot.runs.ports import Unsteered, Unwatched
from bot.runs.store import Store
from bot.runs.watch import TurnWatch, stop_of

AT = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Repository(id=1, owner="acme", name="tool", installation=1)
KEY = "sk-ant-api03-Zq8Yw5tR1uLx0PnB7vKcE2sDfG4hJmA9iOoT6rWQ"
PATIENCE_SECONDS = 10.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store of its own, which knows a secret."""
    database = await open_database(f"sqlite:///{tmp_path / 'o.db'}")
    yield Store(database, Redactor([KEY]))
    await database.close()


async def happened(store: Store, run: Run, kind: Type, **data: Any) -> Run:
    """Record an event of a run."""
    id = str(data.pop("id", f"{kind}:{run.seq}"))
    event = Event(id=id, at=AT, actor="ada", type=kind, data=data)
    return await store.append(run.id, lambda _: [event])


async def begun(store: Store, **limits: Any) -> Run:
    """A run whose first turn is under way."""
    source = Source(kind="comment", key="1")
    data = {"source": source.model_dump(), "request": "Add it", "agent": "claude"}
    event = Event(id="1", at=AT, actor="ada", type=Type.REQUESTED, data=data)
    run, _ = await store.create(HERE, event)
    base = {"base": "main", "base_sha": "a", "base_tree": "t", "branch": "b", "agent": "claude"}
    run = await happened(store, run, Type.STARTED, **base, turns=3, minutes=30, **limits)
    return await happened(store, run, Type.TURN_STARTED, turn=1, agent="claude", told=[])


async def soon(store: Store, run: Run, **wanted: Any) -> dict[str, Any]:
    """What is kept of the turn, once it holds what is wanted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            kept = await store.turn(run.id, 1)
            if all(kept.get(name) == value for name, value in wanted.items()):
                return kept
            await asyncio.sleep(0.01)


async def test_what_a_turn_used_is_kept_while_it_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "KEEP_SECONDS", 0.01)
    run = await begun(store)
    async with TurnWatch(store, lambda: AT, run) as turn:
        turn.session("acp:1")
        turn.usage({"requests": 1, "usd": 0.5})
        await soon(store, run, session="acp:1", usage={"requests": 1, "usd": 0.5})
        turn.usage({"requests": 2, "usd": 0.7})
        await soon(store, run, usage={"requests": 2, "usd": 0.7})
        turn.ended(summary=f"I used {KEY}.", reason="")
    assert await store.turn(run.id, 1) == {
        "agent": "claude",
        "session": "acp:1",
        "usage": {"requests": 2, "usd": 0.7},
        "summary": "I used [secret].",
    }
    assert await store.turn(run.id, 2) == {}


async def test_it_is_recorded_once_that_the_budget_comes_to_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "KEEP_SECONDS", 0.01)
    run = await begun(store, usd=1.0, tokens=1000)
    async with TurnWatch(store, lambda: AT, run) as turn:
        for usd in (0.5, 0.79, 0.8, 0.9):
            turn.usage({"usd": usd})
            await soon(store, run, usage={"usd": usd})
            if usd < 0.8:
                assert not (await store.load(run.id)).budget_low
        assert (await store.load(run.id)).budget_low
    events = await store.events(run.id)
    assert [each.data for each in events if each.type == Type.BUDGET_LOW] == [
        {"usd": 1.0, "tokens": 1000}
    ]


async def test_other_limits_are_told_as_what_the_turn_may_use_in_all(store: Store) -> None:
    run = await begun(store, usd=1.0, tokens=1000)
    async with TurnWatch(store, lambda: AT, run) as turn:
        turn.usage({"usd": 0.9})
        async with asyncio.timeout(PATIENCE_SECONDS):
            await happened(store, run, Type.LIMITS_GIVEN, id="more", usd=3.0)
            assert await turn.changed() == (3.0, 1000)
            await happened(store, run, Type.LIMITS_GIVEN, id="and more", tokens=5000)
            assert await turn.changed() == (3.0, 5000)


async def test_messages_are_given_once_and_in_order(store: Store) -> None:
    run = await begun(store)
    await happened(store, run, Type.TOLD, id="m1", text="before it listened")
    async with TurnWatch(store, lambda: AT, run) as turn:
        first = await turn.next()
        await turn.ack(first)
        await turn.ack(first)  # an adapter that is not sure says it again
        await happened(store, run, Type.TOLD, id="m2", text="use tabs")
        second = await turn.next()
        await happened(store, run, Type.TOLD, id="m3", text="never mind")
        third = await turn.next()
        nothing = asyncio.create_task(turn.next())
        await asyncio.sleep(0.05)
        assert not nothing.done()
        nothing.cancel()
    assert [each.id for each in (first, second, third)] == ["m1", "m2", "m3"]
    now = await store.load(run.id)
    assert [each.id for each in now.unheard()] == ["m2", "m3"]
    assert [each.type for each in await store.events(run.id)].count(Type.HEARD) == 1


async def test_work_is_stopped_by_what_another_process_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WATCH_SECONDS", 0.05)
    run = await begun(store)
    monkeypatch.setattr(store, "_tell", lambda _run: None)
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with stop_of(store, run) as stop, TurnWatch(store, lambda: AT, run) as turn:
            assert not stop.is_set()
            await happened(store, run, Type.PAUSED, reason="", next_step="")
            await stop.wait()
            await turn.stop.wait()


async def test_without_anybody_who_speaks_or_watches_a_turn_goes_its_way() -> None:
    Unwatched().session("acp:1")
    Unwatched().usage({})
    waiting = asyncio.create_task(Unsteered().next())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
