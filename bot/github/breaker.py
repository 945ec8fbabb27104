"""Asks a GitHub that does not answer less and less often, and finds out when it does again.

One breaker an installation: where GitHub is down, each of its runs would else wait for every
time-out by itself, and all would come back at once. Each process has its own, unlike the pace
(`bot/paces.py`): what a limit is, GitHub says to one and means all, but what one machine cannot
reach another may, and that one must not stop it. A GitHub that is down is found out by each process
with five requests, and then asked by one of each for all of its runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from bot.errors import Refused, TransientError

FAILURES = 5
"""Requests in a row without an answer until nobody asks for a while: fewer are hiccups, which a
step's own tries get over."""

FIRST_SECONDS = 5.0
"""The first pause; each that follows is twice as long …"""

LONGEST_SECONDS = 60.0
"""… up to this, which is how late people may learn that GitHub is back: a request a minute from
each process is a burden to nobody."""

PROBE_SECONDS = 60.0
"""How long the one request may take that finds out, before another one may try."""

ANSWER_SECONDS = 1.0
"""When the others may ask again while one finds out: GitHub answers most requests within that."""


class Breaker:
    """Lets requests through while they are answered. `clock` counts seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._until = float("-inf")
        self._finding_out = float("-inf")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Make a request within; raises `TransientError` at once while nobody may.

        An error that says when to come again, or no, is an answer.
        """
        finds_out, pause = self._enter(), self._until
        try:
            yield
        except TransientError as error:
            if error.retry_after is not None:
                self._failures = 0
                raise
            # What was under way when the pause began says nothing new.
            if pause == self._until:
                self._fail()
            if (left := self._left()) > 0:
                raise TransientError(str(error), retry_after=left) from error
            raise
        except Refused:
            self._failures = 0
            raise
        else:
            self._failures = 0
        finally:
            if finds_out:  # Also one that was given up midway: the next finds out.
                self._finding_out = float("-inf")

    def _enter(self) -> bool:
        """Let a request through, or raise; say whether it is the one that finds out."""
        if (left := self._left()) > 0:
            raise TransientError("GitHub does not answer for now.", retry_after=left)
        if self._failures < FAILURES:
            return False
        self._finding_out = self._clock() + PROBE_SECONDS
        return True

    def _fail(self) -> None:
        self._failures += 1
        pauses = self._failures - FAILURES
        if pauses >= 0:
            self._until = self._clock() + min(FIRST_SECONDS * 2.0**pauses, LONGEST_SECONDS)

    def _left(self) -> float:
        if self._failures < FAILURES:
            return 0.0
        now = self._clock()
        return max(self._until - now, min(self._finding_out - now, ANSWER_SECONDS))
