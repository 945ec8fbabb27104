"""Many objects made durable at once: one pack and its index, instead of a file for each object.

On ext4 a loose object costs as much as a whole small pack, and what is flushed is flushed once.
The formats are git's (gitformat-pack: version 2 of both); objects are whole, never deltas, so that
packs of ours can be joined without being opened.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from .repository import Mirror

Kind = Literal["commit", "tree", "blob"]

LEVEL = 1
"""How hard zlib tries: on source code level 1 takes a third of the time of 6 for a tenth more."""

MUCH = 64 * 1024
"""Bytes from which on a second thread deflates as well: it takes 0.1 ms to start, and they 1 ms."""

MAX_WAITING = 16 * 1024 * 1024
"""Bytes that are deflated together: all that is new in a candidate would be too much to hold."""

BUFFER = 1024 * 1024
"""Bytes that are given to the system at once."""

FOLD_AT = 50
"""Packs of ours that are joined into one: looking an object up asks every pack, 0.3 us each."""

FOLD_BYTES = 4 * 1024 * 1024
"""A larger pack is left to upkeep: those that are joined are held in memory, all of them."""

OURS = ".orchestrate"
"""What marks a pack as ours, beside it: without deltas, and free to be joined."""

_CODES: dict[Kind, int] = {"commit": 1, "tree": 2, "blob": 3}
_HEADER = struct.Struct(">4sII")
_FAN = struct.Struct(">256I")
_INDEX_MAGIC = b"\xfftOc\0\0\0\2"
_ID = 20
_LARGE = 0x80000000
"""Offsets from here on need the index's second table (gitformat-pack, version 2)."""

_numbers = itertools.count()


_Packed = tuple[bytes, int]
"""An object as it stands in a pack, and the checksum of that."""

_Place = tuple[bytes, int, int]
"""An object's id, its checksum, and where in the pack it begins."""


class Pack:
    """Objects on their way into one pack; nothing is on the disk before `write`."""

    def __init__(self, mirror: Mirror) -> None:
        self._folder = mirror.path / "objects" / "pack"
        self._objects = _Deflated()
        self._trees: dict[bytes, bytes] = {}

    def add(self, kind: Kind, data: bytes, oid: bytes | None = None) -> bytes:
        """Add an object; return its id in 20 bytes, which need not be computed where known."""
        oid = oid or object_id(kind, data)
        if self._objects.add(oid, kind, data) and kind == "tree":
            self._trees[oid] = data
        return oid

    def tree(self, oid: bytes) -> bytes | None:
        """Return a tree that was added, or None."""
        return self._trees.get(oid)

    def write(self) -> Mapping[bytes, bytes]:
        """Make all that was added durable and visible: afterwards it is there, or nothing is.

        Returns the trees among it by their ids.
        """
        if objects := self._objects.all():
            write_pack(self._folder, objects)
        self._objects = _Deflated()
        return self._trees


class _Deflated:
    """Objects by their ids, deflated once they are asked for or are many, by two threads.

    zlib lets go of the interpreter while it works, and is most of the work on a large checkpoint.
    Nothing else is done meanwhile: with other work the two would wait for one another more than
    they gain.
    """

    def __init__(self) -> None:
        self._objects: dict[bytes, _Packed | None] = {}
        self._waiting: deque[tuple[bytes, Kind, bytes]] = deque()
        self._bytes = 0

    def add(self, oid: bytes, kind: Kind, data: bytes) -> bool:
        """Add an object; False where it is there already."""
        if oid in self._objects:
            return False
        self._objects[oid] = None
        self._waiting.append((oid, kind, data))
        self._bytes += len(data)
        if self._bytes > MAX_WAITING:
            self._deflate()
        return True

    def all(self) -> dict[bytes, _Packed]:
        """Return what was added, in that order."""
        self._deflate()
        objects = {oid: packed for oid, packed in self._objects.items() if packed is not None}
        assert len(objects) == len(self._objects), "nothing waits any more"
        return objects

    def _deflate(self) -> None:
        """Deflate all that waits."""
        if self._bytes < MUCH:
            self._work()
        else:
            with ThreadPoolExecutor(1, thread_name_prefix="deflate") as helper:
                helping = helper.submit(self._work)
                self._work()
                helping.result()
        self._bytes = 0

    def _work(self) -> None:
        while True:
            try:
                oid, kind, data = self._waiting.popleft()
            except IndexError:
                return
            packed = _head(_CODES[kind], len(data)) + zlib.compress(data, LEVEL)
            self._objects[oid] = packed, zlib.crc32(packed)


def object_id(kind: Kind, data: bytes) -> bytes:
    """Return the id of an object in 20 bytes."""
    header = b"%b %d\0" % (kind.encode(), len(data))
    digest = hashlib.sha1(header, usedforsecurity=False)
    digest.update(data)
    return digest.digest()


