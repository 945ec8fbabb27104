"""What processes that share a PostgreSQL tell one another at once: hints, and nothing but hints.

Whatever is told can be found in the tables as well, and is looked for there now and then; so a hint
that is lost costs a moment. They are not sent in the transactions that they are about: PostgreSQL
commits those with a hint one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable
from dataclasses import astuple

import psycopg
import structlog
from sqlalchemy import func, select

from bot.database import CONNECT_SECONDS, Database, plain_url
from bot.errors import TransientError
from bot.runs.model import Run
from bot.runs.store import Change, Store

log = structlog.get_logger()

CHANNEL = "orchestrate"

GATHER_SECONDS = 0.01
"""How long hints are gathered before they are sent."""

CHANGES_SECONDS = 0.05
"""The same where there is nothing but changed runs: nobody waits for those as for work."""

HINTS_MAX = 60
"""Hints in one message: PostgreSQL takes 8,000 bytes, and one of them has some 60."""

LOOK_SECONDS = 2.0
"""How often whoever waits for hints looks by himself."""

AGAIN_SECONDS = 1.0
"""How long after it was cut off it listens again."""


class Bus:
    """Tells the others what changes in `store`, and the store what they say.

    `on_arrived` is called where there may be a new delivery.
    """

    def __init__(
        self, url: str, database: Database, store: Store, on_arrived: Callable[[], None]
    ) -> None:
        self._url = url
        self._database = database
        self._store = store
        self._on_arrived = on_arrived
        self._name = secrets.token_hex(4)
        self._changes: dict[str, Change] = {}
        self._has_arrived = False
        self._is_left = False
        self._something = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._end_listening: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Begin."""
        self._end_listening = self._store.listen(self._changed)
        self._store.queue.tell_others = self._left
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        """Send what is left, and stop."""
        self._end_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TransientError):
            await self._flush()

    def arrived(self) -> None:
        """Say that a delivery was kept."""
        self._has_arrived = True
        self._something.set()

    def _left(self) -> None:
        self._is_left = True
        self._something.set()

    def _changed(self, run: Run) -> None:
        self._changes[run.id] = Change.of(run)
        self._something.set()

    async def _send(self) -> None:
        while True:
            await self._something.wait()
            is_work = self._has_arrived or self._is_left
            await asyncio.sleep(GATHER_SECONDS if is_work else CHANGES_SECONDS)
            self._something.clear()
            try:
                await self._flush()
            except TransientError as error:
                log.warning("hints not sent", error=str(error))

    async def _flush(self) -> None:
        while self._changes or self._has_arrived or self._is_left:
            changes = [self._changes.pop(run) for run in tuple(self._changes)[:HINTS_MAX]]
            told = {
                "from": self._name,
                "arrived": self._has_arrived,
                "left": self._is_left,
                "changes": [astuple(each) for each in changes],
            }
            self._has_arrived = self._is_left = False
            async with self._database.read() as connection:
                await connection.execute(select(func.pg_notify(CHANNEL, json.dumps(told))))

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except psycopg.Error as error:
                log.warning("hints not heard", error=str(error).strip())
                await asyncio.sleep(AGAIN_SECONDS)

    async def _listen_once(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            plain_url(self._url), autocommit=True, connect_timeout=CONNECT_SECONDS
        )
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            while True:
                self._on_arrived()
                async for each in connection.notifies(timeout=0):
                    self._hear(json.loads(each.payload))
                await _readable(connection.fileno(), LOOK_SECONDS)

    def _hear(self, told: dict[str, object]) -> None:
        if told["from"] == self._name:
            return
        if told["arrived"]:
            self._on_arrived()
        if told.get("left"):  # A process of an older version says nothing of it.
            self._store.queue.left_elsewhere()
        changes = told["changes"]
        assert isinstance(changes, list)
        for each in changes:
            self._store.changed_elsewhere(Change(*each))


async def _readable(connection: int, seconds: float) -> None:
    """Wait until something arrives, or time is up: psycopg itself looks ten times a second."""
    loop, something = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, something.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await something.wait()
    finally:
        loop.remove_reader(connection)
