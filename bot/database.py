"""Our tables, and how a database is opened: a SQLite file, or PostgreSQL.

SQLite is for one process: `open_database` takes an exclusive lock beside the file. WAL with
synchronous=FULL makes a commit that returned survive a crash of the machine. PostgreSQL is for any
number of them: there whoever writes with a lease (`bot/leases.py`) writes only while it holds it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Executable,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    event,
    inspect,
    select,
)

# Written for PostgreSQL, and SQLite's compiler reads it as well; not the other way round.
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InvalidatePoolError,
    OperationalError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from bot.errors import OperatorError, TransientError

__all__ = ["Database", "insert", "is_shared", "open_database"]

BUSY_SECONDS = 30
"""How long a writer waits for another: far above the longest transaction, which is milliseconds."""

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-512")
"""Of each connection. What one keeps of the file is its own, in KB (by default 2,000, of which a
dozen connections make 24 MB); the system has the file in memory as well."""

CONNECTIONS = 8
"""Connections that a process opens to PostgreSQL at the most, and then keeps: each costs the server
a process, whose start takes longer than what is asked. With those of the engine, the lease and the
hints that makes 16, so that a server that admits 100 serves six processes."""

CONNECT_SECONDS = 5
"""How long a connection may take to come about: a server that is up answers in milliseconds."""

IDLE_SECONDS = 3
"""How long a transaction may lie idle before PostgreSQL ends it: what a stopped process holds must
be free again in time for another to take over its runs, and between two statements of a
transaction there is nothing but our own arithmetic."""

UNASKED_SECONDS = 1.0
"""How long after its last use a connection is taken to be one, without being asked: a database that
is restarted takes about as long, and to ask each time was a quarter of what there was to wait for.
"""

BEGIN_HELD = (
    "BEGIN; SELECT 1 / count(*) FROM (SELECT FROM workers "
    "WHERE id = '{}' AND until > clock_timestamp() FOR KEY SHARE) AS held"
)
"""Begins for who holds a lease. Where it is lost this is an error, which comes back at once: a
question of its own would be waited for in each transaction."""

DIVISION_BY_ZERO = "22012"

SCHEMA = "0005"
"""The newest migration (`bot/migrations/versions`), which is what the tables here are."""

Number = BigInteger().with_variant(Integer(), "sqlite")
"""A number of GitHub's: they have passed 2^31 for comments, and will for others."""

T = TypeVar("T")

metadata = MetaData()

