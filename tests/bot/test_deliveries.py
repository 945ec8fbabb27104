"""Deliveries: kept durably, obeyed once, tried again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.database import Database, open_database
from bot.deliveries import PATIENCE, TRIES, Backoff, Delivery, Inbox
from bot.dispatcher import Dispatcher
from bot.errors import TransientError

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
QUICK = Backoff(first=0.01, longest=0.02)


@pytest.fixture
def inbox(database: Database) -> Inbox:
    return Inbox(database, backoff=QUICK)


def on(issue: int, repository: int = 1) -> bytes:
    payload = {"repository": {"id": repository}, "issue": {"number": issue}}
    return json.dumps(payload).encode()


async def state(inbox: Inbox, guid: str) -> tuple[str, int]:
    records = {each.guid: each for each in await inbox.received_since(LONG_AGO)}
    return records[guid].state, records[guid].attempts


@asynccontextmanager
async def obeying(
    inbox: Inbox, obey: Callable[[Delivery], Awaitable[None]], workers: int = 8
) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(inbox, obey, workers=workers)
    await dispatcher.start()
    yield dispatcher
    await dispatcher.stop()


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110 - it asks the database
            await asyncio.sleep(0.005)


# The record


async def test_a_delivery_is_kept_once(inbox: Inbox) -> None:
    assert await inbox.store("g1", "push", b"{}")
    assert not await inbox.store("g1", "push", b"{}")
    kept = await inbox.get("g1")
    assert kept is not None
    assert (kept.event, kept.body) == ("push", b"{}")


async def test_deliveries_that_arrive_together_are_each_new_once(inbox: Inbox) -> None:
    guids = [f"g{number % 40}" for number in range(120)]
    fresh = await asyncio.gather(*(inbox.store(guid, "push", b"{}") for guid in guids))
    assert sum(fresh) == 40
    assert fresh[:40] == [True] * 40
    assert await inbox.known([*guids, "other"]) == set(guids)


async def test_a_kept_delivery_outlives_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'db'}"
    first = await open_database(url)
    await Inbox(first).store("g1", "push", b"{}")
    await first.close()
    second = await open_database(url)
    assert [each.guid for each in await Inbox(second).waiting()] == ["g1"]
    await second.close()


async def test_what_waits_is_listed_in_order_of_arrival(inbox: Inbox) -> None:
    for guid in ("z", "m", "a"):
        await inbox.store(guid, "push", b"{}")
    await inbox.done("m")
    listed = await inbox.waiting()
    assert [each.guid for each in listed] == ["z", "a"]
    assert [each.guid for each in await inbox.waiting(after=listed[0].received_at)] == ["a"]


async def test_a_disk_that_refuses_is_a_transient_error(inbox: Inbox, database: Database) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql("DROP TABLE deliveries")
    stores = [inbox.store(f"g{number}", "push", b"{}") for number in range(3)]
    answers = await asyncio.gather(*stores, return_exceptions=True)
    assert [type(each) for each in answers] == [TransientError] * 3


async def test_an_inbox_works_again_after_the_disk_refused(
    inbox: Inbox, database: Database
) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE deliveries RENAME TO away")
    with pytest.raises(TransientError):
        await inbox.store("g1", "push", b"{}")
    async with database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO deliveries")
    assert await inbox.store("g1", "push", b"{}")


async def test_a_delivery_that_fails_by_itself_is_given_up_after_its_tries(inbox: Inbox) -> None:
    await inbox.store("g1", "push", b"{}")
    delivery = await inbox.get("g1")
    tries = 0
    while delivery is not None:
        delivery = await inbox.failed(delivery, "x" * 1000)
        tries += 1
    assert tries == TRIES
    assert await state(inbox, "g1") == ("poison", TRIES)
    assert await inbox.waiting() == []


async def test_an_outage_gives_nothing_up_for_a_day(database: Database) -> None:
    now = [1_000_000.0]
    inbox = Inbox(database, now=lambda: now[0])
    await inbox.store("g1", "push", b"{}")
    delivery = await inbox.get("g1")
    for _ in range(3 * TRIES):
        assert delivery is not None
        delivery = await inbox.failed(delivery, "away", transient=True)
    assert delivery is not None
    assert delivery.due == now[0] + Backoff().longest_outside
    now[0] += PATIENCE.total_seconds() + 1
    assert await inbox.failed(delivery, "away", transient=True) is None


async def test_what_was_given_up_comes_back_on_request(inbox: Inbox) -> None:
    for guid in ("replayed", "redelivered"):
        await inbox.store(guid, "push", b"{}")
        delivery = await inbox.get(guid)
        while delivery is not None:
            delivery = await inbox.failed(delivery, "no")
    assert await inbox.replay("replayed")
    assert await inbox.store("redelivered", "push", b"{}")
    assert [each.guid for each in await inbox.waiting()] == ["replayed", "redelivered"]
    assert not await inbox.replay("replayed"), "it waits already"
    assert not await inbox.replay("unknown")


async def test_pruning_forgets_what_is_over_and_old(inbox: Inbox) -> None:
    for guid in ("over", "open"):
        await inbox.store(guid, "push", b"{}")
    await inbox.done("over")
    assert await inbox.prune(LONG_AGO) == 0
    assert await inbox.prune(datetime.now(UTC) + timedelta(seconds=1)) == 1
    assert await inbox.known(["over", "open"]) == {"open"}


@given(
    attempts=st.integers(1, 10_000),
    retry_after=st.none() | st.floats(0, 10_000, allow_nan=False),
)
def test_a_wait_is_bounded_and_honours_what_was_asked(
    attempts: int, retry_after: float | None
) -> None:
    delay = Backoff().delay(attempts, retry_after)
    assert delay >= (retry_after or 0)
    assert 1 <= delay <= max(600, retry_after or 0)
    assert delay <= Backoff().delay(attempts + 1, retry_after)


# The dispatcher


async def test_a_delivery_is_obeyed_at_once_and_once(inbox: Inbox) -> None:
    obeyed: list[str] = []

    async def obey(delivery: Delivery) -> None:
        obeyed.append(delivery.guid)

    async with obeying(inbox, obey) as dispatcher:
        await inbox.store("g1", "push", on(1))
        await dispatcher.settled()
        await inbox.store("g1", "push", on(1))
        await dispatcher.settled()
    assert obeyed == ["g1"]
    assert await state(inbox, "g1") == ("done", 0)


async def test_what_a_crash_left_is_obeyed_at_the_start(inbox: Inbox) -> None:
    for number in range(130):
        await inbox.store(f"g{number}", "push", on(number))
    await inbox.done("g7")
    obeyed: set[str] = set()

    async def obey(delivery: Delivery) -> None:
        obeyed.add(delivery.guid)

    async with obeying(inbox, obey) as dispatcher:
        await dispatcher.settled()
    assert obeyed == {f"g{number}" for number in range(130)} - {"g7"}


async def test_one_thread_keeps_its_order_while_others_go_on(inbox: Inbox) -> None:
    obeyed: list[str] = []
    gate = asyncio.Event()

    async def obey(delivery: Delivery) -> None:
        if delivery.guid == "slow-0":
            await gate.wait()
        obeyed.append(delivery.guid)

    async with obeying(inbox, obey) as dispatcher:
        for number in range(3):
            await inbox.store(f"slow-{number}", "push", on(1))
        await inbox.store("other", "push", on(2))

        async def others_went_on() -> bool:
            return obeyed == ["other"]

        await until(others_went_on)
        gate.set()
        await dispatcher.settled()
    assert obeyed == ["other", "slow-0", "slow-1", "slow-2"]


async def test_no_more_than_its_workers_obey_at_once(inbox: Inbox) -> None:
    begun, gate = asyncio.Semaphore(0), asyncio.Event()

    async def obey(delivery: Delivery) -> None:
        begun.release()
        await gate.wait()

    async with obeying(inbox, obey, workers=3) as dispatcher:
        await asyncio.gather(*(inbox.store(f"g{n}", "push", on(n)) for n in range(20)))
        for _ in range(3):
            await begun.acquire()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):  # a fourth had time to begin
                await begun.acquire()
        gate.set()
        await dispatcher.settled()
    assert [await state(inbox, f"g{n}") for n in range(20)] == [("done", 0)] * 20


async def test_an_outage_holds_its_thread_and_keeps_the_order(inbox: Inbox) -> None:
    tried: list[str] = []

    async def obey(delivery: Delivery) -> None:
        tried.append(delivery.guid)
        if tried.count("first") < 3 and delivery.guid == "first":
            raise TransientError("GitHub is away.")

    async with obeying(inbox, obey):
        await inbox.store("first", "push", on(1))
        await inbox.store("second", "push", on(1))

        async def both_done() -> bool:
            return await state(inbox, "second") == ("done", 0)

        await until(both_done)
    assert tried == ["first", "first", "first", "second"]
    assert await state(inbox, "first") == ("done", 2)


async def test_a_delivery_that_fails_by_itself_is_overtaken_and_given_up(inbox: Inbox) -> None:
    tried: list[str] = []

    async def obey(delivery: Delivery) -> None:
        tried.append(delivery.guid)
        if delivery.guid == "bad":
            raise KeyError("a bug")

    # Both are there before the first is tried.
    await inbox.store("bad", "push", on(1))
    await inbox.store("good", "push", on(1))
    async with obeying(inbox, obey):

        async def given_up() -> bool:
            return await state(inbox, "bad") == ("poison", TRIES)

        await until(given_up)
    assert tried.index("good") == 1
    assert tried.count("bad") == TRIES


async def test_settled_does_not_wait_for_a_later_try(inbox: Inbox) -> None:
    async def obey(delivery: Delivery) -> None:
        raise TransientError("Come back in an hour.", retry_after=3600)

    async with obeying(inbox, obey) as dispatcher:
        await inbox.store("g1", "push", on(1))
        async with asyncio.timeout(2):
            await dispatcher.settled()
    [waiting] = await inbox.waiting()
    assert waiting.due > inbox.now() + 3000


async def test_a_delivery_that_hangs_is_cut_off(inbox: Inbox) -> None:
    async def obey(delivery: Delivery) -> None:
        if delivery.attempts == 0:
            await asyncio.Event().wait()

    dispatcher = Dispatcher(inbox, obey, seconds=0.05)
    await dispatcher.start()
    await inbox.store("g1", "push", on(1))

    async def done() -> bool:
        return await state(inbox, "g1") == ("done", 1)

    await until(done)
    await dispatcher.stop()


async def test_what_is_cut_short_by_a_stop_is_obeyed_after_the_next_start(inbox: Inbox) -> None:
    began = asyncio.Event()

    async def hang(delivery: Delivery) -> None:
        began.set()
        await asyncio.Event().wait()

    first = Dispatcher(inbox, hang)
    await first.start()
    await inbox.store("g1", "push", on(1))
    await began.wait()
    await first.stop(grace=0.01)
    obeyed: list[str] = []

    async def obey(delivery: Delivery) -> None:
        obeyed.append(delivery.guid)

    async with obeying(inbox, obey) as dispatcher:
        await dispatcher.settled()
    assert obeyed == ["g1"]


async def test_what_is_no_payload_at_all_is_still_handed_on(inbox: Inbox) -> None:
    obeyed: list[bytes] = []

    async def obey(delivery: Delivery) -> None:
        obeyed.append(delivery.body)

    async with obeying(inbox, obey) as dispatcher:
        await inbox.store("g1", "push", b"\xff")
        await dispatcher.settled()
    assert obeyed == [b"\xff"]
