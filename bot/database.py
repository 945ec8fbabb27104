"""Our tables, and how a database is opened.

SQLite is for one process: `open_database` takes an exclusive lock beside the file. WAL with
synchronous=FULL makes a commit that returned survive a crash of the machine.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
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
)
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.errors import OperatorError

BUSY_SECONDS = 30
"""How long a writer waits for another: far above the longest transaction, which is milliseconds."""

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")

T = TypeVar("T")

metadata = MetaData()

repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("installation", Integer, nullable=False, index=True),
    Column("owner", String(200), nullable=False),
    Column("name", String(200), nullable=False),
    Column("body", JSON, nullable=False),
    Column("schedules", JSON, nullable=False, default=list),
    Column("seen", JSON, nullable=False, default=dict),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("repository", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("installation", Integer, nullable=False),
    Column("issue", Integer),
    Column("pull_request", Integer),
    Column("state", String(30), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("touched", Integer, nullable=False),
    Column("drawn", Integer, nullable=False, default=0),
    Column("created_at", String(30), nullable=False),
    Column("body", JSON, nullable=False),
    Index("runs_by_issue", "repository", "issue"),
    Index("runs_by_pull_request", "repository", "pull_request"),
    Index("runs_by_state", "state"),
)

events = Table(
    "events",
    metadata,
    Column("run", String(40), ForeignKey("runs.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("id", String(200), nullable=False),
    Column("body", JSON, nullable=False),
    PrimaryKeyConstraint("run", "seq"),
    UniqueConstraint("run", "id"),
)

results = Table(
    "results",
    metadata,
    Column("run", String(40), ForeignKey("runs.id"), nullable=False),
    Column("sha", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    PrimaryKeyConstraint("run", "sha", "name"),
)

turns = Table(
    "turns",
    metadata,
    Column("run", String(40), ForeignKey("runs.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    PrimaryKeyConstraint("run", "number"),
)

drawings = Table(
    "drawings",
    metadata,
    Column("run", String(40), nullable=False),
    Column("key", String(300), nullable=False),
    Column("github_id", String(40), nullable=False),
    Column("digest", String(64), nullable=False),
    PrimaryKeyConstraint("run", "key"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("guid", String(64), primary_key=True),
    Column("event", String(60), nullable=False),
    Column("received_at", String(30), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String(20), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False, default=0.0),
    Column("error", String(500), nullable=False, default=""),
    Index("deliveries_by_state", "state", "due"),
)


class Database:
    """An open database: `read()` for a look, `write()` for one transaction."""

    def __init__(self, engine: AsyncEngine, lock: int | None) -> None:
        self._engine = engine
        self._lock = lock
        self._writer = asyncio.Lock()
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._native: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "deliveries")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that sees what is committed."""
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction: committed at the end, or undone on an error."""
        if not self.is_sqlite:
            async with self._engine.begin() as connection:
                yield connection
            return
        # SQLite has one writer; queueing here costs less than its busy handler, which sleeps.
        async with self._writer, self._engine.begin() as connection:
            yield connection

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

    async def close(self) -> None:
        """Close every connection and give the lock back."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close_native)
        self._thread.shutdown(wait=False)
        await self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)


async def open_database(url: str, *, wait: bool = False, lock: bool = True) -> Database:
    """Open the database at `url`, making its tables where they are missing.

    With `wait`, another process that holds a SQLite file is waited for; without,
    `OperatorError` names it. Without `lock` the file is only looked at.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise OperatorError(
            f"ORCHESTRATE_DATABASE_URL names {parsed.get_backend_name()}; "
            "this version keeps its runs in SQLite: leave it unset, or write sqlite:///PATH."
        )
    path = Path(parsed.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    held = await _lock(path, wait=wait) if lock else None
    engine = create_async_engine(
        parsed.set(drivername="sqlite+aiosqlite"), connect_args={"timeout": BUSY_SECONDS}
    )
    _tune_sqlite(engine)
    if lock:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
    return Database(engine, held)


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
        # The driver's own transactions begin too late; `on_begin` begins them.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Any) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
