"""The durable engine: the one module that knows DBOS.

A segment is a workflow under the id `{run}-{n}`; its steps are `Segments.advance`, numbered. After
a crash DBOS begins a workflow again where it was: finished steps are not repeated, and the one in
flight is called again, which `advance` is made for.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from bot.runs.model import Run
from bot.runs.segments import Segments
from bot.runs.store import Store

log = structlog.get_logger()

QUEUE = "runs"

VERSION = "1"
"""Pinned: by default it is a hash of the source, and any edit would strand the runs in flight.
Raised only together with a patch for the segments that an older version began."""

POLL_SECONDS = 0.1
"""How long a queued segment waits at the most before a worker sees it."""

LISTENER_SECONDS = 0.2
"""How often the engine looks for messages, which segments do not use: stopping waits for a look."""

SWEEP_SECONDS = 30.0
"""How often runs are looked for whose workflow ended while they were not over."""

LOOK_SECONDS = 0.02
"""How often it is looked whether a segment is over, by who waits for that."""

UNDER_WAY = frozenset({"ENQUEUED", "PENDING", "DELAYED"})
"""The engine's own states of a workflow that is not over."""

STEPS_MAX = 10_000
"""Steps of one segment: far above what turn limits allow, so only a bug reaches it."""

FORGOTTEN_AT_ONCE = 500
"""Workflows deleted in one transaction: short enough that nobody waits for it."""

_current: list[Segments] = []


@DBOS.workflow(name="segment")
async def segment(run: str, number: int) -> None:
    """Carry a run to its next wait."""
    for step in range(STEPS_MAX):
        if not await advance(run, number, step):
            await finish(run)
            return
    raise RuntimeError(f"segment {run}-{number} does not end")


@DBOS.step(name="advance")
async def advance(run: str, number: int, step: int) -> bool:
    """Do one piece of work."""
    return await _current[-1].advance(run, number, step)


@DBOS.step(name="finish")
async def finish(run: str) -> None:
    """Publish the record and clear the workspace away."""
    await _current[-1].finish(run)


class Engine:
    """Runs segments durably. One in a process, since DBOS is one in a process."""

    def __init__(self, store: Store, segments: Segments, path: Path, *, workers: int) -> None:
        self._store = store
        self._segments = segments
        self._path = path
        self._workers = workers
        self._wanted: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._end_listening: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Launch the engine, and go on with every segment that was under way."""
        _prepare(self._path)
        _current.append(self._segments)
        config: DBOSConfig = {
            "name": "orchestrate",
            "system_database_url": f"sqlite:///{self._path}",
            "application_version": VERSION,
            "executor_id": "local",
            # The default is pickle, with which whoever writes the database runs code.
            "serializer": DBOSPortableJSONSerializer(),
            "notification_listener_polling_interval_sec": LISTENER_SECONDS,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        # Launched on the loop itself: DBOS adopts it for the segments that it runs from its queue.
        DBOS.launch()
        await DBOS.register_queue_async(
            QUEUE, worker_concurrency=self._workers, polling_interval_sec=POLL_SECONDS
        )
        self._end_listening = self._store.listen(
            lambda run: self._wanted.put_nowait((run.id, run.segment)) if run.active else None
        )
        await self._revive()
        self._tasks = [asyncio.create_task(self._feed()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """Stop taking work; what is under way goes on at the next start."""
        self._end_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=0)
        # DBOS puts its own executor in the loop's place, and has just shut it down.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        _current.remove(self._segments)

    async def finished(self, run: Run) -> None:
        """Wait until the newest segment of a run is over, with what is cleared away at its end."""
        name = f"{run.id}-{run.segment}"
        while (status := await DBOS.get_workflow_status_async(name)) is not None:
            if status.status not in UNDER_WAY:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _feed(self) -> None:
        last: dict[str, int] = {}
        while True:
            run, number = await self._wanted.get()
            if last.get(run) != number:
                last[run] = number
                await self._enqueue(run, number)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self._revive()

    async def _revive(self) -> None:
        """Go on with every segment that is not over, also where its workflow ended in an error."""
        for run in await self._store.active():
            name = f"{run.id}-{run.segment}"
            status = await DBOS.get_workflow_status_async(name)
            if status is not None and status.status not in UNDER_WAY:
                log.warning("segment begun again", segment=name, ended=status.status)
                await DBOS.delete_workflow_async(name)
            await self._enqueue(run.id, run.segment)

    async def _enqueue(self, run: str, number: int) -> None:
        with SetWorkflowID(f"{run}-{number}"):
            await DBOS.enqueue_workflow_async(QUEUE, segment, run, number)


def _prepare(path: Path) -> None:
    """Switch the engine's file to WAL, once: with it a segment's steps cost half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


# -- what is kept of workflows; any process may ask, beside the one that works


@contextlib.contextmanager
def _client(path: Path) -> Iterator[DBOSClient]:
    client = DBOSClient(
        system_database_url=f"sqlite:///{path}", serializer=DBOSPortableJSONSerializer()
    )
    try:
        yield client
    finally:
        client.destroy()


def forget_workflows(path: Path, before: datetime, *, dry_run: bool = False) -> int:
    """Delete the workflows that ended before then, or only count them; say how many."""
    if not path.exists():
        return 0
    with _client(path) as client:
        ended = client.list_workflows(
            completed_before=before.isoformat(), load_input=False, load_output=False
        )
        # One that is under way has not completed; whoever changes that shall not lose it here.
        gone = [each.workflow_id for each in ended if each.status not in UNDER_WAY]
        if not dry_run:
            _delete(client, gone)
        return len(gone)


def workflows_of(path: Path, runs: Sequence[str], *, delete: bool = False) -> int:
    """Count the workflows of some runs, and delete them where that is asked for."""
    if not path.exists() or not runs:
        return 0
    with _client(path) as client:
        found = client.list_workflows(
            workflow_id_prefix=[f"{run}-" for run in runs], load_input=False, load_output=False
        )
        if delete:
            _delete(client, [each.workflow_id for each in found])
        return len(found)


def _delete(client: DBOSClient, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), FORGOTTEN_AT_ONCE):
        client.delete_workflows(list(ids[start : start + FORGOTTEN_AT_ONCE]))
