"""The durable engine: the one module that knows DBOS.

A segment is a workflow under the id `{run}-{n}`, which calls `Segments.advance`, numbered. After a
crash DBOS begins the workflow again: what was recorded is passed over, and the step in flight is
done again, which `advance` is made for. They are no steps of DBOS's own: it would write down once
more, in four statements for each, that the run's record has its events. A segment that is put off
ends its workflow, and goes on in another one, `{run}-{n}.{round}`.

Which segments may begin is decided by our own queue (`queue.py`): each process takes out of it what
it has room for, and begins that at once. So DBOS's own queues are not used, nor its messages,
timers and schedules, and what it has running for them is ended as soon as it is launched: it would
look at the database 24 times a second for nothing. On PostgreSQL each process is an executor under
its lease's id, and whoever has the post calls `rescue`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from dbos._core import WorkflowHandleAsyncTask
from dbos._dbos import _get_dbos_instance
from dbos._migration import should_migrate
from sqlalchemy import ColumnElement, String, column, delete, or_, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.database import queue, workers
from bot.errors import TransientError
from bot.runs.admission import Limits
from bot.runs.model import Run
from bot.runs.queue import Stop, Turn
from bot.runs.segments import ROUND, Segments
from bot.runs.store import Change, Store

log = structlog.get_logger()

VERSION = "1"
"""Pinned: by default it is a hash of the source, and any edit would strand the runs in flight.
Raised only together with a patch for the segments that an older version began."""

AGAIN_SECONDS = 1.0
"""How long after a failure a segment is begun again."""

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
"""Connections of the engine in one process: each to SQLite keeps 2 MB of the file in memory."""

SWEEP_SECONDS = 30.0
"""How often runs are looked for whose workflow ended while they were not over."""

LOOK_SECONDS = 0.02
"""How often it is looked whether a segment is over, by who waits for that."""

UNDER_WAY = frozenset({"ENQUEUED", "PENDING", "DELAYED"})
"""The engine's own states of a workflow that is not over."""

FORGOTTEN_AT_ONCE = 500
"""Workflows deleted in one transaction: short enough that nobody waits for it."""

NO_LIMITS = Limits(0)

_workflows = table(
    "workflow_status",
    column("workflow_uuid", String),
    column("status", String),
    column("executor_id", String),
)
_inputs = table("workflow_input", column("workflow_uuid", String))
_outputs = table("operation_outputs", column("workflow_uuid", String))
for _each in (_workflows, _inputs, _outputs):
    _each.schema = SCHEMA

_current: list[Engine] = []


@DBOS.workflow(name="segment")
async def segment(run: str, number: int, round: int = 0) -> None:
    """Carry a run to its next wait, or until it is put off."""
    try:
        await _carry(run, number, round)
    finally:
        for engine in _current:
            engine.over(Turn(run, number, round))


async def _carry(run: str, number: int, round: int) -> None:
    for step in range(round * ROUND, (round + 1) * ROUND):
        more = await (await _here()).segments.advance(run, number, step)
        if more is None:
            return
        if not more:
            await (await _here()).segments.finish(run, number)
            return
    raise RuntimeError(f"segment {run}-{number} does not end")


async def _here() -> Engine:
    """Return who does the work; once it was stopped nothing is begun here, and nothing fails."""
    if not _current:
        await asyncio.Event().wait()
    return _current[-1]


