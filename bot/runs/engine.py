"""The durable engine: the one module that knows DBOS.

A segment is a workflow under the id `{run}-{n}`, which calls `Segments.advance`, numbered. After a
crash DBOS begins the workflow again: what was recorded is passed over, and the step in flight is
done again, which `advance` is made for. They are no steps of DBOS's own: it would write down once
more, in four statements for each, that the run's record has its events. A segment that is put off
ends its workflow, and goes on in another one, `{run}-{n}.{round}`.

Which segments may begin is decided by our own queue (`queue.py`), so that this engine never holds
one that has to wait for its turn. On SQLite the one process that there is begins each at once. On
PostgreSQL whoever is free takes the next one from DBOS's queue; each process is an executor under
its lease's id, and whoever has the post calls `rescue` with those that live.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from datetime import datetime
from pathlib import Path

import sqlalchemy
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from dbos._migration import should_migrate

from bot.errors import TransientError
from bot.runs.admission import Limits
from bot.runs.model import Run
from bot.runs.queue import Stop, Turn
from bot.runs.segments import ROUND, Segments
from bot.runs.store import Change, Store

log = structlog.get_logger()

QUEUE = "runs"

VERSION = "1"
"""Pinned: by default it is a hash of the source, and any edit would strand the runs in flight.
Raised only together with a patch for the segments that an older version began."""

POLL_SECONDS = 0.1
"""How long a queued segment waits at the most before a worker sees it."""

LEFT_SECONDS = 5.0
"""The same where one process begins its segments itself: what an older version has left there."""

LISTENER_SECONDS = 0.2
"""How often the engine looks for messages, which segments do not use: stopping waits for a look."""

AGAIN_SECONDS = 1.0
"""How long after a failure a segment is enqueued again."""

TURN_SECONDS = 2.0
"""How often it is looked whose turn it is where nothing told of a change: what was put off is due
again, another process died, or an operator let work go on."""

PLACES_SECONDS = 30.0
"""How often a changed place in the queue is shown at the most: an edit on GitHub for each of those
that are first, which must not take the work's own requests away …"""

PLACES = 5
"""… and how many those are: further back it is said that more than so many come before."""

SCHEMA = "dbos"
"""Where the engine's own tables are in a PostgreSQL: beside ours, in one database to back up."""

CONNECTIONS = 5
"""Connections of the engine in one process."""

SWEEP_SECONDS = 30.0
"""How often runs are looked for whose workflow ended while they were not over."""

LOOK_SECONDS = 0.02
"""How often it is looked whether a segment is over, by who waits for that."""

UNDER_WAY = frozenset({"ENQUEUED", "PENDING", "DELAYED"})
"""The engine's own states of a workflow that is not over."""

FORGOTTEN_AT_ONCE = 500
"""Workflows deleted in one transaction: short enough that nobody waits for it."""

NO_LIMITS = Limits(0)

_current: list[Segments] = []
_slots: list[asyncio.Semaphore] = []
"""How many segments are worked on at a time: of the engine that runs."""


@DBOS.workflow(name="segment")
async def segment(run: str, number: int, round: int = 0) -> None:
    """Carry a run to its next wait, or until it is put off."""
    async with _slots[-1]:
        await _carry(run, number, round)


async def _carry(run: str, number: int, round: int) -> None:
    for step in range(round * ROUND, (round + 1) * ROUND):
        more = await (await _here()).advance(run, number, step)
        if more is None:
            return
        if not more:
            await (await _here()).finish(run)
            return
    raise RuntimeError(f"segment {run}-{number} does not end")


async def _here() -> Segments:
    """Return who does the work; once it was stopped nothing is begun here, and nothing fails."""
    if not _current:
        await asyncio.Event().wait()
    return _current[-1]


