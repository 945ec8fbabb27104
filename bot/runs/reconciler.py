"""Keeps what is shown in step with what runs are: one drawer an installation.

A changed run is dirty until it has been drawn as it is; several changes in between are one
drawing. There is no other queue of effects, so whatever a crash or an outage kept from being
shown is shown afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from bot.errors import OrchestrateError, TransientError
from bot.pulls import opened
from bot.runs.ports import Clock, Forge, Git
from bot.runs.recorder import Recorder
from bot.runs.segments import PATIENCE_SECONDS
from bot.runs.store import Store

log = structlog.get_logger()

SWEEP_SECONDS = 30.0
"""How often it looks for runs that were left dirty: by a refusal, or by another process."""

SHARED_SECONDS = 5.0
"""The same where others draw as well: one that died leaves what it had to draw to the next."""

BACK_OFF_MAX_SECONDS = 60.0
"""The longest wait after repeated failures, unless GitHub names a longer one: so late people may
see what is."""

BEHIND_SECONDS = 1.0
"""How much later than others a drawing comes after a pause: what fails may be drawing alone, and
who asks first after a pause finds out for all. What people command goes before what they see."""


class Reconciler:
    """Draws dirty runs. `start` begins, `settled` waits until nothing is left to draw.

    `gather` is how many seconds a drawer waits for more changes before it draws. Where several
    processes draw, `hold` takes the post of an installation's drawer, if it is free. `patience` is
    for how many seconds runs wait for what is out of reach.
    """

    def __init__(
        self,
        store: Store,
        git: Git,
        forge: Forge,
        clock: Clock,
        *,
        gather: float,
        hold: Callable[[str], Awaitable[bool]] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._patience = patience
        self._hold = hold
        self._gather = gather
        self._store = store
        self._git = git
        self._forge = forge
        self._clock = clock
        self._recorder = Recorder(store, git)
        self._dirty: dict[int, dict[str, None]] = {}
        self._wake: dict[int, asyncio.Event] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._end_listening: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Draw what is dirty now, and whatever changes from now on."""
        end = self._store.listen(lambda run: self._mark(run.id, run.repository.installation))
        end_too = self._store.listen_elsewhere(lambda it: self._mark(it.run, it.installation))

        def end_both() -> None:
            end()
            end_too()

        self._end_listening = end_both
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop drawing; what is dirty stays so until the next start."""
        self._end_listening()
        tasks = [*self._tasks.values(), *([self._sweeper] if self._sweeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def settled(self) -> None:
        """Wait until every run is drawn as it is."""
        while await self._store.dirty():  # noqa: ASYNC110  another process may draw as well
            await asyncio.sleep(0.02)

    async def _sweep(self) -> None:
        while True:
            try:
                for run_id, installation in await self._store.dirty():
                    self._mark(run_id, installation)
            except TransientError as error:
                log.warning("nothing found to draw", error=str(error))
            await asyncio.sleep(SHARED_SECONDS if self._hold else SWEEP_SECONDS)

    def _mark(self, run_id: str, installation: int) -> None:
        self._dirty.setdefault(installation, {})[run_id] = None
        self._wake.setdefault(installation, asyncio.Event()).set()
        if installation not in self._tasks:
            self._tasks[installation] = asyncio.create_task(self._draw_all(installation))

    async def _draw_all(self, installation: int) -> None:
        dirty, wake = self._dirty[installation], self._wake[installation]
        while True:
            await wake.wait()
            await asyncio.sleep(self._gather)
            wake.clear()
            if not await self._may_draw(installation):
                for run_id in dirty:  # Whoever has the post hears of the same.
                    self._failures.pop(run_id, None)
                dirty.clear()
            while dirty:
                run_id = next(iter(dirty))
                del dirty[run_id]
                await self._draw_safely(run_id)

    async def _may_draw(self, installation: int) -> bool:
        try:
            return self._hold is None or await self._hold(f"draw:{installation}")
        except TransientError as error:
            log.warning("drawing put off", installation=installation, error=str(error))
            return False

    async def _draw_safely(self, run_id: str) -> None:
        try:
            await self._draw(run_id)
            self._failures.pop(run_id, None)
        except TransientError as error:
            await self._later(run_id, error, error.retry_after)
        except OrchestrateError as error:
            await self._later(run_id, error, None)
        except Exception:
            # The boundary: one run that cannot be drawn must not keep the others from it.
            log.exception("drawing broke", run=run_id)

    async def _later(self, run_id: str, error: Exception, asked: float | None) -> None:
        """Wait as GitHub asks, which holds for its whole installation; then draw again."""
        failures = self._failures[run_id] = self._failures.get(run_id, 0) + 1
        log.warning("not drawn", run=run_id, error=str(error), failures=failures)
        back_off = min(2.0 ** (failures - 1), BACK_OFF_MAX_SECONDS)
        if asked:
            await asyncio.sleep(asked)
        try:
            run = await self._store.load(run_id)
        except TransientError:
            return  # The next sweep finds it.
        loop = asyncio.get_running_loop()
        behind = BEHIND_SECONDS if asked else back_off
        loop.call_later(behind, self._mark, run_id, run.repository.installation)

    async def _draw(self, run_id: str) -> None:
        run, mark = await self._store.to_draw(run_id)
        run = await self._forge.refresh(run)
        try:
            await self._recorder.record(run)
        except OrchestrateError as error:
            log.warning("not recorded", run=run_id, error=str(error))
        standing = await self._store.queue.standing(run, self._patience)
        run = run.model_copy(update={"standing": standing})
        results = await self._store.results(run_id, run.head)
        number = await self._forge.show(run, results)
        if number is not None and run.pull_request is None:
            await self._store.append(run.id, lambda _: [opened(number, self._clock)])
        if not run.active:
            with contextlib.suppress(OrchestrateError):
                await self._recorder.publish(run)
        await self._store.drawn(run_id, mark)
