from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.database import Database, open_database
from bot.errors import OperatorError, UserError
from bot.events import Event, Type
from bot.runs.day import spent_today
from bot.runs.fold import fold
from bot.runs.model import Repository, Run, Source
from bot.runs.store import Store
from bot.runs.transitions import State, Work
from policies.facts import Spent
from tests.support.cluster import needs_postgresql

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


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path}/o.db"
    if request.param == "postgresql":
        url = await request.getfixturevalue("postgresql").upgraded()
    database = await open_database(url)
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


async def test_of_those_who_change_a_run_at_once_each_sees_what_the_one_before_did(
    database: Database,
) -> None:
    run = await started(Store(database))

    async def said(number: int) -> None:
        told = event(f"told-{number}", Type.TOLD, text=f"message {number}")
        await Store(database).append(run.id, lambda _: [told])

    await asyncio.gather(*(said(number) for number in range(12)))
    kept = await Store(database).load(run.id)
    assert len(kept.messages) == 12
    assert [e.seq for e in await Store(database).events(run.id)] == [*range(1, 15)]


async def test_the_same_cause_at_once_is_one_run(database: Database) -> None:
    made = await asyncio.gather(
        *(Store(database).create(REPOSITORY, requested()) for _ in range(6))
    )
    assert sum(new for _, new in made) == 1
    assert len({run.id for run, _ in made}) == 1


async def test_the_turns_of_a_day_and_what_runs_cost_are_added_up(store: Store) -> None:
    run = await started(store)
    usage = {"usd": 0.5, "input_tokens": 7}
    ended = event("turn:1", Type.TURN_ENDED, turn=1, outcome="ended", usage=usage, seconds=90)
    began = event("turn", Type.TURN_STARTED, turn=1, agent="ruff")
    await store.append(run.id, lambda _: [began, ended])
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    spent = await spent_today(store, REPOSITORY, "ADA", noon)
    assert (spent.repository, spent.person) == (Spent(0.5, 7, 1.5), Spent(0.5, 7, 1.5))
    assert (await spent_today(store, REPOSITORY, "bob", noon)).person == Spent()
    tomorrow = noon + timedelta(days=1)
    assert (await spent_today(store, REPOSITORY, "ada", tomorrow)).repository == Spent()
    elsewhere = REPOSITORY.model_copy(update={"id": 8})
    assert (await spent_today(store, elsewhere, "ada", noon)).repository == Spent()
    assert await store.costs(REPOSITORY.id, 10) == []
    merged = event("merged", Type.MERGED, sha="d" * 40, by_hand=True)
    await store.append(run.id, lambda _: [merged])
    assert await store.costs(REPOSITORY.id, 10) == [0.5]


async def test_what_no_remote_has_is_kept_until_it_has(store: Store) -> None:
    run = await started(store)
    await store.keep_pack(run.id, "a" * 40, b"one")
    await store.keep_pack(run.id, "b" * 40, b"two\0")
    assert await store.pack(run.id, "b" * 40) == b"two\0"
    await store.drop_packs(run.id, ["a" * 40])
    assert await store.pack(run.id, "a" * 40) is None
    await store.drop_packs(run.id)
    assert await store.pack(run.id, "b" * 40) is None


async def test_a_second_process_is_told_that_the_file_is_in_use(tmp_path: Path) -> None:
    first = await open_database(f"sqlite:///{tmp_path}/o.db")
    with pytest.raises(OperatorError, match="Another process works on"):
        await open_database(f"sqlite:///{tmp_path}/o.db")
    await first.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://localhost/orchestrate", "runs are kept in PostgreSQL"),
        ("not an address", "is no address of a database"),
        ("postgresql://ada:hush@/none?host=/nowhere", "cannot be opened"),
    ],
)
async def test_a_database_that_cannot_be_used_is_refused_in_a_sentence(
    url: str, sentence: str
) -> None:
    with pytest.raises(OperatorError, match=sentence) as refused:
        await open_database(url)
    assert "hush" not in str(refused.value)
