from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.database import Database, open_database
from bot.errors import OperatorError, UserError
from bot.events import Event, Type
from bot.runs.fold import fold
from bot.runs.model import Repository, Run, Source
from bot.runs.store import Store
from bot.runs.transitions import State, Work

REPOSITORY = Repository(id=7, owner="acme", name="widgets", installation=3)
START = datetime(2026, 1, 1, tzinfo=UTC)


def event(id: str, kind: Type, **data: Any) -> Event:
    return Event(id=id, at=START + timedelta(seconds=1), actor="ada", type=kind, data=data)


def requested(key: str = "comment:1:1", **data: Any) -> Event:
    source = Source(kind="comment", key=key).model_dump()
    return event(key, Type.REQUESTED, request="fix it", source=source, issue=4, **data)


STARTED = {
    "base": "main", "base_sha": "b" * 40, "base_tree": "c" * 40, "branch": "orchestrate/x",
    "agent": "ruff", "turns": 3, "minutes": 30,
}  # fmt: skip


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_database(f"sqlite:///{tmp_path}/o.db")
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> Store:
    return Store(database)


async def started(store: Store) -> Run:
    run, _ = await store.create(REPOSITORY, requested())
    return await store.append(run.id, lambda _: [event("s", Type.STARTED, **STARTED)])


async def test_the_same_cause_is_the_same_run(store: Store) -> None:
    first, new = await store.create(REPOSITORY, requested())
    again, newer = await store.create(REPOSITORY, requested())
    other, newest = await store.create(REPOSITORY, requested("comment:2:1"))
    assert (new, newer, newest) == (True, False, True)
    assert first.id == again.id != other.id
    assert (first.state, first.work, first.segment) == (State.QUEUED, Work.START, 1)


async def test_an_event_is_recorded_once(store: Store) -> None:
    run = await started(store)
    pause = event("pause", Type.PAUSED, reason="r", next_step="n")
    paused = await store.append(run.id, lambda _: [pause])
    again = await store.append(run.id, lambda _: [pause])
    assert paused == again
    assert [e.id for e in await store.events(run.id)] == ["comment:1:1", "s", "pause"]
    assert [e.seq for e in await store.events(run.id)] == [1, 2, 3]


async def test_a_run_is_the_fold_of_its_record(store: Store) -> None:
    run = await started(store)
    await store.append(run.id, lambda _: [event("t", Type.TURN_STARTED, turn=1, agent="ruff")])
    kept = await store.load(run.id)
    assert fold(await store.events(run.id), REPOSITORY) == kept


async def test_what_cannot_happen_changes_nothing(store: Store) -> None:
    run = await started(store)
    approval = event("a", Type.APPROVED, sha="b" * 40, tree="c" * 40, how="command")
    with pytest.raises(UserError, match="running"):
        await store.append(run.id, lambda _: [approval])
    assert await store.load(run.id) == run
    assert not await store.has(run.id, "a")


async def test_a_segment_rests_only_when_there_is_no_work(store: Store) -> None:
    run = await started(store)
    assert not await store.rest(run.id, run.segment)
    await store.append(run.id, lambda _: [event("p", Type.PAUSED)])
    assert await store.rest(run.id, run.segment)
    rested = await store.load(run.id)
    assert not rested.active
    resumed = await store.append(run.id, lambda _: [event("r", Type.RESUMED, turns=3)])
    assert (resumed.active, resumed.segment) == (True, run.segment + 1)


async def test_work_that_comes_while_a_segment_ends_is_its_own(store: Store) -> None:
    run = await started(store)
    await store.append(run.id, lambda _: [event("p", Type.PAUSED)])
    await store.append(run.id, lambda _: [event("r", Type.RESUMED, turns=3)])
    assert not await store.rest(run.id, run.segment)
    assert (await store.load(run.id)).segment == run.segment


async def test_a_drawn_run_is_dirty_again_when_it_changes(store: Store) -> None:
    run = await started(store)
    _, mark = await store.to_draw(run.id)
    await store.drawn(run.id, mark)
    assert await store.dirty() == []
    body = {"name": "pytest", "conclusion": "success"}
    await store.keep_result(run, run.head, 0, body)
    assert await store.dirty() == [(run.id, 3)]
    assert await store.results(run.id, run.head) == [{**body, "attempt": 0}]


async def test_a_renamed_repository_is_known_by_its_number(store: Store) -> None:
    run = await started(store)
    await store.save_repository(REPOSITORY.model_copy(update={"name": "gadgets"}))
    assert (await store.load(run.id)).repository.full_name == "acme/gadgets"


async def test_a_second_process_is_told_that_the_database_is_in_use(
    database: Database, tmp_path: Path
) -> None:
    with pytest.raises(OperatorError, match="Another process works on"):
        await open_database(f"sqlite:///{tmp_path}/o.db")


async def test_another_database_than_sqlite_is_refused_in_a_sentence() -> None:
    with pytest.raises(OperatorError, match="keeps its runs in SQLite"):
        await open_database("postgresql://localhost/orchestrate")