class Engine:
    """Runs segments durably. One in a process, since DBOS is one in a process: a second one, as
    tests have it, works by the first one's, and leaves that alone when it stops.

    `where` is its own SQLite file, or the address of a PostgreSQL that it shares; there `executor`
    is this process. Without `working` it enqueues segments and runs none. `workers` is how many one
    process works on, `limits` what bounds them besides: a server of 0 is as many as all of them.
    """

    def __init__(
        self,
        store: Store,
        segments: Segments,
        where: Path | str,
        *,
        workers: int,
        executor: str = "local",
        working: bool = True,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._store = store
        self._segments = segments
        self._where = where
        self._workers = workers
        self._executor = executor
        self._working = working
        self._limits = limits
        self._look = asyncio.Event()
        self._is_wanted = False
        self._standing: dict[str, tuple[int, bool]] = {}
        self._owed: list[Turn] = []
        self._stops: list[Stop] | None = None
        self._places: dict[str, int] = {}
        self._told = self._placed = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []
        self._end_listening: Sequence[Callable[[], None]] = ()

    @property
    def is_shared(self) -> bool:
        """Whether other processes run segments as well."""
        return isinstance(self._where, str)

    async def start(self) -> None:
        """Launch the engine; where it is alone, go on with every segment that was under way."""
        if isinstance(self._where, Path):
            _prepare(self._where)
        _current.append(self._segments)
        _slots.append(asyncio.Semaphore(self._workers))
        if len(_current) == 1:
            self._launch()
        polling = POLL_SECONDS if self.is_shared else LEFT_SECONDS
        await DBOS.register_queue_async(
            QUEUE, worker_concurrency=self._workers, polling_interval_sec=polling
        )
        self._end_listening = (
            self._store.listen(self._changed),
            self._store.listen_elsewhere(self._changed_elsewhere),
        )
        self._tasks = [asyncio.create_task(self._feed())]
        if not self.is_shared:
            await self.revive()
            self._tasks.append(asyncio.create_task(self._sweep()))

    def _launch(self) -> None:
        DBOS(config=self._config())
        if not self._working:
            DBOS.listen_queues([])
        # Launched on the loop itself: DBOS adopts it for the segments that it runs from its queue.
        DBOS.launch()

    def _config(self) -> DBOSConfig:
        config: DBOSConfig = {
            "name": "orchestrate",
            "system_database_url": _url(self._where),
            "application_version": VERSION,
            "executor_id": self._executor,
            # The default is pickle, with which whoever writes the database runs code.
            "serializer": DBOSPortableJSONSerializer(),
            "notification_listener_polling_interval_sec": LISTENER_SECONDS,
            "log_level": "ERROR",
        }
        if self.is_shared:
            # `orchestrate db upgrade` makes the tables: a process of many changes none of them.
            config |= {"run_migrations": False, "sys_db_pool_size": CONNECTIONS}
        return config

    async def stop(self) -> None:
        """Stop taking work; what is under way goes on at the next start, or elsewhere."""
        for end in self._end_listening:
            end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _current.remove(self._segments)
        _slots.pop()
        if _current:
            return
        await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=0)
        # DBOS puts its own executor in the loop's place, and has just shut it down.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())

    async def rescue(self, living: Collection[str]) -> int:
        """Let anybody go on with the segments of executors that are not `living`; say how many.

        What a dead one had is derived from the rows, so that an attempt that failed is made up for
        by the next. It is conditional on the dead one's id: doing it twice takes nothing away from
        who has begun already.
        """
        pending = await DBOS.list_workflows_async(
            status="PENDING", app_version=VERSION, load_input=False, load_output=False
        )
        dead = {each.executor_id for each in pending if each.executor_id} - set(living)
        if not dead:
            return 0
        # What DBOS's own recovery service calls; its public way is to start a process under each
        # dead one's id, which takes a second that the runs wait for.
        handles = await asyncio.to_thread(DBOS._recover_pending_workflows, sorted(dead))
        log.warning("segments taken over", segments=len(handles), dead=sorted(dead))
        return len(handles)

    async def finished(self, run: Run) -> None:
        """Wait until the newest segment of a run is over, with what is cleared away at its end."""
        round = 0
        while True:
            status = await DBOS.get_workflow_status_async(_name(Turn(run.id, run.segment, round)))
            if status is None:
                return
            if status.status in UNDER_WAY:
                await asyncio.sleep(LOOK_SECONDS)
            else:
                round += 1

    def _changed(self, run: Run) -> None:
        """Look whose turn it is where a run wants to work, or wants to no more."""
        standing = (run.segment, run.work is None)
        if not run.active:
            self._standing.pop(run.id, None)
        elif self._standing.get(run.id) == standing:
            return
        else:
            self._standing[run.id] = standing
            self._is_wanted = True
        self._look.set()

    def _changed_elsewhere(self, change: Change) -> None:
        """Forget how a run stood: it may be another process that ends it."""
        self._standing.pop(change.run, None)

    async def _feed(self) -> None:
        """Begin segments as their turn comes."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_SECONDS):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._begin()
                await self._tell()
            except (sqlalchemy.exc.SQLAlchemyError, TransientError) as error:
                log.warning("segments not begun", owed=len(self._owed), error=str(error))
                asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._look.set)

    async def _begin(self) -> None:
        is_wanted, self._is_wanted = self._is_wanted, False
        self._owed += await self._store.queue.admit(self._limits, self._workers, sure=is_wanted)
        while self._owed:
            await self._enqueue(self._owed[0])
            self._owed.pop(0)

    async def _tell(self) -> None:
        """Have it shown where runs stand in the queue, as far as that has changed."""
        queue = self._store.queue
        if time.monotonic() - self._told < TURN_SECONDS:
            return
        self._told = time.monotonic()
        stops = await queue.stops()
        if self._stops is not None and stops != self._stops:
            await self._store.touch(await queue.waiting())
        self._stops = stops
        if time.monotonic() - self._placed < PLACES_SECONDS:
            return
        order = await queue.order() if self._places or await queue.is_full() else []
        places = {run: place for place, run in enumerate(order[:PLACES])}
        moved = [run for run, place in places.items() if self._places.get(run, place) != place]
        moved += [run for run in places if self._places and run not in self._places]
        self._places = places
        self._placed = time.monotonic()
        if moved:
            await self._store.touch(moved)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.revive()

    async def revive(self) -> None:
        """Go on with every segment that is not over, also where its workflow ended in an error.

        For one process at a time.
        """
        await self._store.line_up()
        for turn in await self._store.queue.admitted():
            name = _name(turn)
            status = await DBOS.get_workflow_status_async(name)
            if status is not None and status.status not in UNDER_WAY:
                log.warning("segment begun again", segment=name, ended=status.status)
                await DBOS.delete_workflow_async(name)
            await self._enqueue(turn)

    async def _enqueue(self, turn: Turn) -> None:
        with SetWorkflowID(_name(turn)):
            if self.is_shared:
                await DBOS.enqueue_workflow_async(QUEUE, segment, *astuple(turn))
            else:
                await DBOS.start_workflow_async(segment, *astuple(turn))


def _name(turn: Turn) -> str:
    name = f"{turn.run}-{turn.segment}"
    return f"{name}.{turn.round}" if turn.round else name


def make_tables(url: str) -> None:
    """Make, or bring up to date, the engine's own tables in a PostgreSQL."""
    DBOS.migrate(url, schema=SCHEMA)


