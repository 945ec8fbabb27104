"""The queue of segments, on both databases: who may work, who waits, and what is said of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.database import open_database
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.admission import Limits
from bot.runs.model import Repository, Run, Source
from bot.runs.queue import Turn
from bot.runs.store import Store
from bot.runs.transitions import State
from tests.bot.runs.test_store import START, STARTED
from tests.support.cluster import needs_postgresql

PATIENCE = 3600.0


@dataclass(slots=True)
class Time:
    """A clock that goes when it is told to."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
async def store(request: pytest.FixtureRequest, tmp_path: Path, time: Time) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/o.db"
    if request.param == "postgresql":
        url = await request.getfixturevalue("postgresql").upgraded()
    database = await open_database(url)
    yield Store(database, clock=time)
    await database.close()


async def test_each_takes_what_it_has_room_for_and_tells_of_the_rest(store: Store) -> None:
    told: list[str] = []
    store.queue.tell_others = lambda: told.append("left")
    runs = [await asked(store, number, repository=number) for number in range(3)]

    async def takes(most: int, worker: str) -> list[str]:
        taken = await store.queue.admit(Limits(3), 3, sure=True, most=most, worker=worker)
        return [turn.run for turn in taken]

    assert await takes(2, "first") == [run.id for run in runs[:2]]
    assert told == ["left"]
    assert await takes(2, "second") == [runs[2].id]
    assert told == ["left"]
    async with store.queue.alone() as connection:
        held = await store.queue.held(connection)
        assert [worker for _, worker in held] == ["first", "first", "second"]
        # One that has gone on since is not given back.
        await store.queue.give_back(connection, [Turn(runs[0].id, 1, 0), Turn(runs[2].id, 1, 1)])
    assert await takes(3, "third") == [runs[0].id]


async def asked(store: Store, number: int, repository: int = 1, actor: str = "ada") -> Run:
    """A run that somebody asked for, or a schedule."""
    clock = store.queue.clock
    assert isinstance(clock, Time)
    clock.now += 1
    kind = "schedule" if actor == ORCHESTRATE else "comment"
    source = Source.model_validate({"kind": kind, "key": f"{repository}:{number}"})
    here = Repository(id=repository, owner="acme", name=f"r{repository}", installation=3)
    data = {"request": "fix", "source": source.model_dump(), "issue": number, "agent": "ruff"}
    event = Event(id=source.key, at=START, actor=actor, type=Type.REQUESTED, data=data)
    run, _ = await store.create(here, event)
    return run


async def happened(store: Store, run: Run, kind: Type, **data: object) -> Run:
    event = Event(id=f"{kind}:{run.seq}", at=START, actor="ada", type=kind, data=data)
    return await store.append(run.id, lambda _: [event])


async def begun(store: Store, workers: int = 2, limits: Limits | None = None) -> list[str]:
    return [turn.run for turn in await store.queue.admit(limits or Limits(0), workers)]


async def test_as_many_begin_as_there_is_room_for_and_the_next_when_one_rests(
    store: Store, time: Time
) -> None:
    runs = [await asked(store, number, repository=number) for number in range(4)]
    first, second, third, fourth = (run.id for run in runs)
    assert await begun(store) == [first, second]
    assert await begun(store) == []
    assert await store.queue.counts() == (2, 2)
    places = [await store.queue.standing(run, PATIENCE) for run in runs]
    assert [each and (each.kind, each.place) for each in places] == [
        None,
        None,
        ("queued", 1),
        ("queued", 2),
    ]
    await happened(store, runs[0], Type.CANCELLED)
    assert await begun(store) == []  # it has something to clear up, and holds its place till then
    assert await store.rest(first, 1)
    assert await begun(store) == [third]
    assert await begun(store, limits=Limits(2)) == []
    assert await begun(store, workers=3, limits=Limits(2)) == []
    assert await begun(store, workers=3) == [fourth]


