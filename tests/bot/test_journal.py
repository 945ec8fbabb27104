"""Deliveries in the journal: durable when they are answered, in the record a moment later."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bot.journal
from bot.database import Database, open_database
from bot.deliveries import Delivery, Inbox
from bot.dispatcher import Dispatcher
from bot.errors import TransientError
from bot.journal import Journal, take_in

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deliveries.log"


def content(path: Path) -> bytes:
    return path.read_bytes()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def lay(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@asynccontextmanager
async def started(path: Path, inbox: Inbox, **limits: int) -> AsyncIterator[Journal]:
    journal = Journal(path, inbox, **limits)
    await journal.start()
    yield journal
    await journal.stop()


@asynccontextmanager
async def refusing(database: Database) -> AsyncIterator[None]:
    """Let the record refuse what is written to it."""
    async with database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE deliveries RENAME TO away")
    yield
    async with database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO deliveries")


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Let no file grow above so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def recorded(inbox: Inbox, count: int) -> dict[str, bytes]:
    """Wait until so many deliveries are in the record; return their bodies."""
    async with asyncio.timeout(30):
        while len(found := await inbox.received_since(LONG_AGO)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    each = [await inbox.get(record.guid) for record in found]
    return {delivery.guid: delivery.body for delivery in each if delivery}


async def left_by_a_crash(
    path: Path, inbox: Inbox, database: Database, bodies: dict[str, bytes]
) -> list[bytes]:
    """Return the journal of a server that hands nothing on, after each delivery."""
    seen = []
    async with started(path, inbox) as journal, refusing(database):
        for guid, body in bodies.items():
            await journal.store(guid, "push", body)
            seen.append(content(path))
    return seen


async def test_what_was_answered_is_in_the_file_and_then_in_the_record(
    path: Path, inbox: Inbox, database: Database
) -> None:
    async with started(path, inbox) as journal:
        async with refusing(database):
            await journal.store("g1", "push", b'{"a":1}')
            assert b'{"a":1}' in content(path)
        assert await recorded(inbox, 1) == {"g1": b'{"a":1}'}
    assert content(path) == b""
    assert mode(path) == 0o600


async def test_what_comes_is_obeyed_in_order_and_settled_waits_for_it(
    path: Path, inbox: Inbox
) -> None:
    obeyed = []

    async def obey(delivery: Delivery) -> None:
        obeyed.append(delivery.guid)

    dispatcher = Dispatcher(inbox, obey, workers=1)
    await dispatcher.start()
    async with started(path, inbox) as journal:
        await asyncio.gather(*(journal.store(f"g{n:02}", "push", b"{}") for n in range(50)))
        await dispatcher.settled()
        assert obeyed == [f"g{n:02}" for n in range(50)]
    await dispatcher.stop()


async def test_what_a_crash_left_goes_on_at_the_start(
    path: Path, inbox: Inbox, database: Database
) -> None:
    bodies = {f"g{n}": b'{"n":%d}' % n for n in range(5)}
    left = await left_by_a_crash(path, inbox, database, bodies)
    async with database.write() as connection:
        await connection.exec_driver_sql("DELETE FROM deliveries")
    lay(path, left[-1])
    async with started(path, inbox):
        assert await recorded(inbox, 5) == bodies


async def test_what_the_record_has_already_is_not_obeyed_again(
    path: Path, inbox: Inbox, database: Database
) -> None:
    left = await left_by_a_crash(path, inbox, database, {"g1": b"{}", "g2": b"{}"})
    await inbox.done("g1")
    lay(path, left[-1])
    await take_in(path, inbox)
    states = {each.guid: each.state for each in await inbox.received_since(LONG_AGO)}
    assert states == {"g1": "done", "g2": "waiting"}


@settings(max_examples=40)
@given(cut=st.integers(0, 300), junk=st.binary(max_size=20) | st.just(bytes(64)))
def test_wherever_it_was_cut_off_what_is_whole_goes_on_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    async def story() -> None:
        folder = tmp_path_factory.mktemp("torn")
        database = await open_database(f"sqlite:///{folder / 'db'}")
        inbox, path = Inbox(database), folder / "log"
        bodies = {f"g{n}": b"x" * 20 * n for n in range(4)}
        left = await left_by_a_crash(path, inbox, database, bodies)
        async with database.write() as connection:
            await connection.exec_driver_sql("DELETE FROM deliveries")
        lay(path, left[-1][:cut] + junk)
        await take_in(path, inbox)
        whole = [f"g{n}" for n in range(4) if len(left[n]) <= cut]
        assert [each.guid for each in await inbox.waiting()] == whole
        assert content(path) == b""
        await database.close()

    asyncio.run(story())


async def test_a_disk_that_is_full_refuses_and_leaves_no_half_of_a_delivery(
    path: Path, inbox: Inbox, database: Database
) -> None:
    async with started(path, inbox) as journal, refusing(database):
        await journal.store("g1", "push", b"{}")
        before = content(path)
        with full_disk(len(before) + 50), pytest.raises(TransientError, match="is it full"):
            await journal.store("g2", "push", b"x" * 100)
        await journal.store("g3", "push", b"{}")
        assert content(path).startswith(before)
    assert [each.guid for each in await inbox.waiting()] == ["g1", "g3"]


async def test_a_record_that_refuses_is_tried_again(
    path: Path, inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.journal, "RETRY_SECONDS", 0.01)
    async with started(path, inbox) as journal:
        async with refusing(database):
            await journal.store("g1", "push", b"{}")
            await asyncio.sleep(0.05)
        assert await recorded(inbox, 1) == {"g1": b"{}"}


async def test_a_file_that_is_full_makes_webhooks_wait_for_the_record(
    path: Path, inbox: Inbox, database: Database
) -> None:
    async with started(path, inbox, held_max=100) as journal:
        async with refusing(database):
            await journal.store("g1", "push", b"x" * 100)
            waits = asyncio.create_task(journal.store("g2", "push", b"{}"))
            await asyncio.wait([waits], timeout=0.05)
            assert not waits.done()
        await waits
        assert await recorded(inbox, 2) == {"g1": b"x" * 100, "g2": b"{}"}


async def test_a_file_that_cannot_be_emptied_or_read_holds_nothing_up(
    path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.journal, "RETRY_SECONDS", 0.01)
    kept, tries = os.ftruncate, iter(range(3))

    def fails_at_first(file: int, size: int) -> None:
        if next(tries, None) is not None:
            raise OSError(5, "Input/output error")
        kept(file, size)

    async with started(path, inbox, held_max=10) as journal:
        monkeypatch.setattr(os, "ftruncate", fails_at_first)
        await journal.store("g1", "push", b"x" * 20)
        await journal.store("g2", "push", b"{}")
        assert await recorded(inbox, 2) == {"g1": b"x" * 20, "g2": b"{}"}
