"""Deliveries made durable as fast as the disk takes them: at the end of one file, many at a time.

A row of the record costs more than all the rest of the way in, so where one process has the
database a delivery is answered once it is in this file, flushed, and goes on to the record from
there. What a crash leaves in the file goes on at the next start; a delivery that was in both is
known by its GUID.

The file is records one after the other: length and CRC-32 of what follows, the lengths of GUID and
event, then GUID, event and body. Each group is flushed before the next is written, so that only its
end can be torn, of which nobody was told that it is kept.
"""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from bot.deliveries import Group, Inbox, Item
from bot.errors import TransientError

log = structlog.get_logger()

HELD_MAX = 256 * 1024 * 1024
"""Bytes that may wait in the file for the record: a burst of 23,000 ordinary comments. What comes
then waits for the record, as all would without the file."""

MOVE_MAX = 32
"""Deliveries that go on at a time: so few that who waits for an answer hardly notices."""

REST = 9.0
"""How long the record rests while more webhooks come than it takes, in units of its last work."""

REST_SECONDS = 0.1
"""The longest rest, for a record that is slow itself."""

QUIET_SECONDS = 0.02
"""Without a webhook for so long, what waits goes on at once."""

RETRY_SECONDS = 1.0
"""Until the record is tried again that has refused."""

_HEAD = struct.Struct(">II")
_LENGTHS = struct.Struct(">BB")
_Place = tuple[str, int, int]
"""A record: its GUID, where it begins behind its head, and its length."""

P = ParamSpec("P")
T = TypeVar("T")


class Journal:
    """Keeps deliveries in the file at `path`, on their way to `inbox`. One process has it."""

    def __init__(self, path: Path, inbox: Inbox, *, held_max: int = HELD_MAX) -> None:
        self._path = path
        self._inbox = inbox
        self._held_max = held_max
        self._file = -1
        self._end = 0
        self._thread = ThreadPoolExecutor(1, "journal")
        self._appends: Group[Item, None] = Group(self._append)
        self._waiting: deque[_Place] = deque()
        self._known_end = 0
        self._room = asyncio.Event()
        self._came = asyncio.Event()
        self._last = 0.0
        self._mover: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, with what a crash left."""
        self._waiting.extend(await self._run(self._open))
        self._inbox.coming.update(guid for guid, _, _ in self._waiting)
        self._known_end = self._end
        if self._waiting:
            log.info("deliveries left in the journal", count=len(self._waiting))
            self._came.set()
        self._room.set()
        self._mover = asyncio.create_task(self._move_on())

    async def stop(self) -> None:
        """Hand on what is still here, as far as the record takes it."""
        if self._mover is not None:
            self._mover.cancel()
            await asyncio.wait([self._mover])
            try:
                while self._waiting:
                    await self._move()
            except (TransientError, OSError) as error:
                log.warning("deliveries stay in the journal", error=str(error))
            await self._run(os.close, self._file)
        self._thread.shutdown(wait=False)

    async def store(self, guid: str, event: str, body: bytes) -> None:
        """Keep a delivery durably; `TransientError` when the disk refuses."""
        await self._room.wait()
        await self._appends.add((guid, event, body))

    async def _append(self, group: Sequence[Item]) -> Sequence[None]:
        try:
            places = await self._run(self._write, group)
        except OSError as error:
            reason = f"The disk refuses ({error.strerror}); is it full?"
            raise TransientError(reason) from error
        self._waiting.extend(places)
        self._inbox.coming.update(guid for guid, _, _ in places)
        self._known_end = self._end
        self._last = asyncio.get_running_loop().time()
        self._came.set()
        if self._end > self._held_max:
            self._room.clear()
        return [None] * len(group)

    async def _move_on(self) -> None:
        """Hand on what comes, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._came.wait()
            began = loop.time()
            try:
                await self._move()
            except (TransientError, OSError) as error:
                log.warning("deliveries stay in the journal for now", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if self._room.is_set():
                await self._rest(loop.time() - began)

    async def _rest(self, worked: float) -> None:
        """Let those go first who wait for an answer."""
        is_busy = asyncio.get_running_loop().time() - self._last < QUIET_SECONDS
        if is_busy and len(self._waiting) > MOVE_MAX:
            await asyncio.sleep(min(REST * worked, REST_SECONDS))

    async def _move(self) -> None:
        places = [self._waiting[at] for at in range(min(MOVE_MAX, len(self._waiting)))]
        if places:
            await self._inbox.store_all(await self._run(self._read, places))
        for _ in places:
            self._waiting.popleft()
        self._inbox.coming.difference_update(guid for guid, _, _ in places)
        if not self._waiting:
            await self._run(self._empty, self._known_end)
            self._room.set()
        if not self._waiting:  # More may have come meanwhile.
            self._came.clear()

    async def _run(self, work: Callable[P, T], *args: P.args, **_: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    # -- in a thread of its own, one after the other

    def _open(self) -> list[_Place]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        # Of no other user: it holds what people wrote.
        self._file = os.open(self._path, flags, 0o600)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        places = list(_places(self._file))
        self._end = places[-1][1] + places[-1][2] if places else 0
        os.ftruncate(self._file, self._end)  # what is torn
        return places

    def _write(self, group: Sequence[Item]) -> list[_Place]:
        """Write a group at the end, and return where each is; what fails leaves nothing."""
        if os.fstat(self._file).st_size > self._end:
            os.ftruncate(self._file, self._end)  # what a write left that failed
        records = [_record(item) for item in group]
        places, at = [], self._end
        for (guid, _, _), record in zip(group, records, strict=True):
            places.append((guid, at + _HEAD.size, len(record) - _HEAD.size))
            at += len(record)
        _write_all(self._file, b"".join(records), self._end)
        os.fdatasync(self._file)
        self._end = at
        return places

    def _read(self, places: Sequence[_Place]) -> list[Item]:
        return [_item(os.pread(self._file, size, start)) for _, start, size in places]

    def _empty(self, end: int) -> None:
        """Begin the file anew, unless more has come behind `end`."""
        if self._end == end:
            os.ftruncate(self._file, 0)
            self._end = 0


async def take_in(path: Path, inbox: Inbox) -> None:
    """Bring what a server left in its journal to the record."""
    journal = Journal(path, inbox)
    await journal.start()
    await journal.stop()


def _places(file: int) -> Iterator[_Place]:
    """Return where the records of a file are, up to one that is not whole."""
    at = 0
    while len(head := os.pread(file, _HEAD.size, at)) == _HEAD.size:
        size, crc = _HEAD.unpack(head)
        data = os.pread(file, size, at + _HEAD.size)
        if len(data) < max(size, _LENGTHS.size) or zlib.crc32(data) != crc:
            return
        yield _item(data)[0], at + _HEAD.size, size
        at += _HEAD.size + size


def _record(item: Item) -> bytes:
    guid, event, body = item[0].encode(), item[1].encode(), item[2]
    data = b"".join((_LENGTHS.pack(len(guid), len(event)), guid, event, body))
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def _item(data: bytes) -> Item:
    guid, event = _LENGTHS.unpack_from(data)
    named = _LENGTHS.size + guid
    return (
        data[_LENGTHS.size : named].decode(),
        data[named : named + event].decode(),
        data[named + event :],
    )


def _write_all(file: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, at)
        at, rest = at + written, rest[written:]