class Engine:
    """Runs segments durably. One in a process, since DBOS is one in a process: a second one, as
    tests have it, works by the first one's, and leaves that alone when it stops.

    `where` is its own SQLite file, or the address of a PostgreSQL that it shares; there `executor`
    is this process. Without `working` it runs none, and tells the others of what is to be done.
    `workers` is how many one process works on, `limits` what bounds them besides: a server of 0 is
    as many as all of them.
    """

    def __init__(
        self,
        store: Store,
        segments: Segments,
        where: Path | str,
        *,
        workers: int,
        executor: str = "",
        working: bool = True,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._store = store
        self.segments = segments
        self._where = where
        self._workers = workers
        # A fresh one each time: what an earlier life left is for `revive`, not for DBOS.
        self._executor = executor or f"local-{secrets.token_hex(6)}"
        self._working = working
        self._limits = limits
        self._look = asyncio.Event()
        self._is_wanted = False
        self._standing: dict[str, tuple[int, bool]] = {}
        self._owed: list[Turn] = []
        self._under_way: set[Turn] = set()
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
        abandoned: list[Turn] = []
        if self._working:
            _current.append(self)
            if len(_current) == 1:
                abandoned = await self._launch()
        self._end_listening = (
            self._store.listen(self._changed),
            self._store.listen_elsewhere(self._changed_elsewhere),
        )
        self._store.queue.left_elsewhere = self._left_elsewhere
        self._tasks = [asyncio.create_task(self._feed())]
        if not self.is_shared:
            await self.revive()
            for turn in abandoned:
                await self._begin_one(turn)
            self._tasks.append(asyncio.create_task(self._sweep()))

    async def _launch(self) -> list[Turn]:
        """Launch DBOS; return what its last process on a SQLite file left."""
        if isinstance(self._where, Path):
            _prepare(self._where)
        DBOS(config=self._config())
        DBOS.listen_queues([])
        # Launched on the loop itself, which DBOS adopts.
        DBOS.launch()
        _quieten()
        if self.is_shared:
            return []
        left = await DBOS.list_workflows_async(
            status=sorted(UNDER_WAY), load_input=False, load_output=False
        )
        names = [each.workflow_id for each in left]
        await DBOS.delete_workflows_async(names)
        return [_turn(name) for name in names]

    def _config(self) -> DBOSConfig:
        config: DBOSConfig = {
            "name": "orchestrate",
            "system_database_url": _url(self._where),
            "application_version": VERSION,
            "executor_id": self._executor,
            # The default is pickle, with which whoever writes the database runs code.
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "ERROR",
            "sys_db_pool_size": CONNECTIONS,
        }
        if self.is_shared:
            # `orchestrate db upgrade` makes the tables: a process of many changes none of them.
            config |= {"run_migrations": False}
        return config

    async def stop(self) -> None:
        """Stop taking work; what is under way goes on at the next start, or elsewhere."""
        for end in self._end_listening:
            end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._working:
            return
        _current.remove(self)
        if _current:
            return
        await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=0)
        # DBOS puts its own executor in the loop's place, and has just shut it down.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())

    async def rescue(self) -> int:
        """Let anybody go on with the segments of processes that are dead; say how many.

        The dead are those whose lease was taken away. What they had is derived from the rows, so
        that an attempt that failed is made up for by the next, and doing it twice takes nothing
        away from who has begun already.
        """
        queue = self._store.queue
        async with queue.database.read() as connection:
            if not (await connection.execute(select(_somebody_left()))).scalar():
                return 0
        async with queue.alone() as connection:
            held = await queue.held(connection)
            living = set((await connection.execute(select(workers.c.id))).scalars())
            gone = await _forget_dead(connection, held, living)
            lost = [
                turn
                for turn, worker in held
                if turn in gone.dead or (worker not in living and turn not in gone.under_way)
            ]
            await queue.give_back(connection, lost)
        if lost:
            log.warning("segments taken over", segments=len(lost))
            self._is_wanted = True
            self._look.set()
            queue.tell_others()
        for turn in gone.dead - {turn for turn, _ in held}:
            await self._begin_one(turn)  # Its work is done, but what is to be cleared up is not.
        return len(lost)

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

    def over(self, turn: Turn) -> None:
        """Say that a segment has ended here, so that there is room for another."""
        self._under_way.discard(turn)
        self._look.set()

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

    def _left_elsewhere(self) -> None:
        """Look whose turn it is where another process has no room for it."""
        if self._room():
            self._look.set()

    def _room(self) -> int:
        """Say how many segments may be begun here now."""
        return self._workers - len(self._under_way) if self._working else 0

    async def _feed(self) -> None:
        """Begin segments as their turn comes."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_SECONDS):
                    await self._look.wait()
            self._look.clear()
            if not self._working:
                self._pass_on()
                continue
            try:
                await self._begin()
                await self._tell()
            except (sqlalchemy.exc.SQLAlchemyError, TransientError) as error:
                log.warning("segments not begun", owed=len(self._owed), error=str(error))
                asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._look.set)

    def _pass_on(self) -> None:
        """Tell those who work that there is something to do."""
        if self._is_wanted:
            self._is_wanted = False
            self._store.queue.tell_others()

    async def _begin(self) -> None:
        is_wanted, self._is_wanted = self._is_wanted, False
        room, queue = self._room() - len(self._owed), self._store.queue
        if room > 0:
            self._owed += await queue.admit(
                self._limits, self._workers, sure=is_wanted, most=room, worker=self._executor
            )
        elif is_wanted:
            queue.tell_others()
        while self._owed:
            await self._begin_one(self._owed[0])
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
        queue = self._store.queue
        await self._store.line_up()
        for turn in await queue.admitted():
            status = await DBOS.get_workflow_status_async(_name(turn))
            if status is not None and status.status in UNDER_WAY:
                continue
            if status is not None:
                log.warning("segment begun again", segment=_name(turn), ended=status.status)
                await DBOS.delete_workflow_async(_name(turn))
            if not self.is_shared:
                await self._begin_one(turn)
            elif status is not None:  # Without a workflow, who took it is about to begin it.
                async with queue.alone() as connection:
                    await queue.give_back(connection, [turn])

    async def _begin_one(self, turn: Turn) -> None:
        self._under_way.add(turn)
        try:
            with SetWorkflowID(_name(turn)):
                begun = await DBOS.start_workflow_async(segment, *astuple(turn))
        except BaseException:
            self._under_way.discard(turn)
            raise
        if not isinstance(begun, WorkflowHandleAsyncTask):
            self._under_way.discard(turn)  # It was begun before.


@dataclass(frozen=True, slots=True)
class _Gone:
    """What dead processes left: `under_way` is what others have."""

    dead: set[Turn]
    under_way: set[Turn]


def _somebody_left() -> ColumnElement[bool]:
    """Whether a segment is in the hands of who does not live."""
    living = select(workers.c.id)
    at_work, status = select(_workflows.c.workflow_uuid), _workflows.c.status
    dead = at_work.where(status == "PENDING", _workflows.c.executor_id.not_in(living))
    queued = at_work.where(status.in_(sorted(UNDER_WAY - {"PENDING"})))
    taken = select(queue.c.run).where(queue.c.admitted, queue.c.worker.not_in(living))
    return or_(dead.exists(), queued.exists(), taken.exists())


async def _forget_dead(
    connection: AsyncConnection, held: Sequence[tuple[Turn, str]], living: Collection[str]
) -> _Gone:
    """Delete the workflows of who does not live, and those in a queue of DBOS's.

    The version before this one had them there; whatever is in it is in ours as well.
    """
    names = {_name(turn) for turn, worker in held if worker not in living}
    status, name = _workflows.c.status, _workflows.c.workflow_uuid
    query = select(name, status, _workflows.c.executor_id)
    query = query.where(status.in_(sorted(UNDER_WAY)) | name.in_(names))
    found = (await connection.execute(query)).all()
    has = status.not_in(["PENDING"]) | _workflows.c.executor_id.not_in(living)
    doomed = [
        row.workflow_uuid
        for row in found
        if row.status != "PENDING" or row.executor_id not in living
    ]
    # One that a process took meanwhile is that one's.
    forget = delete(_workflows).where(name.in_(doomed), has).returning(name)
    gone = set((await connection.execute(forget)).scalars())
    for each in (_inputs, _outputs):
        await connection.execute(delete(each).where(each.c.workflow_uuid.in_(gone)))
    left = {row.workflow_uuid for row in found} - gone
    return _Gone({_turn(name) for name in gone}, {_turn(name) for name in left})


def _quieten() -> None:
    """End what DBOS does all the time for parts of it that are not used here.

    That is: look at its queues, its timers and its schedules, and listen for messages.
    """
    launched = _get_dbos_instance()
    for event in launched.background_thread_stop_events:
        event.set()
    launched._background_jobs_stop_event.set()
    launched._sys_db._run_background_processes = False
    launched._sys_db._cleanup_connections()


def _name(turn: Turn) -> str:
    name = f"{turn.run}-{turn.segment}"
    return f"{name}.{turn.round}" if turn.round else name


def _turn(name: str) -> Turn:
    run, _, number = name.rpartition("-")
    number, _, round = number.partition(".")
    return Turn(run, int(number), int(round or 0))


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
