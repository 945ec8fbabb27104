"""Who lives: leases of processes that share a PostgreSQL, by the database's clock alone.

A process takes a lease under an id that no other ever had, and renews it. One that could not renew
it in time ends itself at once, whatever it is doing; that it stopped and went on again (SIGSTOP, a
suspended machine) changes nothing about that. What it writes to the database is held against its
lease in the same transaction (`Database.write`), so that a write is either before its burial or
refused. A post is what one process at a time does: it is free once the lease of who has it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import psycopg
import structlog
from sqlalchemy import delete, func, select

from bot.database import CONNECT_SECONDS, Database, insert, plain_url, posts, workers
from bot.errors import OperatorError, TransientError

log = structlog.get_logger()

BEATS = 5
"""Renewals in the time of one lease: four may fail, or be late."""

LOOK_SECONDS = 1.0
"""How often it is looked whose lease is over, and whether a post is free."""

STUCK_SECONDS = 30.0
"""How long the loop of a process may stand still: then it works on nothing, and lives no more than
one that was stopped. A busy machine delays it by less."""

LOST = 75
"""The exit status of a process that lost its lease: temporary, so that it is started again."""


def end_at_once() -> None:
    """End this process without another step; what it had goes on elsewhere."""
    sys.stderr.write("This process lost its lease and ends; another goes on with its runs.\n")
    sys.stderr.flush()
    os._exit(LOST)


class Lease:
    """This process's lease, of `seconds` each; `role` is for people who look at the table.

    `on_lost` is called from any thread.
    """

    def __init__(
        self,
        url: str,
        role: str,
        seconds: float,
        *,
        on_lost: Callable[[], None] = end_at_once,
    ) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(6)}"
        self._url = url
        self._role = role
        self._seconds = seconds
        self._on_lost = on_lost
        self._until = float("-inf")
        self._pulse = float("-inf")
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is held: by our reckoning, which never ends later than the database's."""
        return time.monotonic() < self._until

    def check(self) -> None:
        """End this process where its lease is over, before it has an effect outside."""
        if not self.is_held and not self._ending.is_set():
            self._on_lost()
            raise TransientError("This process has lost its lease; another goes on with its work.")

    def pulse(self) -> None:
        """Say that the loop goes round."""
        self._pulse = time.monotonic()

    async def take(self) -> None:
        """Take the lease, and renew it from now on; `OperatorError` without a database."""
        try:
            await asyncio.to_thread(self._begin)
        except psycopg.Error as error:
            raise OperatorError(f"The database is out of reach ({_said(error)}).") from error
        self.pulse()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    async def release(self) -> None:
        """Give the lease back, so that what is left is taken over at once."""
        self._ending.set()
        if self._thread:
            await asyncio.to_thread(self._thread.join)
        with contextlib.suppress(psycopg.Error):
            await asyncio.to_thread(self._execute, "DELETE FROM workers WHERE id = %s", self.id)
        if self._connection:
            self._connection.close()

    def _begin(self) -> None:
        asked = time.monotonic()
        self._execute(
            "INSERT INTO workers (id, role, host, pid, started_at, until) VALUES (%s, %s, %s, %s, "
            "clock_timestamp(), clock_timestamp() + make_interval(secs => %s))",
            *(self.id, self._role, socket.gethostname(), os.getpid(), self._seconds),
        )
        self._until = asked + self._seconds

    def _beat(self) -> None:
        """Renew it until the end; in a thread, since the loop may be busy and must not matter."""
        while not self._ending.wait(self._seconds / BEATS):
            # First: whoever was stopped meanwhile comes back right here.
            stuck = time.monotonic() - self._pulse > STUCK_SECONDS
            if stuck or not self.is_held or not self._renewed():
                self._on_lost()
                return

    def _renewed(self) -> bool:
        """Renew it; False where the database has it no more. Out of reach, it may come back."""
        asked = time.monotonic()
        try:
            found = self._execute(
                "UPDATE workers SET until = clock_timestamp() + make_interval(secs => %s) "
                "WHERE id = %s AND until > clock_timestamp()",
                *(self._seconds, self.id),
            )
        except psycopg.Error:
            if self._connection:
                self._connection.close()
            return True
        if found:
            # Counted from before the question, so that we never have it longer than they do.
            self._until = asked + self._seconds
        return found > 0

    def _execute(self, statement: str, *values: object) -> int:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                plain_url(self._url),
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                options=f"-c statement_timeout={int(self._seconds * 1000)}",
            )
        return self._connection.execute(statement.encode(), values).rowcount


class Posts:
    """The posts that this process has, under its `lease`."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def hold(self, name: str) -> bool:
        """Have a post, if nobody else who lives has it; say whether."""
        me = self._lease.id
        living = select(workers.c.id).where(workers.c.until > func.clock_timestamp())
        # Most often nothing has to be written.
        look = select(posts.c.worker).where(posts.c.name == name, posts.c.worker.in_(living))
        async with self._database.read() as connection:
            has: str | None = (await connection.execute(look)).scalar()
        return has == me if has is not None else await self._taken(name)

    async def _taken(self, name: str) -> bool:
        me = self._lease.id
        living = select(workers.c.id).where(workers.c.until > func.clock_timestamp())
        take = (
            insert(posts)
            .values(name=name, worker=me)
            .on_conflict_do_update(
                index_elements=["name"],
                set_={"worker": me},
                where=(posts.c.worker == me) | posts.c.worker.not_in(living),
            )
            .returning(posts.c.worker)
        )
        async with self._database.write() as connection:
            return (await connection.execute(take)).first() is not None

    async def leave(self, name: str) -> None:
        """Give a post back."""
        mine = (posts.c.name == name) & (posts.c.worker == self._lease.id)
        async with self._database.write() as connection:
            await connection.execute(delete(posts).where(mine))

    async def keep(self, name: str, begin: Callable[[], Awaitable[None]]) -> None:
        """Wait for a post, and `begin` what it is about; it stays ours as long as the lease."""
        while True:
            try:
                if await self.hold(name):
                    break
            except TransientError as error:
                log.warning("post not looked at", post=name, error=str(error))
            await asyncio.sleep(LOOK_SECONDS)
        log.info("post taken", post=name)
        await begin()

    async def bury(self) -> tuple[list[str], list[str]]:
        """Take the leases that are over away; return whose they were, and who lives."""
        ended = workers.c.until < func.clock_timestamp()
        async with self._database.read() as connection:  # Most often nobody is dead.
            rows = (await connection.execute(select(workers.c.id, ended.label("ended")))).all()
        if not any(row.ended for row in rows):
            return [], [row.id for row in rows]
        over = delete(workers).where(ended)
        async with self._database.write() as connection:
            gone = [row.id for row in await connection.execute(over.returning(workers.c.id))]
            if gone:
                left = posts.c.worker.not_in(select(workers.c.id))
                await connection.execute(delete(posts).where(left))
            living = [row.id for row in await connection.execute(select(workers.c.id))]
        return gone, living


async def workers_of(database: Database) -> list[str]:
    """Name the processes that hold a lease now."""
    query = select(workers.c.id).where(workers.c.until > func.clock_timestamp())
    async with database.read() as connection:
        return [row.id for row in await connection.execute(query.order_by(workers.c.id))]


def _said(error: psycopg.Error) -> str:
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__
