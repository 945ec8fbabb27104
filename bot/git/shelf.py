"""The trees of one commit as they are, in one file of the mirror: reading one is a look into it.

In a pack most trees are differences of others, and to put one together takes libgit2 some 40 us;
a checkpoint in a large repository reads three for each file. The file is a cache, written when a
full base is made: nothing of it is flushed, and what is read from it is held against its checksum.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from .repository import Mirror, open_repository
from .trees import Reader, entry_of, is_folder, lines_of

NAME = "trees"
MAX_BYTES = 64 * 1024 * 1024
"""Of trees in one file: those of a repository of a million files. With more there is none."""

_MAGIC = b"trees 2\n"
_HEADER = struct.Struct(">8sI")
_PLACE = struct.Struct(">III")
"""Where a tree begins, how many bytes it has, and their checksum."""
_ID = 20

Stamp = tuple[int, int]


class Shelf:
    """The trees at hand of a mirror, none where there is no file; closed with its last reader."""

    def __init__(self, mirror: Mirror) -> None:
        self.stamp = stamp_of(mirror)
        self._count = 0
        self._data: mmap.mmap | bytes = b""
        if self.stamp is None:
            return
        with (
            contextlib.suppress(OSError, ValueError, struct.error),
            (mirror.path / NAME).open("rb") as file,
        ):
            data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            magic, count = _HEADER.unpack_from(data)
            if magic == _MAGIC and len(data) >= _HEADER.size + count * (_ID + _PLACE.size):
                self._count, self._data = count, data

    def find(self, oid: bytes) -> bytes | None:
        """Return a tree as it is stored, or None."""
        data, ids = self._data, _HEADER.size
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            place = ids + middle * _ID
            there = data[place : place + _ID]
            if there == oid:
                break
            if there < oid:
                low = middle + 1
            else:
                high = middle
        else:
            return None
        places = ids + self._count * _ID
        start, size, crc = _PLACE.unpack_from(data, places + middle * _PLACE.size)
        raw = data[start : start + size]
        return raw if zlib.crc32(raw) == crc else None


def stamp_of(mirror: Mirror) -> Stamp | None:
    """Return what tells one file from the next, None where there is none."""
    try:
        found = os.stat(f"{mirror.path}/{NAME}")  # noqa: PTH116 - asked each time
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def write(mirror: Mirror, tree: str) -> None:
    """Put all trees of `tree` where they are at hand, in place of those that were."""
    found = dict(_below(mirror, bytes.fromhex(tree)))
    if sum(map(len, found.values())) > MAX_BYTES:
        return
    ids = sorted(found)
    start = _HEADER.size + len(ids) * (_ID + _PLACE.size)
    places = bytearray()
    for oid in ids:
        places += _PLACE.pack(start, len(found[oid]), zlib.crc32(found[oid]))
        start += len(found[oid])
    head = _HEADER.pack(_MAGIC, len(ids)) + b"".join(ids) + bytes(places)
    _replace(mirror.path / NAME, head + b"".join(found[oid] for oid in ids))


def _replace(file: Path, data: bytes) -> None:
    making = file.with_name(f"{NAME}.{secrets.token_hex(4)}.tmp")
    try:
        making.write_bytes(data)
        os.replace(making, file)  # noqa: PTH105 - over what is there
    finally:
        making.unlink(missing_ok=True)


def _below(mirror: Mirror, tree: bytes) -> Iterator[tuple[bytes, bytes]]:
    trees, pending, seen = Reader(open_repository(mirror)), [tree], {tree}
    while pending:
        oid = pending.pop()
        raw = trees.raw(oid)
        yield oid, raw
        below = {entry_of(line)[1] for line in lines_of(raw) if is_folder(line)} - seen
        seen |= below
        pending += below
