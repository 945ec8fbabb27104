"""Keeps one job from taking the server's time: what is long waits for what was long before it."""

from __future__ import annotations

import asyncio
from time import monotonic
from types import TracebackType
from typing import Final

LARGE_BYTES: Final = 1024**2  # read in 5 ms; what is smaller never waits
REST: Final = 9  # times as long as was worked: one job then takes a tenth of the server


class Pace:
    """`turn` before the work, `with` around it; the work itself holds the loop, and is timed."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self._begun = 0.0

    async def turn(self, size: int) -> None:
        """Wait until work on so many bytes may begin."""
        while size >= LARGE_BYTES and (left := self._free_at - monotonic()) > 0:  # noqa: ASYNC110
            # A time is waited for, which another may have moved on when it comes.
            await asyncio.sleep(left)

    def __enter__(self) -> None:
        self._begun = monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        now = monotonic()
        self._free_at = now + REST * (now - self._begun)
