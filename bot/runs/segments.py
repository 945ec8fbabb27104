"""Carries a run from one wait to the next, a step at a time.

`advance` does the work that the run's state names, and records what came of it. It may be called
again for the same step after a crash: work that was recorded is not done again, and each piece of
work looks before it leaps (`work.py`).

A passing fault is got over within a minute, or else the segment is put off: it goes back into the
queue, and is tried again less and less often, for as long as the operator's patience lasts. So it
goes with an operator's stop, without an end to the patience.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
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
"""Tries of a step that met a passing fault before it is put off: with the waits between them, about
half a minute, in which a hiccup is over."""

WAIT_MAX_SECONDS = 15.0
"""The longest wait between two tries. Who is asked for a longer one is put off at once, and so is
not in the way of others meanwhile."""

PATIENCE_SECONDS = 3 * 3600.0
"""For how long what is out of reach is waited for, where no setting says it."""

PUT_OFF_PART = 0.25
"""The part of an outage so far that the next wait takes: the longer it is, the longer it lasts …"""

PUT_OFF_WAITS_MAX = 20
"""… up to so many of the longest waits between two tries, five minutes: that is how late people may
learn that GitHub is back."""

ROUND = 10_000
"""Steps of one round of a segment: far above what turn limits allow, so only a bug reaches it."""

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

    def __init__(
        self,
        ports: Ports,
        worker: Worker,
        *,
        wait_max: float = WAIT_MAX_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._patience = patience
        self._ports = ports
        self._worker = worker
        self._recorder = Recorder(ports.store, ports.git)
        self._wait_max = wait_max
        self._steps = 0
        self._recorded: dict[tuple[str, int, int], Run] = {}
        self._tidied: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
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
        await self._worker.preflight.close()

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

    async def advance(self, run_id: str, segment: int, step: int) -> bool | None:
        """Do one piece of work of a run; say whether there is more in this segment.

        None where there is, and the segment was put off.
        """
        async with self._step():
            async with self._tidying(run_id):
                pass
            return await self._advance(run_id, segment, step)

    async def _advance(self, run_id: str, segment: int, step: int) -> bool | None:
        store = self._ports.store
        cause, round = f"{run_id}-{segment}.{step}", step // ROUND
        # The step before this one has just read and recorded it, so this one is not recorded yet.
        known = self._recorded.pop((run_id, segment, step), None)
        run = known or await store.load(run_id)
        if run.segment != segment:
            return False
        work = _due(run)
        if work is not None:
            if known is None and await store.has(run_id, f"{cause}:0"):
                return True  # Before a crash: this segment begins again from its first step.
            if _can_wait(run, work) and await store.queue.stop_of(run.repository.installation):
                await self._publish(run)
                await self._ports.git.close(run)
                await store.put_off(run_id, segment, round, 0.0)
                return None
            made = await self._safely(run, work, cause, round)
            if made is None:
                return None
            run = await self._record(run, cause, made)
            if round:
                await store.queue.went_on(run_id)
            if run.segment == segment and run.active and run.work is not None:
                self._recorded[run_id, segment, step + 1] = run
                return True
        return not await store.rest(run_id, segment)

    async def finish(self, run_id: str, segment: int) -> None:
        """Publish the record and throw the workspace away: the run waits, or has ended."""
        async with self._step():
            await self._finish(run_id, segment)

    async def _finish(self, run_id: str, segment: int) -> None:
        await self._publish(await self._ports.store.load(run_id))
        async with self._tidying(run_id):
            # Somebody may have commanded meanwhile: the workspace is the next segment's then.
            run = await self._ports.store.load(run_id)
            if run.segment == segment and run.work is None:
                await self._ports.git.close(run)

    def _tidying(self, run_id: str) -> asyncio.Lock:
        """Return what the next segment waits for, which may begin while this one tidies up."""
        return self._tidied.setdefault(run_id, asyncio.Lock())

    async def _publish(self, run: Run) -> None:
        try:
            await self._tried(lambda: self._recorder.publish(run))
        except OrchestrateError as error:
            # The record is safe on this machine; the next drawing or rest of the run publishes it.
            log.warning("record not published", run=run.id, error=str(error))

    async def _record(self, run: Run, cause: str, made: Made) -> Run:
        at = self._ports.clock()
        events = [
            Event(id=f"{cause}:{n}", at=at, actor=actor, type=kind, data=data)
            for n, (kind, data, actor) in enumerate(made)
        ]
        store, run_id = self._ports.store, run.id
        run = await self._kept(lambda: store.append(run_id, lambda now: _news(now, events)))
        try:
            await self._tried(lambda: self._recorder.record(run))
        except OrchestrateError as error:
            # The database has it; a merge does not go on before the record has it too.
            log.warning("not recorded", run=run.id, error=str(error))
        return run

    async def _safely(self, run: Run, work: Work, cause: str, round: int) -> Made | None:
        """Do it; None where it was put off."""
        tries = count()
        try:
            return await self._tried(
                lambda: self._worker.do(work, run, cause, again=next(tries) > 0)
            )
        except TransientError as error:
            log.warning("step put off", run=run.id, work=work, error=str(error))
            return await self._put_off(run.id, work, round, error)
        except OperatorError as error:
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

    async def _put_off(
        self, run_id: str, work: Work, round: int, error: TransientError
    ) -> Made | None:
        """Let a run wait for what is out of reach; it fails once the patience is at its end."""
        store = self._ports.store
        run, now = await store.load(run_id), store.queue.clock()
        began = await store.queue.waits_since(run_id) or now
        if now - began > self._patience:
            hours = f"{self._patience / 3600:.3g}"
            reason = f"This was tried for {hours} hours while {_DOING[work]}: {error}"
            return [_failed(reason, "`/resume` tries again.")]
        if run.turn_open:
            # What the turn left is on this machine alone: it is no work for another round.
            return [_failed(str(error), "`/resume` tries again.")]
        wait = (now - began) * PUT_OFF_PART
        wait = min(max(wait, self._wait_max), self._wait_max * PUT_OFF_WAITS_MAX)
        due = now + max(wait, error.retry_after or 0.0)
        await self._ports.git.close(run)
        await store.put_off(run_id, run.segment, round, due, str(error))
        return None

    async def _tried(self, do: Callable[[], Awaitable[_T]]) -> _T:
        """Do it, and again after a passing fault that does not ask for a long wait."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=_is_enough,
            wait=self._wait,
            reraise=True,
        ):
            with attempt:
                return await do()
        raise AssertionError("tenacity either returned or raised")

    async def _kept(self, do: Callable[[], Awaitable[_T]]) -> _T:
        """Write what came of a piece of work, as soon as the database takes it.

        It is in this process alone until then, and a turn is not given twice. A process that lost
        its lease meanwhile ends by itself.
        """
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TransientError), wait=self._wait, reraise=True
        ):
            with attempt:
                return await do()
        raise AssertionError("tenacity either returned or raised")

    def _wait(self, state: RetryCallState) -> float:
        backoff: float = wait_random_exponential(multiplier=1, max=self._wait_max)(state)
        return max(_asked(state), backoff)


def _is_enough(state: RetryCallState) -> bool:
    return state.attempt_number >= TRIES or _asked(state) > WAIT_MAX_SECONDS


def _asked(state: RetryCallState) -> float:
    """Return how long the other side asked to wait."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TransientError) else None
    return asked or 0.0


def _can_wait(run: Run, work: Work) -> bool:
    """Whether a stop comes before this: what a turn left is made a checkpoint of all the same."""
    return not run.turn_open and work is not Work.JUDGE


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
