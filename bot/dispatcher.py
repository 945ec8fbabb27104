"""Hands deliveries on, from the record to those who obey them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from bot.deliveries import Delivery, Inbox
from bot.errors import TransientError
from bot.payloads import decode, thread_of

log = structlog.get_logger()

OBEY_SECONDS = 300.0
"""How long one delivery may take: handlers only record and enqueue, which takes well under 10 s."""

LOOK_SECONDS = 2.0
"""How often the record is looked at where nothing told of a delivery: `orchestrate deliveries
replay` is another process."""

Obey = Callable[[Delivery], Awaitable[None]]
"""Does what a delivery asks for; it may be called again for one that it finished or half did."""


@dataclass(slots=True)
class _Turn:
    guid: str
    due: float


class Dispatcher:
    """Hands deliveries to `obey`: as they arrive, and at the start those that a crash left.

    Deliveries of one thread (`payloads.thread_of`) are obeyed one after the other in order of
    arrival; up to `workers` threads at once. When the outside is out of reach the thread waits
    with its first delivery; one that fails by itself is overtaken, and tried again later.
    """

    def __init__(
        self, inbox: Inbox, obey: Obey, *, workers: int = 8, seconds: float = OBEY_SECONDS
    ) -> None:
        self._inbox = inbox
        self._obey = obey
        self._seconds = seconds
        self._workers = asyncio.Semaphore(workers)
        self._threads: dict[str, deque[_Turn]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeder: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._moved = asyncio.Event()
        self._awake = 0
        self._caught_up = False

    async def start(self) -> None:
        """Begin; what was received and not obeyed comes first."""
        self._feeder = asyncio.create_task(self._feed())

    async def stop(self, *, grace: float = 10.0) -> None:
        """Obey no more; what is under way gets `grace` seconds, then is left for the next start."""
        self._stopping.set()
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.wait([self._feeder])
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def settled(self) -> None:
        """Return when all that was stored has been obeyed, or waits for a later try."""
        while not self._is_quiet():
            self._moved.clear()
            await self._moved.wait()

    def _is_quiet(self) -> bool:
        inbox = self._inbox
        nothing_new = self._caught_up and not inbox.arrived.is_set() and not inbox.coming
        return nothing_new and self._awake == 0

    async def _feed(self) -> None:
        cursor = ""
        while True:
            self._inbox.arrived.clear()
            try:
                page = await self._inbox.waiting(after=cursor)
            except TransientError as error:
                log.warning("deliveries unreadable", error=str(error))
                await asyncio.sleep(1.0)
                continue
            for delivery in page:
                self._queue(_thread(delivery), _Turn(delivery.guid, delivery.due))
                cursor = delivery.received_at
            if page:
                continue
            self._caught_up = True
            self._moved.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._inbox.arrived.wait()
            self._caught_up = False

    def _queue(self, thread: str, turn: _Turn) -> None:
        if thread in self._threads:
            self._threads[thread].append(turn)
            return
        self._threads[thread] = deque([turn])
        self._spawn(self._walk(thread, self._threads[thread]))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _walk(self, thread: str, turns: deque[_Turn]) -> None:
        """Obey what one thread holds, in order."""
        with self._being_awake():
            while turns and not await self._asleep_until(turns[0].due):
                turn = turns.popleft()
                again, holds = await self._take(turn)
                if again is None:
                    continue
                if holds:
                    turns.appendleft(again)
                else:
                    self._spawn(self._bring_back(thread, again))
            del self._threads[thread]

    async def _bring_back(self, thread: str, turn: _Turn) -> None:
        if not await self._sleep(turn.due):
            self._queue(thread, turn)

    async def _take(self, turn: _Turn) -> tuple[_Turn | None, bool]:
        """Obey one delivery; return its next turn, and whether its thread waits for that."""
        try:
            async with self._workers:
                delivery = None if self._stopping.is_set() else await self._inbox.get(turn.guid)
                again = await self._try(delivery) if delivery else None
        except TransientError as error:
            # The record itself is out of reach; the delivery is safe in it.
            log.warning("delivery not marked", delivery=turn.guid, error=str(error))
            return _Turn(turn.guid, self._inbox.now() + 1.0), True
        if again is None:
            return None, False
        return _Turn(turn.guid, again[0].due), again[1]

    async def _try(self, delivery: Delivery) -> tuple[Delivery, bool] | None:
        with structlog.contextvars.bound_contextvars(delivery=delivery.guid):
            try:
                async with asyncio.timeout(self._seconds):
                    await self._obey(delivery)
            except TransientError as error:
                log.warning("delivery postponed", error=str(error), attempts=delivery.attempts + 1)
                again = await self._inbox.failed(
                    delivery, str(error), transient=True, retry_after=error.retry_after
                )
                return (again, True) if again else None
            except Exception as error:  # The boundary: one bad delivery stops no other.
                log.error("delivery failed", attempts=delivery.attempts + 1, exc_info=error)
                again = await self._inbox.failed(delivery, f"{type(error).__name__}: {error}")
                if again is None:
                    log.error("delivery set aside", error=str(error))
                return (again, False) if again else None
        await self._inbox.done(delivery.guid)
        return None

    @contextmanager
    def _being_awake(self) -> Iterator[None]:
        self._awake += 1
        try:
            yield
        finally:
            self._awake -= 1
            self._moved.set()

    async def _asleep_until(self, due: float) -> bool:
        """Sleep inside a thread; True when it is time to stop."""
        if due <= self._inbox.now():
            return self._stopping.is_set()
        self._awake -= 1
        self._moved.set()
        try:
            return await self._sleep(due)
        finally:
            self._awake += 1

    async def _sleep(self, due: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, due - self._inbox.now())):
                return await self._stopping.wait()
        except TimeoutError:
            return False


def _thread(delivery: Delivery) -> str:
    try:
        return thread_of(decode(delivery.body))
    except ValueError:
        return delivery.guid