async def test_one_repository_leaves_room_for_another_and_people_come_before_schedules(
    store: Store, time: Time
) -> None:
    nightly = await asked(store, 9, repository=2, actor=ORCHESTRATE)
    noisy = [await asked(store, number) for number in range(5)]
    told = await begun(store, workers=4)
    assert len(told) == 4
    assert told[-1] == nightly.id
    assert set(told[:3]) < {run.id for run in noisy}
    assert await begun(store, workers=4) == []


async def test_what_was_cancelled_while_it_waited_only_clears_up(store: Store) -> None:
    busy, waits = await asked(store, 1), await asked(store, 2, repository=2)
    assert await begun(store, workers=1) == [busy.id]
    await happened(store, waits, Type.CANCELLED)
    assert await begun(store, workers=1) == [waits.id]
    assert await store.queue.counts() == (1, 0)


async def test_who_waits_for_something_outside_holds_no_place_and_comes_again(
    store: Store, time: Time
) -> None:
    run, other = await asked(store, 1), await asked(store, 2, repository=2)
    assert await begun(store, workers=1) == [run.id]
    await store.put_off(run.id, 1, 0, time.now + 60, "GitHub answered 502.")
    standing = await store.queue.standing(run, PATIENCE)
    assert standing is not None
    assert (standing.kind, standing.reason) == ("outside", "GitHub answered 502.")
    assert standing.since is not None
    assert standing.until is not None
    assert (standing.until - standing.since).total_seconds() == PATIENCE
    assert await begun(store, workers=1) == [other.id]
    await happened(store, other, Type.CANCELLED)
    assert await store.rest(other.id, 1)
    since = await store.queue.waits_since(run.id)
    time.now += 61
    assert await store.queue.admit(Limits(0), 1) == [Turn(run.id, 1, 1)]
    assert await store.queue.standing(run, PATIENCE) is None  # it is tried again, or at work
    await store.put_off(run.id, 1, 1, time.now + 60, "GitHub answered 503.")
    assert await store.queue.waits_since(run.id) == since
    await store.queue.went_on(run.id)
    assert await store.queue.waits_since(run.id) is None


async def test_a_stop_lets_nobody_begin_but_who_only_clears_up(store: Store, time: Time) -> None:
    here, cancelled = await asked(store, 1), await asked(store, 2)
    await store.queue.stop(None, "The disk is changed.")
    await store.queue.stop(3, "They asked for it.")
    await happened(store, cancelled, Type.CANCELLED)
    assert await begun(store) == [cancelled.id]
    assert await store.rest(cancelled.id, 1)
    standing = await store.queue.standing(here, PATIENCE)
    assert standing is not None
    assert (standing.kind, standing.reason) == ("stopped", "The disk is changed.")
    again = Store(store._database, clock=time)  # another process, or the next one
    assert [each.installation for each in await again.queue.stops()] == [None, 3]
    assert await again.queue.let_go(3) == 1
    assert await begun(store) == []
    assert await again.queue.let_go(None) == 1
    assert await begun(store) == [here.id]


async def test_a_stop_of_one_installation_leaves_the_others_alone(store: Store) -> None:
    await asked(store, 1)
    await store.queue.stop(4, "")
    assert len(await begun(store)) == 1
    assert await store.queue.stop_of(3) is None


async def test_the_next_segment_of_a_run_is_a_new_one_in_the_queue(
    store: Store, time: Time
) -> None:
    run = await asked(store, 1)
    await begun(store)
    run = await happened(store, run, Type.STARTED, **STARTED)
    run = await happened(store, run, Type.BLOCKED, reason="no", next_step="")
    assert await store.rest(run.id, 1)
    assert await store.queue.counts() == (0, 0)
    time.now += 5
    run = await happened(store, run, Type.RESUMED, turns=1)
    assert (run.state, run.segment) == (State.RUNNING, 2)
    assert await store.queue.admit(Limits(0), 1) == [Turn(run.id, 2, 0)]
