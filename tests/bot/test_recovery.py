"""Lost deliveries are asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.database import open_database
from bot.deliveries import Inbox
from bot.errors import TransientError
from bot.recovery import ASKED_AT_ONCE, TRIES_AN_HOUR, Recovery, lost_among
from bot.threads import DeliverySummary


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    database = await open_database(f"sqlite:///{tmp_path / 'db'}")
    yield Inbox(database)
    await database.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - it looks at a list
            await asyncio.sleep(0.002)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def tried(
    id: int, guid: str, status: int, minutes: float = 120, event: str = "push"
) -> DeliverySummary:
    at = NOW - timedelta(minutes=minutes)
    return DeliverySummary(id, guid, event, status, at, redelivery=False)


class Source:
    """GitHub's record, in a list; a value at the edge, where the adapter has tests of its own."""

    def __init__(self, *tries: DeliverySummary) -> None:
        self.tries = list(tries)
        self.since: list[datetime] = []
        self.asked: list[int] = []
        self.away_after = 1_000_000

    async def deliveries(self, since: datetime) -> list[DeliverySummary]:
        self.since.append(since)
        return [each for each in self.tries if each.delivered_at >= since]

    async def redeliver(self, id: int) -> None:
        if len(self.asked) >= self.away_after:
            raise TransientError("GitHub is away.")
        self.asked.append(id)


@pytest.mark.parametrize(
    ("tries", "lost"),
    [
        ([tried(1, "a", 200)], []),
        ([tried(1, "a", 502)], [1]),
        ([tried(1, "a", 0)], [1]),
        ([tried(1, "a", 502, 130), tried(2, "a", 202, 120)], []),
        ([tried(2, "a", 502, 120), tried(1, "a", 502, 130)], [2]),
        ([tried(2, "new", 502, 100), tried(1, "old", 502, 130)], [1, 2]),
        ([tried(1, "a", 502, event="star")], []),
        ([tried(n, "a", 502, 10 + n) for n in range(TRIES_AN_HOUR)], []),
        ([tried(n, "a", 502, 61 + n) for n in range(TRIES_AN_HOUR)], [0]),
    ],
)
def test_what_counts_as_lost(tries: list[DeliverySummary], lost: list[int]) -> None:
    assert [each.id for each in lost_among(tries, NOW)] == lost


async def test_what_never_arrived_is_asked_for_and_what_did_is_not(inbox: Inbox) -> None:
    await inbox.store("answered-late", "push", b"{}")
    source = Source(tried(1, "answered-late", 0), tried(2, "lost", 502), tried(3, "fine", 202))
    assert await Recovery(source, inbox, now=lambda: NOW).look() == 1
    assert source.asked == [2]


async def test_three_days_are_looked_at_once_an_hour(inbox: Inbox) -> None:
    now = [NOW]
    source = Source()
    recovery = Recovery(source, inbox, now=lambda: now[0])
    for _ in range(3):
        await recovery.look()
        now[0] += timedelta(minutes=30)
    windows = [
        at + timedelta(minutes=30 * turn) - since
        for turn, (at, since) in enumerate(zip([NOW] * 3, source.since, strict=True))
    ]
    assert windows == [timedelta(days=3), timedelta(hours=1), timedelta(days=3)]


async def test_an_outage_while_asking_leaves_the_rest_for_the_next_look(inbox: Inbox) -> None:
    source = Source(*(tried(n, f"g{n}", 502, 300 - n) for n in range(5)))
    source.away_after = 2
    recovery = Recovery(source, inbox, now=lambda: NOW)
    with pytest.raises(TransientError):
        await recovery.look()
    source.away_after = 1_000
    source.asked.clear()
    assert await recovery.look() == 5


async def test_one_look_asks_for_a_bounded_number(inbox: Inbox) -> None:
    source = Source(*(tried(n, f"g{n}", 502) for n in range(ASKED_AT_ONCE + 5)))
    assert await Recovery(source, inbox, now=lambda: NOW).look() == ASKED_AT_ONCE


async def test_recovery_looks_at_the_start_and_goes_on_after_an_outage(inbox: Inbox) -> None:
    source = Source(tried(1, "lost", 502))
    source.away_after = 0
    recovery = Recovery(source, inbox, every=0.005, now=lambda: NOW)
    await recovery.start()
    await until(lambda: len(source.since) >= 2)
    source.away_after = 1_000
    await until(lambda: source.asked[:1] == [1])
    await recovery.stop()
