"""How fast an installation may be asked, by GitHub's own limits.

GitHub allows 80 content-creating requests a minute and 500 an hour, asks for a second between bulk
writes, and bars who goes on while it says stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from bot.errors import TransientError

BURST = 10
"""Writes that go out at once: what one run needs when it begins."""

SPACING_SECONDS = 1.0
"""Between writes after that; with the burst 70 in any minute, of the 80 that GitHub allows."""

HOUR_BURST, HOUR_SPACING = 140, 10.0
"""The same for an hour, as multiples of the spacing: 140 + 3,600 / 10 = 500."""

CONCURRENT = 8
"""Requests of one installation in flight: far under the 100 that GitHub allows for all of them."""

PATIENCE_SECONDS = 5.0
"""The longest pause that a caller waits out; for a longer one it is told to come again."""

SECONDARY_SECONDS = 60.0
"""The pause after a secondary limit that names none: GitHub asks for at least a minute …"""

SECONDARY_MAX_SECONDS = 900.0
"""… and for more each time; a quarter of an hour loses nothing, since the view is redrawn whole."""


class Bucket:
    """Lets `burst` through at once, then one each `spacing` seconds."""

    def __init__(self, burst: int, spacing: float) -> None:
        self._burst = burst
        self._spacing = spacing
        self._next = float("-inf")

    def take(self, now: float) -> float:
        """Take one, and return in how many seconds it may go."""
        earliest = now - (self._burst - 1) * self._spacing
        at = max(self._next, earliest)
        self._next = at + self._spacing
        return max(0.0, at - now)


class SharedBuckets(Protocol):
    """The buckets and the pause of an installation, where several processes write for it."""

    async def take(self, buckets: Sequence[tuple[int, float]]) -> tuple[float, float]:
        """Take one of each (burst, spacing); say in how many seconds it may go, and how long nobody
        may ask at all."""

    async def pause(self, seconds: float) -> None:
        """Let nobody ask for so long."""


class Pace:
    """The pace of one installation. `spacing` 0 is for a GitHub without limits, such as a test's.

    `clock` counts seconds and never goes back. With `shared` it is the pace of all processes.
    """

    def __init__(
        self,
        spacing: float = SPACING_SECONDS,
        concurrent: int = CONCURRENT,
        clock: Callable[[], float] = time.monotonic,
        shared: SharedBuckets | None = None,
    ) -> None:
        self._sizes = [(BURST, spacing), (HOUR_BURST, spacing * HOUR_SPACING)]
        self._buckets = [Bucket(*size) for size in self._sizes]
        self._shared = shared if spacing else None
        self._to_tell = 0.0
        self._slots = asyncio.Semaphore(concurrent)
        self._clock = clock
        self._until = float("-inf")
        self._strikes = 0

    @asynccontextmanager
    async def slot(self, *, write: bool) -> AsyncIterator[None]:
        """Wait for this request's turn; `TransientError` while GitHub says stop."""
        if write:
            await asyncio.sleep(await self._take())
        async with self._slots:
            await self._wait_out()
            try:
                yield
            finally:
                await self._tell()

    async def _take(self) -> float:
        if self._shared is None:
            now = self._clock()
            return max(bucket.take(now) for bucket in self._buckets)
        seconds, pause = await self._shared.take(self._sizes)
        if pause > 0:
            self._until = max(self._until, self._clock() + pause)
        return seconds

    def pause(self, seconds: float) -> None:
        """Let nobody ask for so long."""
        self._until = max(self._until, self._clock() + seconds)
        self._to_tell = max(self._to_tell, seconds)

    async def _tell(self) -> None:
        """Tell the other processes of a pause that GitHub asked for."""
        if not self._to_tell or self._shared is None:
            return
        try:
            await self._shared.pause(self._to_tell)
        except TransientError:
            return  # The next request tells it, and what this one came to is more important.
        self._to_tell = 0.0

    def strike(self) -> float:
        """Count a secondary limit that named no time, and return how long to wait for it."""
        seconds = min(SECONDARY_SECONDS * 2.0**self._strikes, SECONDARY_MAX_SECONDS)
        self._strikes += 1
        return seconds

    def fine(self) -> None:
        """Forget the strikes: GitHub took a write."""
        self._strikes = 0

    async def _wait_out(self) -> None:
        left = self._until - self._clock()
        if left > PATIENCE_SECONDS:
            raise TransientError("GitHub asked for a pause; it is not over.", retry_after=left)
        while left > 0:
            await asyncio.sleep(left)
            left = self._until - self._clock()
