"""What GitHub delivered: kept durably before it is acknowledged, obeyed once for each GUID.

    waiting ──obeyed──▶ done
       │ ▲
       │ └─ replayed, or delivered again on somebody's request
       ▼
     poison   given up; kept for people to look at

SQLite has one process, so who works on what is known in the dispatcher's memory alone, and a crash
leaves nothing to release.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from bot.database import Database, insert
from bot.database import deliveries as table
from bot.errors import TransientError

TRIES = 12
"""Tries of a delivery that fails by itself; with the back-off below, 27 minutes of them."""

PATIENCE = timedelta(days=1)
"""How long the outside may be out of reach before a delivery is given up."""

GROUP_MAX = 256
"""Records in one transaction: so many that an fsync is shared well, so few that none waits long."""

PAGE = 50
"""Deliveries read at once from the record: bodies are kept no longer than it takes to sort them."""

FOUND_MAX = 5
"""Deliveries named where the beginning of a GUID fits several."""

ERROR_MAX = 500
"""Characters kept of an error's text: the width of its column."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next try, in seconds: `first`, doubled each time to `longest`.

    Where the outside is out of reach, only to `longest_outside`: so late a command may be obeyed
    after an outage.
    """

    first: float = 1.0
    longest: float = 600.0
    longest_outside: float = 60.0

    def delay(
        self, attempts: int, retry_after: float | None = None, *, outside: bool = False
    ) -> float:
        """Return the wait after so many attempts, and at least what the other side asked for."""
        longest = min(self.longest, self.longest_outside) if outside else self.longest
        # 2**30 seconds are 34 years: a higher power only makes the number unwieldy.
        grown = min(longest, self.first * 2.0 ** min(attempts - 1, 30))
        return max(grown, retry_after or 0.0)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook as it arrived. `due` is when to try next, in seconds of Unix time."""

    guid: str
    event: str
    body: bytes
    received_at: str
    attempts: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a delivery; `state` is waiting, done or poison."""

    guid: str
    event: str
    received_at: datetime
    state: str
    attempts: int
    due: float
    error: str


Item = tuple[str, str, bytes]
"""What is kept of a delivery when it comes: its GUID, its event, its body."""

T = TypeVar("T")
R = TypeVar("R")


class Group(Generic[T, R]):
    """Makes one transaction of everything that is asked for while the last one is written."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._write = write
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """Return when the item is durable."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                size = min(GROUP_MAX, len(self._waiting))
                await self._settle([self._waiting.popleft() for _ in range(size)])
        finally:
            self._task = None

    async def _settle(self, group: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._write([item for item, _ in group])
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except TransientError as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(TransientError(str(error)))
        finally:
            for _, future in group:
                future.cancel()  # Whatever happened, nobody waits for ever.


class Inbox:
    """The record of deliveries. Every call may raise `TransientError` when the disk refuses."""

    def __init__(
        self,
        database: Database,
        *,
        backoff: Backoff | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.arrived = asyncio.Event()
        """Set when there is something new to obey."""
        self.coming: set[str] = set()
        """The GUIDs of deliveries that are kept elsewhere and on their way here."""
        self.now = now
        self._database = database
        self._backoff = backoff or Backoff()
        self._last = 0
        self._stores: Group[Item, bool] = Group(self._write_stores)
        self._marks: Group[dict[str, Any], None] = Group(self._write_marks)

    async def store(self, guid: str, event: str, body: bytes) -> bool:
        """Keep a delivery durably; say whether it will be obeyed because of this call.

        False: it is known. One that was given up is tried again, since somebody asked for it.
        """
        fresh = await self._stores.add((guid, event, body))
        if fresh:
            self.arrived.set()
        return fresh

    async def store_all(self, items: Sequence[Item]) -> None:
        """Keep deliveries durably, all or none; what is known is as `store` has it."""
        await self._write_stores(items)
        self.arrived.set()

    async def waiting(self, *, after: str = "", limit: int = PAGE) -> list[Delivery]:
        """Return what is to be obeyed and was received after `after`, in order of arrival."""
        query = (
            select(table)
            .where(table.c.state == "waiting", table.c.received_at > after)
            .order_by(table.c.received_at)
            .limit(limit)
        )
        return [_delivery(row) for row in await self._rows(query)]

    async def get(self, guid: str) -> Delivery | None:
        """Return a delivery, whatever became of it."""
        rows = await self._rows(select(table).where(table.c.guid == guid))
        return _delivery(rows[0]) if rows else None

    async def done(self, guid: str) -> None:
        """Note that a delivery was obeyed."""
        await self._marks.add({"key": guid, "state": "done", "error": ""})

    async def failed(
        self,
        delivery: Delivery,
        error: str,
        *,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> Delivery | None:
        """Note a failed try; return the delivery with its next `due`, or None when given up.

        It is given up after `TRIES`, or where the failure was not its own (`transient`), after
        `PATIENCE`.
        """
        attempts = delivery.attempts + 1
        age = datetime.fromtimestamp(self.now(), UTC) - _time(delivery.received_at)
        if age > PATIENCE if transient else attempts >= TRIES:
            await self._mark(delivery.guid, "poison", attempts, 0.0, error)
            return None
        due = self.now() + self._backoff.delay(attempts, retry_after, outside=transient)
        await self._mark(delivery.guid, "waiting", attempts, due, error)
        return replace(delivery, attempts=attempts, due=due)

    async def replay(self, guid: str) -> bool:
        """Have a delivery that was given up obeyed after all; False when there is no such one."""
        with _disk():
            async with self._database.write() as connection:
                found = await connection.execute(_revive(guid, self._stamp()))
        if found.rowcount:
            self.arrived.set()
        return bool(found.rowcount)

    async def known(self, guids: Collection[str]) -> set[str]:
        """Return which of these were ever received, as far back as the record goes."""
        found = self.coming.intersection(guids)
        ordered = sorted(set(guids) - found)
        # SQLite takes 32,766 variables in a statement; a small page keeps the statement short.
        for start in range(0, len(ordered), 500):
            page = ordered[start : start + 500]
            rows = await self._rows(select(table.c.guid).where(table.c.guid.in_(page)))
            found.update(row.guid for row in rows)
        return found

    async def find(self, beginning: str) -> list[Record]:
        """Say what became of the deliveries whose GUID begins so, a few of them at the most."""
        # As text, not as a pattern: an underscore means itself.
        ours = func.substr(table.c.guid, 1, len(beginning)) == beginning
        query = select(table).where(ours).order_by(table.c.received_at.desc()).limit(FOUND_MAX)
        return [_record(row) for row in await self._rows(query)]

    async def listed(self, *, failed: bool = False, limit: int = 100) -> list[Record]:
        """Say what became of the newest deliveries, or of those alone that were set aside."""
        query = select(table).order_by(table.c.received_at.desc()).limit(limit)
        if failed:
            query = query.where(table.c.state == "poison")
        return [_record(row) for row in await self._rows(query)]

    async def received_since(self, when: datetime, *, limit: int = 1_000) -> list[Record]:
        """Say what became of the deliveries since `when`, the newest first."""
        query = (
            select(table)
            .where(table.c.received_at >= _stamp(when))
            .order_by(table.c.received_at.desc())
            .limit(limit)
        )
        return [_record(row) for row in await self._rows(query)]

    async def prune(self, before: datetime, *, dry_run: bool = False) -> int:
        """Forget what was obeyed or given up and received before then; say how many.

        Keep at least three days: for so long GitHub may deliver one again. With `dry_run` it is
        only counted.
        """
        old = (table.c.received_at < _stamp(before)) & (table.c.state != "waiting")
        if dry_run:
            counted = await self._rows(select(func.count()).select_from(table).where(old))
            return int(counted[0][0])
        with _disk():
            async with self._database.write() as connection:
                gone = await connection.execute(delete(table).where(old))
        return gone.rowcount

    async def _rows(self, query: Any) -> Sequence[Any]:
        with _disk():
            async with self._database.read() as connection:
                return (await connection.execute(query)).all()

    async def _mark(self, guid: str, state: str, attempts: int, due: float, error: str) -> None:
        values = {"state": state, "attempts": attempts, "due": due, "error": error[:ERROR_MAX]}
        await self._marks.add({"key": guid, **values})

    async def _write_stores(self, group: Sequence[Item]) -> Sequence[bool]:
        if self._database.is_sqlite:
            with _disk():
                return await self._database.native(lambda connection: self._add(connection, group))
        guids = [guid for guid, _, _ in group]
        with _disk():
            async with self._database.write() as connection:
                # Times are taken inside the transaction, so that they are committed in order.
                stamps = [self._stamp() for _ in group]
                rows = [_row(*each, stamp) for each, stamp in zip(group, stamps, strict=True)]
                added = await connection.execute(insert(table).on_conflict_do_nothing(), rows)
                if added.rowcount == len(rows):
                    return [True] * len(rows)
                # Some were known: each row has a time of its own, which tells whose it is.
                for guid, stamp in zip(guids, stamps, strict=True):
                    await connection.execute(_revive(guid, stamp))
                query = select(table.c.guid, table.c.received_at).where(table.c.guid.in_(guids))
                kept = {(row.guid, row.received_at) for row in await connection.execute(query)}
        return [each in kept for each in zip(guids, stamps, strict=True)]

    def _add(self, connection: sqlite3.Connection, group: Sequence[Item]) -> Sequence[bool]:
        """Do the same by SQLite's own driver, where a row costs a third.

        One statement for all of them, since the loop has the interpreter between two, and lets go
        of it after 5 ms.
        """
        rows = [(*each, self._stamp()) for each in group]
        statement = _ADD + ", ".join([_ADDED] * len(rows))
        values = [value for row in rows for value in row]
        if connection.execute(statement, values).rowcount == len(rows):
            return [True] * len(rows)
        connection.executemany(_REVIVE, [(stamp, guid) for guid, _, _, stamp in rows])
        kept = {
            (guid, stamp)
            for guid, _, _, stamp in rows
            if connection.execute(_IS_KEPT, (guid, stamp)).fetchone()
        }
        return [(guid, stamp) in kept for guid, _, _, stamp in rows]

    async def _write_marks(self, group: Sequence[dict[str, Any]]) -> Sequence[None]:
        with _disk():
            async with self._database.write() as connection:
                for names, values in _by_columns(group).items():
                    statement = update(table).where(table.c.guid == bindparam("key"))
                    changed: dict[str, Any] = {n: bindparam(n) for n in names if n != "key"}
                    await connection.execute(statement.values(changed), values)
        return [None] * len(group)

    def _stamp(self) -> str:
        """Return the time as text that sorts by arrival: no two are the same."""
        self._last = max(self._last + 1, int(self.now() * 1_000_000))
        return _stamp(datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self._last))


_ADD = (
    "INSERT OR IGNORE INTO deliveries (guid, event, body, received_at, state, attempts, due, error)"
    " VALUES "
)
_ADDED = "(?, ?, ?, ?, 'waiting', 0, 0.0, '')"
_REVIVE = (
    "UPDATE deliveries SET state = 'waiting', attempts = 0, due = 0.0, received_at = ?"
    " WHERE guid = ? AND state = 'poison'"
)
_IS_KEPT = "SELECT 1 FROM deliveries WHERE guid = ? AND received_at = ?"


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise TransientError(f"The database refuses ({reason}); is its disk full?") from error


def _row(guid: str, event: str, body: bytes, stamp: str) -> dict[str, Any]:
    fresh = {"state": "waiting", "attempts": 0, "due": 0.0, "error": ""}
    return {"guid": guid, "event": event, "body": body, "received_at": stamp, **fresh}


def _revive(guid: str, received_at: str) -> Any:
    poison = (table.c.guid == guid) & (table.c.state == "poison")
    # A new time of arrival puts it behind the dispatcher's cursor, where it is found.
    fresh = {"state": "waiting", "attempts": 0, "due": 0.0, "received_at": received_at}
    return update(table).where(poison).values(**fresh)


def _by_columns(group: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Sort updates by the columns that they set, so that each sort is one statement."""
    sorts: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for values in group:
        sorts.setdefault(tuple(values), []).append(values)
    return sorts


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _time(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)


def _delivery(row: Any) -> Delivery:
    return Delivery(row.guid, row.event, row.body, row.received_at, row.attempts, row.due)


def _record(row: Any) -> Record:
    return Record(
        row.guid, row.event, _time(row.received_at), row.state, row.attempts, row.due, row.error
    )
