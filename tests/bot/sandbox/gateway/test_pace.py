from __future__ import annotations

import asyncio
import time

from bot.sandbox.gateway.pace import LARGE_BYTES, Pace

WORK = 0.02


async def work(pace: Pace, size: int) -> None:
    await pace.turn(size)
    with pace:
        time.sleep(WORK)  # noqa: ASYNC251 - it stands for what holds the loop


async def test_large_work_takes_a_tenth_of_the_time() -> None:
    pace = Pace()
    begun = time.monotonic()
    await asyncio.gather(*(work(pace, LARGE_BYTES) for _ in range(3)))
    # The first begins at once; each other waits nine times as long as the one before it worked.
    assert time.monotonic() - begun >= WORK * 21


async def test_the_first_does_not_wait_and_small_work_never_does() -> None:
    pace = Pace()
    begun = time.monotonic()
    await work(pace, LARGE_BYTES)
    await work(pace, LARGE_BYTES - 1)
    await work(pace, 0)
    assert time.monotonic() - begun < WORK * 9