repositories = Table(
    "repositories",
    metadata,
    Column("id", Number, primary_key=True),
    Column("installation", Number, nullable=False, index=True),
    Column("owner", String, nullable=False),
    Column("name", String, nullable=False),
    Column("body", JSON, nullable=False),
    Column("schedules", JSON, nullable=False, default=list),
    Column("seen", JSON, nullable=False, default=dict),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("repository", Number, ForeignKey("repositories.id"), nullable=False),
    Column("installation", Number, nullable=False),
    Column("issue", Number),
    Column("pull_request", Number),
    Column("state", String, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("touched", Integer, nullable=False),
    Column("drawn", Integer, nullable=False, default=0),
    Column("created_at", String, nullable=False),
    Column("body", JSON, nullable=False),
    Index("runs_by_issue", "repository", "issue"),
    Index("runs_by_pull_request", "repository", "pull_request"),
    Index("runs_by_state", "state"),
)

events = Table(
    "events",
    metadata,
    Column("run", String, ForeignKey("runs.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("id", String, nullable=False),
    Column("body", JSON, nullable=False),
    PrimaryKeyConstraint("run", "seq"),
    UniqueConstraint("run", "id"),
)

results = Table(
    "results",
    metadata,
    Column("run", String, ForeignKey("runs.id"), nullable=False),
    Column("sha", String, nullable=False),
    Column("name", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    PrimaryKeyConstraint("run", "sha", "name"),
)

turns = Table(
    "turns",
    metadata,
    Column("run", String, ForeignKey("runs.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    PrimaryKeyConstraint("run", "number"),
)

drawings = Table(
    "drawings",
    metadata,
    Column("run", String, nullable=False),
    Column("key", String, nullable=False),
    Column("github_id", String, nullable=False),
    Column("digest", String, nullable=False),
    PrimaryKeyConstraint("run", "key"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("guid", String, primary_key=True),
    Column("event", String, nullable=False),
    Column("received_at", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False, default=0.0),
    Column("error", String, nullable=False, default=""),
    Index("deliveries_by_state", "state", "due"),
)


workers = Table(
    "workers",
    metadata,
    Column("id", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
)
"""The processes that hold a lease, and until when by the database's clock: PostgreSQL alone."""

posts = Table(
    "posts",
    metadata,
    Column("name", String, primary_key=True),
    Column("worker", String, nullable=False),
)
"""What one process at a time does, and which: it is free once that one's lease is over."""

packs = Table(
    "packs",
    metadata,
    Column("run", String, nullable=False),
    Column("commit", String, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run", "commit"),
)
"""Commits of runs that no remote has yet, as packs, so that another machine can go on with them."""

queue = Table(
    "queue",
    metadata,
    Column("run", String, ForeignKey("runs.id"), primary_key=True),
    Column("segment", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("installation", Number, nullable=False),
    Column("repository", Number, nullable=False),
    Column("agent", String, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("idle", Boolean, nullable=False),
    Column("admitted", Boolean, nullable=False),
    Column("worker", String, nullable=False, server_default=""),
    Column("asked", Float, nullable=False),
    Column("due", Float, nullable=False),
    Column("since", Float, nullable=False),
    Column("reason", String, nullable=False),
)
"""The segments that are not over: which of them may work, who took them, and how long the others
wait for what. Each is begun once a `round`; one that is put off waits for the next. Times are since
the epoch."""

stops = Table(
    "stops",
    metadata,
    Column("installation", Number, primary_key=True, autoincrement=False),
    Column("since", Float, nullable=False),
    Column("reason", String, nullable=False),
)
"""What an operator has stopped: an installation, or everything."""

paces = Table(
    "paces",
    metadata,
    Column("installation", Number, primary_key=True, autoincrement=False),
    Column("nexts", JSON, nullable=False),
    Column("until", Float, nullable=False),
)
"""How fast processes that share a PostgreSQL may write for an installation, by its clock."""

version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Which migration the tables are of; it is Alembic's own."""


class Database:
    """An open database: `read()` for a look, `write()` for one transaction."""

    def __init__(
        self, engine: AsyncEngine, lock: int | None, reader: AsyncEngine | None = None
    ) -> None:
        self._engine = engine
        self._reader = reader or engine
        self._lock = lock
        self._writer = asyncio.Lock()
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._native: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "deliveries")
        self._begin = "BEGIN"
        self._on_lost: Callable[[], None] = lambda: None

    @property
    def is_shared(self) -> bool:
        """Whether other processes may work on it as well."""
        return not self.is_sqlite

    def fence(self, lease: str, on_lost: Callable[[], None]) -> None:
        """From now on write only while `lease` is held; `on_lost` is called where it is not."""
        self._begin, self._on_lost = BEGIN_HELD.format(lease.replace("'", "''")), on_lost

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that sees what is committed."""
        with nullcontext() if self.is_sqlite else _reachable():
            async with self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction: committed at the end, or undone on an error.

        `TransientError` where PostgreSQL is out of reach, or the lease was lost.
        """
        if not self.is_sqlite:
            with _reachable():
                # What is not committed is undone when the connection goes back.
                async with self._engine.connect() as connection:
                    await self._begun(connection)
                    yield connection
                    await connection.exec_driver_sql("COMMIT")
            return
        # SQLite has one writer; queueing here costs less than its busy handler, which sleeps.
        async with self._writer, self._engine.begin() as connection:
            yield connection

    async def mark(self, statement: Executable, values: dict[str, Any]) -> None:
        """Write down in one statement what is true whoever says it: without a lease.

        Where processes share the database that is one question in place of three.
        """
        if self.is_sqlite:
            async with self.write() as connection:
                await connection.execute(statement, values)
        else:
            async with self.read() as connection:
                await connection.execute(statement, values)

    async def _begun(self, connection: AsyncConnection) -> None:
        """Begin, and refuse to write for who has lost its lease: one question for both.

        The lease's row stays locked to the end of the transaction, and whoever declares this
        process dead deletes it: a write is either before that, or refused.
        """
        try:
            await connection.exec_driver_sql(self._begin)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != DIVISION_BY_ZERO:
                raise
            self._on_lost()
            raise TransientError(
                "This process has lost its lease; another goes on with its work."
            ) from None

    async def native(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Let `work` write to SQLite by its own driver, on a thread; each statement is durable.

        For the one place where a layer between costs more than the work: many rows at once.
        """
        async with self._writer:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._native is None:
            self._native = sqlite3.connect(
                self._engine.url.database or "", timeout=BUSY_SECONDS, isolation_level=None
            )
            for pragma in PRAGMAS:
                self._native.execute(f"PRAGMA {pragma}")
        return work(self._native)

    def _close_native(self) -> None:
        if self._native is not None:
            self._native.close()
            self._native = None

    async def has_tables(self) -> bool:
        """Say whether the tables are made: a moment after its file, a database has none."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(lambda it: inspect(it).has_table(deliveries.name))

    async def is_current(self) -> bool:
        """Say whether the tables are this version's, or a newer one's."""
        async with self._engine.connect() as connection:
            now = await connection.run_sync(version_of)
        return now is not None and now >= SCHEMA

    async def close(self) -> None:
        """Close every connection and give the lock back."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close_native)
        self._thread.shutdown(wait=False)
        await self._engine.dispose()
        await self._reader.dispose()
        if self._lock is not None:
            os.close(self._lock)


def is_shared(url: str) -> bool:
    """Whether the database at `url` is PostgreSQL; `OperatorError` for what is neither of both."""
    return _parsed(url).get_backend_name() == "postgresql"


def driver_url(url: str) -> str:
    """Return the address of a PostgreSQL with the driver that we use, password and all."""
    return _parsed(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def plain_url(url: str) -> str:
    """Return the address of a PostgreSQL as its own programs and libraries take it."""
    return _parsed(url).set(drivername="postgresql").render_as_string(hide_password=False)


def file_of(url: str) -> Path:
    """Return the file of a SQLite database."""
    return Path(_parsed(url).database or "")


def shown(url: str) -> str:
    """Return the address of a database without its password."""
    return _parsed(url).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise OperatorError(
            "ORCHESTRATE_DATABASE_URL is no address of a database; write "
            "postgresql://USER@HOST/NAME, or leave it unset for a SQLite file."
        ) from None
    if parsed.drivername == "postgres":
        parsed = parsed.set(drivername="postgresql")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise OperatorError(
            f"ORCHESTRATE_DATABASE_URL names {parsed.get_backend_name()}; runs are kept in "
            "PostgreSQL (postgresql://USER@HOST/NAME) or in a SQLite file (sqlite:///PATH)."
        )
    return parsed


async def open_database(url: str, *, wait: bool = False, lock: bool = True) -> Database:
    """Open the database at `url`.

    A SQLite file is brought to this version's tables. With `wait`, another process that holds it is
    waited for; without, `OperatorError` names it. Without `lock` the file is only looked at.
    PostgreSQL's tables are looked at, and `OperatorError` says where they are not this version's.
    """
    if is_shared(url):
        return await _open_postgresql(url)
    parsed, path = _parsed(url), file_of(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    held = await _lock(path, wait=wait) if lock else None
    driver = parsed.set(drivername="sqlite+aiosqlite")
    engine = create_async_engine(driver, connect_args={"timeout": BUSY_SECONDS})
    _tune_sqlite(engine)
    _lock_at_begin(engine)
    if lock:
        async with engine.begin() as connection:
            await connection.run_sync(_settle)
    # Readers keep connections of their own: to make one of the writer's commit by itself, and to
    # undo that, takes as long as the look itself (0.9 ms with it, 0.5 without).
    reader = create_async_engine(
        driver,
        connect_args={"timeout": BUSY_SECONDS},
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
    )
    _tune_sqlite(reader)
    return Database(engine, held, reader)


async def _open_postgresql(url: str) -> Database:
    engine = postgresql(url)
    try:
        with _reachable():
            async with engine.connect() as connection:
                now = await connection.run_sync(version_of)
    except TransientError as error:
        await engine.dispose()
        raise OperatorError(f"{shown(url)} cannot be opened: {error}") from error
    if now is None or now < SCHEMA:
        await engine.dispose()
        lacks = "has no tables yet" if now is None else f"has tables of version {now}"
        raise OperatorError(
            f"{shown(url)} {lacks}; `orchestrate db upgrade` brings it to version {SCHEMA}."
        )
    return Database(engine, None)


def postgresql(url: str) -> AsyncEngine:
    """Make the engine for a PostgreSQL; nothing is connected yet."""
    made = create_async_engine(
        driver_url(url),
        pool_size=CONNECTIONS,
        max_overflow=0,
        # Looks need no transaction, and `Database.write` begins its own.
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s",
        },
    )
    _look_after_idle(made)
    return made


def _look_after_idle(engine: AsyncEngine) -> None:
    """Ask a connection that was idle for long whether it still is one, before it is relied on."""
    pool, dialect = engine.sync_engine.pool, engine.dialect

    @event.listens_for(pool, "checkin")
    def on_checkin(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["idle"] = time.monotonic()

    @event.listens_for(pool, "checkout")
    def on_checkout(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        idle = time.monotonic() - record.info.get("idle", time.monotonic())
        if idle > UNASKED_SECONDS and not _answers(dialect, connection):
            raise InvalidatePoolError  # The others are gone with it: each is made anew.


def _answers(dialect: Dialect, connection: Any) -> bool:
    try:
        return dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error:
        return False


def version_of(connection: Connection) -> str | None:
    """Return the migration that a database's tables are of; None where there are none."""
    looked = inspect(connection)
    if looked.has_table(version.name):
        found: str | None = connection.execute(select(version.c.version_num)).scalar()
        return found
    # The first version made its tables without a note of it.
    return "0001" if looked.has_table(runs.name) else None


def _settle(connection: Connection) -> None:
    """Bring a SQLite file to this version's tables."""
    now = version_of(connection)
    if now is None:
        metadata.create_all(connection)
        version.create(connection)
        connection.execute(version.insert().values(version_num=SCHEMA))
    elif now < SCHEMA:
        from bot.schema import upgrade_with  # Alembic is not needed but here.

        upgrade_with(connection)


@contextmanager
def _reachable() -> Iterator[None]:
    """Say of a PostgreSQL that is out of reach, or was restarted, that it passes."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise TransientError(f"The database is out of reach ({_reason(error)}).") from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise TransientError(f"The database ended the connection ({_reason(error)}).") from error


def _reason(error: DBAPIError) -> str:
    said = str(error.orig or error).strip().splitlines()
    return said[0] if said else type(error).__name__


async def _lock(path: Path, *, wait: bool) -> int:
    name = path.with_name(path.name + ".lock")
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                os.close(handle)
                raise OperatorError(
                    f"Another process works on {path}; stop it first, or set "
                    "ORCHESTRATE_DATA_DIR to a folder of its own."
                ) from None
            await asyncio.sleep(0.1)
        else:
            return handle


def _tune_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        # The driver's own transactions begin too late; `_lock_at_begin` begins them.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def _lock_at_begin(engine: AsyncEngine) -> None:
    """Take SQLite's lock when a transaction begins, not at its first write: that may be refused."""

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