def lacks_tables(url: str) -> bool:
    """Say whether a PostgreSQL lacks some of the engine's own tables."""
    engine = sqlalchemy.create_engine(url)
    try:
        return should_migrate(engine, SCHEMA, True)
    finally:
        engine.dispose()


def _prepare(path: Path) -> None:
    """Switch the engine's file to WAL, once: with it a segment's steps cost half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


# -- what is kept of workflows; any process may ask, beside the one that works


@contextlib.contextmanager
def _client(where: Path | str) -> Iterator[DBOSClient]:
    client = DBOSClient(system_database_url=_url(where), serializer=DBOSPortableJSONSerializer())
    try:
        yield client
    finally:
        client.destroy()


def forget_workflows(where: Path | str, before: datetime, *, dry_run: bool = False) -> int:
    """Delete the workflows that ended before then, or only count them; say how many."""
    if not _is_there(where):
        return 0
    with _client(where) as client:
        ended = client.list_workflows(
            completed_before=before.isoformat(), load_input=False, load_output=False
        )
        # One that is under way has not completed; whoever changes that shall not lose it here.
        gone = [each.workflow_id for each in ended if each.status not in UNDER_WAY]
        if not dry_run:
            _delete(client, gone)
        return len(gone)


def workflows_of(where: Path | str, runs: Sequence[str], *, delete: bool = False) -> int:
    """Count the workflows of some runs, and delete them where that is asked for."""
    if not runs or not _is_there(where):
        return 0
    with _client(where) as client:
        found = client.list_workflows(
            workflow_id_prefix=[f"{run}-" for run in runs], load_input=False, load_output=False
        )
        if delete:
            _delete(client, [each.workflow_id for each in found])
        return len(found)


def _url(where: Path | str) -> str:
    return f"sqlite:///{where}" if isinstance(where, Path) else where


def _is_there(where: Path | str) -> bool:
    """Whether the engine has made its tables: a server that was killed first left none."""
    if not isinstance(where, Path):
        return not lacks_tables(where)
    if not where.exists():
        return False
    with contextlib.closing(sqlite3.connect(where)) as connection:
        named = "SELECT 1 FROM sqlite_master WHERE name = 'workflow_status'"
        return connection.execute(named).fetchone() is not None


def _delete(client: DBOSClient, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), FORGOTTEN_AT_ONCE):
        client.delete_workflows(list(ids[start : start + FORGOTTEN_AT_ONCE]))
