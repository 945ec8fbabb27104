"""What happens to a run while an agent or a check works for it, here or in another process.

`watching` looks at the run whenever it may have changed. `TurnWatch` is what a turn is given on top
of that: it stops when the run was stopped, hears what people say to the agent and give the run, and
keeps what must outlive this process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

import structlog

from bot.errors import TransientError
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.budget import is_low, left_tokens, left_usd
from bot.runs.model import Run
from bot.runs.ports import Allowed, Clock, Told
from bot.runs.store import Store
from bot.usage import Usage

FIRST_SECONDS = 0.2
"""How long after its begin work in flight looks at its run for the first time: what changed just
before, it was told of by whoever asked for it, and most checks are over by then."""

WATCH_SECONDS = 2.0
"""How often work in flight looks whether another process stopped the run or said something."""

KEEP_SECONDS = 1.0
"""How often a turn's spending is kept at the most: what a crash may lose of it is a request's."""


WRITE_TRIES = 60
"""Tries of a write that only this process can make, one a second: what is out of reach for longer
than that is no restart of the database, and a process that shares it has lost its lease."""

_T = TypeVar("_T")

log = structlog.get_logger()


async def patiently(write: Callable[[], Awaitable[_T]]) -> _T:
    """Write what only this process knows, and again while the database is out of reach."""
    for _ in range(WRITE_TRIES):
        try:
            return await write()
        except TransientError as error:
            log.warning("not written yet", error=str(error))
            await asyncio.sleep(KEEP_SECONDS)
    return await write()


@contextlib.asynccontextmanager
async def watching(store: Store, run_id: str, look: Callable[[Run], None]) -> AsyncIterator[None]:
    """Call `look` with the run soon, and again whenever it may have changed."""
    changed = asyncio.Event()

    async def watch() -> None:
        seconds = FIRST_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it can swallow the cancellation below.
                async with asyncio.timeout(seconds):
                    await changed.wait()
            seconds = WATCH_SECONDS
            changed.clear()
            with contextlib.suppress(TransientError):
                look(await store.load(run_id))

    end = store.listen(lambda it: look(it) if it.id == run_id else None)
    end_too = store.listen_elsewhere(lambda it: changed.set() if it.run == run_id else None)
    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        end()
        end_too()
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


@contextlib.asynccontextmanager
async def stop_of(store: Store, run: Run) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set as soon as the run is paused, cancelled or merged by hand."""
    stop = asyncio.Event()

    def look(now: Run) -> None:
        if now.state is not run.state:
            stop.set()

    async with watching(store, run.id, look):
        yield stop


class TurnWatch:
    """One turn of a run, while it goes on: `stop`, and the ports Steering, Progress and Purse.

    Its methods are called on the loop that it was entered on. `allowed` says of a run whose limits
    were changed what a turn may take of them.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        run: Run,
        allowed: Callable[[Run], Allowed] = lambda run: Allowed(left_usd(run), left_tokens(run)),
    ) -> None:
        self.stop = asyncio.Event()
        self._store = store
        self._clock = clock
        self._run = run
        self._of = allowed
        self._said: asyncio.Queue[Told] = asyncio.Queue()
        self._allowed: asyncio.Queue[Allowed] = asyncio.Queue()
        self._known = {each.id for each in run.messages if each.turn is not None}
        self._kept: dict[str, Any] = {"agent": run.agent}
        self._changed = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> TurnWatch:
        await self._stack.enter_async_context(watching(self._store, self._run.id, self._look))
        keeper = asyncio.create_task(self._keep())
        self._stack.push_async_callback(_ended, keeper)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        await patiently(self._keep_now)

    async def next(self) -> Told:
        """Wait for the next message; each is given once, in the order in which they came."""
        return await self._said.get()

    async def ack(self, told: Told) -> None:
        """Note that the agent has been given a message."""
        data = {"messages": [told.id], "turn": self._run.turns}
        id = f"{told.id}:heard:{self._run.turns}"
        await patiently(lambda: self._note(id, Type.HEARD, data))

    async def changed(self) -> Allowed:
        """Wait until a person has given the run other limits."""
        return await self._allowed.get()

    def session(self, session: str) -> None:
        """Keep the name of the agent's session."""
        self._remember("session", session)

    def usage(self, usage: Mapping[str, Any]) -> None:
        """Keep what the turn has used so far."""
        self._remember("usage", dict(usage))

    def ended(self, **said: Any) -> None:
        """Keep what is known at the turn's end."""
        for name, value in said.items():
            self._remember(name, value)

    def _remember(self, name: str, value: Any) -> None:
        if value and self._kept.get(name) != value:
            self._kept[name] = value
            self._changed.set()

    def _look(self, now: Run) -> None:
        if now.state is not self._run.state:
            self.stop.set()
        self._look_at_limits(now)
        for each in now.unheard():
            if each.id not in self._known:
                self._known.add(each.id)
                self._said.put_nowait(Told(each.id, each.by, each.text))

    def _look_at_limits(self, now: Run) -> None:
        names = ("usd_limit", "token_limit")
        limits = {name: getattr(now, name) for name in names}
        if limits == {name: getattr(self._run, name) for name in names}:
            return
        self._run = self._run.model_copy(update={**limits, "budget_low": now.budget_low})
        # What this turn has used so far is not yet among what the run has.
        self._allowed.put_nowait(self._of(now))

    async def _keep(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await patiently(self._keep_now)
            await patiently(self._warn)
            await asyncio.sleep(KEEP_SECONDS)

    async def _keep_now(self) -> None:
        await self._store.keep_turn(self._run.id, self._run.turns, self._kept)

    async def _warn(self) -> None:
        """Say once that the budget comes to its end."""
        under_way = Usage.model_validate(self._kept.get("usage") or {})
        if self._run.budget_low or not is_low(self._run, under_way):
            return
        limits = {"usd": self._run.usd_limit, "tokens": self._run.token_limit}
        id = f"{self._run.id}:low:{limits['usd']}:{limits['tokens']}"
        await self._note(id, Type.BUDGET_LOW, limits)
        self._run = self._run.model_copy(update={"budget_low": True})

    async def _note(self, id: str, kind: Type, data: dict[str, Any]) -> None:
        event = Event(id=id, at=self._clock(), actor=ORCHESTRATE, type=kind, data=data)
        await self._store.append(self._run.id, lambda _: [event])


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
