"""What went wrong on the way in is asked for again.

GitHub never repeats a failed delivery by itself. It lists its tries, and repeats one on request:
that is done at the start and every few minutes, for each GUID without a success that we never saw.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from bot.errors import Refused, TransientError
from bot.payloads import EVENTS
from bot.threads import DeliverySummary

log = structlog.get_logger()

EVERY = 300.0
"""Seconds between two looks."""

WINDOW = timedelta(days=3)
"""GitHub lists deliveries, and repeats them, for three days."""

SHORT_WINDOW = timedelta(hours=1)
"""What most looks cover: listing three days may be hundreds of requests. One an hour covers all."""

TRIES_AN_HOUR = 3
"""Tries of one GUID in an hour, GitHub's own count: a delivery that fails each time costs little,
and a restart does not begin to count anew."""

ASKED_AT_ONCE = 100
"""Requests of one look. A write costs 5 of the 900 points that GitHub grants a minute."""


class Source(Protocol):
    """GitHub's record of what it tried to deliver."""

    async def deliveries(self, since: datetime) -> list[DeliverySummary]:
        """List the tries since then."""

    async def redeliver(self, id: int) -> None:
        """Ask for a try to be repeated."""


class Known(Protocol):
    """Our record of what arrived."""

    async def known(self, guids: Collection[str]) -> set[str]:
        """Return which of these ever arrived."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Recovery:
    """Looks for lost deliveries every `every` seconds, the first time at once."""

    def __init__(
        self,
        source: Source,
        inbox: Known,
        *,
        every: float = EVERY,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._source = source
        self._inbox = inbox
        self._every = every
        self._now = now
        self._looked_far: datetime | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look, until `stop`."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> int:
        """Ask for everything that was lost, the oldest first; return how many were asked for.

        `TransientError` or `Refused` when GitHub does not list its tries.
        """
        now = self._now()
        far = self._looked_far is None or now - self._looked_far >= SHORT_WINDOW
        tries = await self._source.deliveries(now - (WINDOW if far else SHORT_WINDOW))
        lost = lost_among(tries, now)
        known = await self._inbox.known([each.guid for each in lost])
        wanted = [each for each in lost if each.guid not in known]
        asked = await self._ask(wanted[:ASKED_AT_ONCE])
        # Only now: when asking broke off, or left some for later, the next look is as far.
        if far and len(wanted) <= ASKED_AT_ONCE:
            self._looked_far = now
        return asked

    async def _ask(self, wanted: Sequence[DeliverySummary]) -> int:
        asked = 0
        for each in wanted:
            try:
                await self._source.redeliver(each.id)
            except Refused as error:
                log.warning("redelivery refused", delivery=each.guid, error=str(error))
                continue
            asked += 1
            log.info("redelivery asked for", delivery=each.guid, event_name=each.event)
        return asked

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (TransientError, Refused) as error:
                log.warning("lost deliveries not looked for", error=str(error))
            await asyncio.sleep(self._every)


def lost_among(tries: Iterable[DeliverySummary], now: datetime) -> list[DeliverySummary]:
    """Return the newest try of each GUID that never succeeded, the oldest GUID first.

    Left out are events that we do not act on, and GUIDs that were tried enough for this hour.
    """
    by_guid: dict[str, list[DeliverySummary]] = defaultdict(list)
    for each in tries:
        if each.event in EVENTS:
            by_guid[each.guid].append(each)
    lost = [
        sorted(group, key=lambda each: each.delivered_at)
        for group in by_guid.values()
        if not any(200 <= each.status_code < 300 for each in group)
    ]
    lost.sort(key=lambda group: group[0].delivered_at)
    return [group[-1] for group in lost if _recent(group, now) < TRIES_AN_HOUR]


def _recent(group: Iterable[DeliverySummary], now: datetime) -> int:
    return sum(now - each.delivered_at < timedelta(hours=1) for each in group)
