"""Carries a run from one wait to the next, a step at a time.

`advance` does the work that the run's state names, and records what came of it. It may be called
again for the same step after a crash: work that was recorded is not done again, and each piece of
work looks before it leaps (`work.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from bot.errors import ConfigError, OperatorError, OrchestrateError, TransientError
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.model import Run
from bot.runs.recorder import Recorder
from bot.runs.transitions import State, Work
from bot.runs.work import Made, Ports, Worker, stop

log = structlog.get_logger()

TRIES = 8
"""Tries of a step that met a passing fault: with the waits between them, about four minutes."""

WAIT_MAX_SECONDS = 60.0
"""The longest wait between two tries, unless the other side names a longer one."""

WRAP_UP_SECONDS = 20.0
"""How long an agent or a check that was stopped may take to end, and what it left to be kept."""

_T = TypeVar("_T")

_DOING = {
    Work.START: "starting the run",
    Work.PLAN: "writing the plan",
    Work.TURN: "the agent worked",
    Work.JUDGE: "making the checkpoint",
    Work.CHECK: "running the checks",
    Work.RESTORE: "restoring the files",
    Work.UPDATE: "bringing the base in",
    Work.ADOPT: "taking in the pushed commits",
    Work.MERGE: "merging",
    Work.HAND: "handing the branch over",
}


class Segments:
    """Carries out the work of runs, and turns every error into what the run says of it."""

    def __init__(self, ports: Ports, worker: Worker, *, wait_max: float = WAIT_MAX_SECONDS) -> None:
        self._ports = ports
        self._worker = worker
        self._recorder = Recorder(ports.store, ports.git)
        self._wait_max = wait_max
        self._steps = 0
        self._moved = asyncio.Event()
        self._draining = False

    async def drain(self, seconds: float) -> None:
        """Begin no step any more, and let those that are under way end.

        After `seconds` agents and checks are stopped; what an agent has done until then is kept as
        an interrupted turn's, for whoever goes on with the run.
        """
        self._draining = True
        if not await self._ended(seconds):
            log.info("work handed on", steps=self._steps)
            self._worker.halt.set()
            await self._ended(WRAP_UP_SECONDS)

    async def _ended(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._steps:
                    self._moved.clear()
                    await self._moved.wait()
        return not self._steps

    @contextlib.asynccontextmanager
    async def _step(self) -> AsyncIterator[None]:
        """Count a step that is under way; one that comes too late waits for the end."""
        if self._draining:
            await asyncio.Event().wait()
        self._steps += 1
        try:
            yield
        finally:
            self._steps -= 1
            self._moved.set()

    async def advance(self, run_id: str, segment: int, step: int) -> bool:
        """Do one piece of work of a run; say whether there is more in this segment."""
        async with self._step():
            return await self._advance(run_id, segment, step)

    async def _advance(self, run_id: str, segment: int, step: int) -> bool:
        store = self._ports.store
        cause = f"{run_id}-{segment}.{step}"
        run = await store.load(run_id)
        if run.segment != segment:
            return False
        work = _due(run)
        if work is not None and not await store.has(run_id, f"{cause}:0"):
            made = await self._safely(run, work, cause)
            run = await self._record(run, cause, made)
        return not await store.rest(run_id, segment)

    async def finish(self, run_id: str) -> None:
        """Publish the record and throw the workspace away: the run waits, or has ended."""
        async with self._step():
            await self._finish(run_id)

    async def _finish(self, run_id: str) -> None:
        run = await self._ports.store.load(run_id)
        try:
            await self._tried(lambda: self._recorder.publish(run))
        except OrchestrateError as error:
            # The record is safe on this machine; the next rest of the run publishes it.
            log.warning("record not published", run=run.id, error=str(error))
        if run.work is None:
            await self._ports.git.close(run)

    async def _record(self, run: Run, cause: str, made: Made) -> Run:
        at = self._ports.clock()
        events = [
            Event(id=f"{cause}:{n}", at=at, actor=actor, type=kind, data=data)
            for n, (kind, data, actor) in enumerate(made)
        ]
        run = await self._ports.store.append(run.id, lambda now: _news(now, events))
        try:
            await self._tried(lambda: self._recorder.record(run))
        except OrchestrateError as error:
            # The database has it; a merge does not go on before the record has it too.
            log.warning("not recorded", run=run.id, error=str(error))
        return run

    async def _safely(self, run: Run, work: Work, cause: str) -> Made:
        try:
            return await self._tried(lambda: self._worker.do(work, run, cause))
        except (TransientError, OperatorError) as error:
            log.warning("step failed", run=run.id, work=work, error=str(error))
            return [_failed(str(error), "`/resume` tries again.")]
        except OrchestrateError as error:
            mend = "Mend it on the default branch, then `/resume`."
            step = mend if isinstance(error, ConfigError) else "`/resume` tries again."
            return [(Type.BLOCKED, stop(str(error), step), ORCHESTRATE)]
        except Exception:
            # The boundary: a bug of ours is logged once, and shown as one plain sentence.
            log.exception("step broke", run=run.id, work=work)
            reason = f"Something went wrong on our side while {_DOING[work]}."
            return [_failed(reason, "`/resume` tries again; the server's log says what it was.")]

    async def _tried(self, do: Callable[[], Awaitable[_T]]) -> _T:
        """Do it, and again after a passing fault, as long as the other side asks to wait."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(TRIES),
            wait=self._wait,
            reraise=True,
        ):
            with attempt:
                return await do()
        raise AssertionError("tenacity either returned or raised")

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, TransientError) else None
        backoff: float = wait_random_exponential(multiplier=1, max=self._wait_max)(state)
        return max(asked or 0.0, backoff)


def _due(run: Run) -> Work | None:
    """Say what is to be done: what the state says, or to take in a turn that nobody works on.

    A process that was killed leaves its turn open. A run that was stopped since has no work, and
    yet what that turn left and used belongs in its record.
    """
    return run.work or (Work.TURN if run.turn_open else None)


def _news(now: Run, events: Sequence[Event]) -> Sequence[Event]:
    """Leave out a merge that somebody else told of first."""
    return [each for each in events if now.state is not State.DONE or each.type != Type.MERGED]


def _failed(reason: str, next_step: str) -> tuple[str, dict[str, Any], str]:
    return (Type.FAILED, stop(reason, next_step), ORCHESTRATE)