def write_pack(folder: Path, objects: Mapping[bytes, _Packed]) -> str:
    """Write packed objects by their ids as one pack; return its name without the ending.

    The pack comes first and the index makes it visible. Both are flushed, then their names.
    """
    place = str(folder)  # what pathlib does beside would be a tenth of a small checkpoint
    own = f"{os.getpid()}_{next(_numbers)}"
    # `git gc` takes names that begin so for what a killed process left.
    temporary, index = (os.path.join(place, f"tmp_{what}_{own}") for what in ("pack", "idx"))  # noqa: PTH118
    digest, places = _write_body(temporary, objects)
    name = f"pack-{digest.hex()}"
    os.close(os.open(f"{place}/{name}{OURS}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    os.rename(temporary, f"{place}/{name}.pack")  # noqa: PTH104 - as above
    _durable(index, [_index(places, digest)])
    os.rename(index, f"{place}/{name}.idx")  # noqa: PTH104 - as above
    flush(folder)
    return name


def count(mirror: Mirror) -> int:
    """Return how many packs of ours there are that could be joined."""
    return len(_foldable(mirror.path / "objects" / "pack"))


def fold(mirror: Mirror, at_least: int = FOLD_AT) -> int:
    """Join the packs of ours into one where there are `at_least` that many; return how many.

    The new pack is there before an old one goes, so that whoever reads meanwhile finds every
    object in one or the other. One at a time: the caller holds the mirror's lock.
    """
    folder = mirror.path / "objects" / "pack"
    names = _foldable(folder)
    if len(names) < at_least:
        return 0
    kept = write_pack(folder, dict(_all_objects(folder, names)))
    for name in names:
        if name != kept:
            # Without its index nobody finds a pack any more.
            for ending in (".idx", ".pack", OURS):
                (folder / f"{name}{ending}").unlink(missing_ok=True)
    return len(names)


def flush(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_body(path: str, objects: Mapping[bytes, _Packed]) -> tuple[bytes, list[_Place]]:
    header = _HEADER.pack(b"PACK", 2, len(objects))
    digest, offset = hashlib.sha1(header, usedforsecurity=False), len(header)
    places, parts = [], [header]
    for oid, (data, crc) in objects.items():
        places.append((oid, crc, offset))
        digest.update(data)
        offset += len(data)
        parts.append(data)
    parts.append(digest.digest())
    _durable(path, parts)
    return digest.digest(), places


def _durable(path: str, parts: Iterable[bytes]) -> None:
    # Read-only, as git makes them.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    with os.fdopen(descriptor, "wb", buffering=BUFFER) as file:
        file.writelines(parts)
        file.flush()
        os.fsync(descriptor)


def _index(places: list[_Place], digest: bytes) -> bytes:
    """Return the index of a pack: ids in order, their checksums and offsets."""
    places.sort()
    count = len(places)
    large = [offset for _, _, offset in places if offset >= _LARGE]
    numbers = iter(range(len(large)))
    offsets = [o if o < _LARGE else _LARGE | next(numbers) for _, _, o in places]
    body = b"".join(
        [
            _INDEX_MAGIC,
            _FAN.pack(*_fan(places)),
            *(oid for oid, _, _ in places),
            struct.pack(f">{count}I", *(crc for _, crc, _ in places)),
            struct.pack(f">{count}I", *offsets),
            struct.pack(f">{len(large)}Q", *large),
            digest,
        ]
    )
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _fan(places: Iterable[_Place]) -> Iterator[int]:
    """Count, for each first byte, the ids up to and with it."""
    counts = [0] * 256
    for oid, _, _ in places:
        counts[oid[0]] += 1
    return itertools.accumulate(counts)


def _head(code: int, size: int) -> bytes:
    """Return the head of a packed object: its kind and size, 4 and then 7 bits a byte."""
    byte, size = (code << 4) | (size & 0x0F), size >> 4
    head = bytearray()
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    return bytes(head)


def _foldable(folder: Path) -> list[str]:
    names = []
    for mark in folder.glob(f"*{OURS}"):
        pack = mark.with_suffix(".pack")
        if not pack.exists() or not mark.with_suffix(".idx").exists():
            continue  # being written, or being removed
        if pack.stat().st_size <= FOLD_BYTES:
            names.append(mark.stem)
    return sorted(names)


def _all_objects(folder: Path, names: Iterable[str]) -> Iterator[tuple[bytes, _Packed]]:
    for name in names:
        data = (folder / f"{name}.pack").read_bytes()
        found = sorted(_offsets((folder / f"{name}.idx").read_bytes()))
        ends = [offset for offset, _ in found[1:]] + [len(data) - _ID]
        for (offset, oid), end in zip(found, ends, strict=True):
            yield oid, (data[offset:end], zlib.crc32(data[offset:end]))


def _offsets(index: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and id of each object in an index of ours, none of which is large."""
    start = len(_INDEX_MAGIC) + _FAN.size
    count = _FAN.unpack_from(index, len(_INDEX_MAGIC))[255]
    offsets = struct.unpack_from(f">{count}I", index, start + count * (_ID + 4))
    for number, offset in enumerate(offsets):
        at = start + number * _ID
        yield offset, index[at : at + _ID]
