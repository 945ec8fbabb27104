"""How fast an installation is asked."""

from __future__ import annotations

import asyncio

import pytest

from bot.errors import TransientError
from bot.github.pacing import SECONDARY_MAX_SECONDS, Bucket, Pace


def test_a_burst_goes_at_once_and_the_rest_is_spaced() -> None:
    bucket = Bucket(burst=3, spacing=2.0)
    assert [bucket.take(100.0) for _ in range(5)] == [0.0, 0.0, 0.0, 2.0, 4.0]
    assert bucket.take(110.0) == 0.0


def test_no_minute_has_more_writes_than_github_allows() -> None:
    bucket = Bucket(burst=10, spacing=1.0)
    starts = [bucket.take(0.0) for _ in range(200)]
    assert max(sum(s <= at < s + 60 for at in starts) for s in starts) <= 80


def test_no_hour_has_more_writes_than_github_allows() -> None:
    bucket = Bucket(burst=140, spacing=10.0)
    starts = [bucket.take(0.0) for _ in range(1_500)]
    assert max(sum(s <= at < s + 3_600 for at in starts) for s in starts) <= 500


async def test_while_github_says_stop_nobody_asks() -> None:
    now = 0.0
    pace = Pace(0.0, clock=lambda: now)
    pace.pause(60.0)
    with pytest.raises(TransientError) as told:
        async with pace.slot(write=False):
            raise AssertionError("asked all the same")
    assert told.value.retry_after == 60.0
    now = 61.0
    async with pace.slot(write=True):
        pass


async def test_a_short_pause_is_waited_out() -> None:
    pace = Pace(0.0)
    pace.pause(0.05)
    began = asyncio.get_running_loop().time()
    async with pace.slot(write=True):
        assert asyncio.get_running_loop().time() - began >= 0.04


async def test_only_so_many_are_in_flight() -> None:
    pace = Pace(0.0, concurrent=2)
    flying, most = 0, 0

    async def one() -> None:
        nonlocal flying, most
        async with pace.slot(write=True):
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.001)
            flying -= 1

    await asyncio.gather(*(one() for _ in range(10)))
    assert most == 2


def test_each_secondary_limit_waits_longer_until_a_write_is_taken() -> None:
    pace = Pace()
    assert [pace.strike() for _ in range(3)] == [60.0, 120.0, 240.0]
    for _ in range(10):
        assert pace.strike() <= SECONDARY_MAX_SECONDS
    pace.fine()
    assert pace.strike() == 60.0
