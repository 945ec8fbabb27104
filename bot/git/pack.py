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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .repository import Mirror

Kind = Literal["commit", "tree", "blob"]

LEVEL = 1
"""How hard zlib tries: on source code level 1 takes a third of the time of 6 for a tenth more."""

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


@dataclass(frozen=True, slots=True)
class _Packed:
    oid: bytes
    crc: int
    offset: int


class Pack:
    """Objects on their way into one pack; nothing is on the disk before `write`."""

    def __init__(self, mirror: Mirror) -> None:
        self._folder = mirror.path / "objects" / "pack"
        self._objects: dict[bytes, bytes] = {}
        self._trees: dict[bytes, bytes] = {}

    def add(self, kind: Kind, data: bytes, oid: bytes | None = None) -> bytes:
        """Add an object; return its id in 20 bytes, which need not be computed where known."""
        oid = oid or object_id(kind, data)
        if oid not in self._objects:
            self._objects[oid] = _head(_CODES[kind], len(data)) + zlib.compress(data, LEVEL)
            if kind == "tree":
                self._trees[oid] = data
        return oid

    def tree(self, oid: bytes) -> bytes | None:
        """Return a tree that was added, or None."""
        return self._trees.get(oid)

    def write(self) -> Mapping[bytes, bytes]:
        """Make all that was added durable and visible: afterwards it is there, or nothing is.

        Returns the trees among it by their ids.
        """
        if self._objects:
            write_pack(self._folder, self._objects.items())
        self._objects.clear()
        return self._trees


def object_id(kind: Kind, data: bytes) -> bytes:
    """Return the id of an object in 20 bytes."""
    header = b"%b %d\0" % (kind.encode(), len(data))
    digest = hashlib.sha1(header, usedforsecurity=False)
    digest.update(data)
    return digest.digest()


def write_pack(folder: Path, objects: Iterable[tuple[bytes, bytes]]) -> str:
    """Write packed objects, each with its id, as one pack; return its name without the ending.

    The pack comes first and the index makes it visible. Both are flushed, then their names.
    """
    body = dict(objects)
    temporary = folder / f"tmp_pack_{os.getpid()}_{next(_numbers)}"
    digest, packed = _write_body(temporary, body)
    name = f"pack-{digest.hex()}"
    (folder / f"{name}{OURS}").touch()
    temporary.rename(folder / f"{name}.pack")
    # `git gc` takes names that begin so for what a killed process left.
    index = folder / f"tmp_idx_{os.getpid()}_{next(_numbers)}"
    _durable(index, [_index(packed, digest)])
    index.rename(folder / f"{name}.idx")
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
    kept = write_pack(folder, _all_objects(folder, names))
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


def _write_body(path: Path, body: dict[bytes, bytes]) -> tuple[bytes, list[_Packed]]:
    header = _HEADER.pack(b"PACK", 2, len(body))
    digest, offset = hashlib.sha1(header, usedforsecurity=False), len(header)
    packed, parts = [], [header]
    for oid, data in body.items():
        packed.append(_Packed(oid, zlib.crc32(data), offset))
        digest.update(data)
        offset += len(data)
        parts.append(data)
    parts.append(digest.digest())
    _durable(path, parts)
    return digest.digest(), packed


def _durable(path: Path, parts: Iterable[bytes]) -> None:
    # Read-only, as git makes them.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _index(packed: list[_Packed], digest: bytes) -> bytes:
    """Return the index of a pack: ids in order, their checksums and offsets."""
    packed.sort(key=lambda each: each.oid)
    count = len(packed)
    large = [each.offset for each in packed if each.offset >= _LARGE]
    numbers = iter(range(len(large)))
    offsets = [o if (o := each.offset) < _LARGE else _LARGE | next(numbers) for each in packed]
    body = b"".join(
        [
            _INDEX_MAGIC,
            _FAN.pack(*_fan(packed)),
            *(each.oid for each in packed),
            struct.pack(f">{count}I", *(each.crc for each in packed)),
            struct.pack(f">{count}I", *offsets),
            struct.pack(f">{len(large)}Q", *large),
            digest,
        ]
    )
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _fan(packed: Iterable[_Packed]) -> Iterator[int]:
    """Count, for each first byte, the ids up to and with it."""
    counts = [0] * 256
    for each in packed:
        counts[each.oid[0]] += 1
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


def _all_objects(folder: Path, names: Iterable[str]) -> Iterator[tuple[bytes, bytes]]:
    for name in names:
        data = (folder / f"{name}.pack").read_bytes()
        found = sorted(_offsets((folder / f"{name}.idx").read_bytes()))
        ends = [offset for offset, _ in found[1:]] + [len(data) - _ID]
        for (offset, oid), end in zip(found, ends, strict=True):
            yield oid, data[offset:end]


def _offsets(index: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and id of each object in an index of ours, none of which is large."""
    start = len(_INDEX_MAGIC) + _FAN.size
    count = _FAN.unpack_from(index, len(_INDEX_MAGIC))[255]
    offsets = struct.unpack_from(f">{count}I", index, start + count * (_ID + 4))
    for number, offset in enumerate(offsets):
        at = start + number * _ID
        yield offset, index[at : at + _ID]
