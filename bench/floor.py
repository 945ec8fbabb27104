"""The least that a checkpoint can cost: its very objects, made durable, and nothing else.

The files are read, everything is hashed by OpenSSL's SHA-1 and deflated at the level that ours has,
written as one pack with its index, both flushed and renamed, their folder flushed, and the ref
moved: lock file, flush, rename, flush of its folder. Nothing is looked for, compared or spliced:
the trees and the commit are given as bytes, and where the files are is known.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

LEVEL = 1


@dataclass(frozen=True, slots=True)
class Objects:
    """What a checkpoint is made of.

    `files` are where its blobs are; those of `known` are hashed, but are in the repository already.
    """

    files: Sequence[Path]
    known: Sequence[Path]
    trees: Sequence[bytes]
    commit: bytes


def checkpoint(git_dir: Path, objects: Objects, ref: str) -> int:
    """Make the objects durable in the repository, and `ref` point to the commit; say how many."""
    packed: dict[bytes, bytes] = {}
    for path in objects.known:
        _object_id(b"blob", _read(path))
    for path in objects.files:
        content = _read(path)
        packed[_object_id(b"blob", content)] = _packed(3, content)
    for tree in objects.trees:
        packed[_object_id(b"tree", tree)] = _packed(2, tree)
    commit = _object_id(b"commit", objects.commit)
    packed[commit] = _packed(1, objects.commit)
    _write_pack(git_dir / "objects" / "pack", packed)
    _write_ref(git_dir / ref, commit)
    return len(packed)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        return file.readall()


def _object_id(kind: bytes, content: bytes) -> bytes:
    return hashlib.sha1(b"%b %d\0" % (kind, len(content)) + content, usedforsecurity=False).digest()


def _packed(code: int, content: bytes) -> bytes:
    size = len(content)
    byte, size = code << 4 | size & 15, size >> 4
    head = bytearray()
    while size:
        head.append(byte | 128)
        byte, size = size & 127, size >> 7
    head.append(byte)
    return bytes(head) + zlib.compress(content, LEVEL)


def _write_pack(folder: Path, packed: dict[bytes, bytes]) -> None:
    header = b"PACK" + struct.pack(">II", 2, len(packed))
    body = b"".join([header, *packed.values()])
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    offset, entries = len(header), []
    for oid, data in packed.items():
        entries.append((oid, zlib.crc32(data), offset))
        offset += len(data)
    entries.sort()
    fan, many = [0] * 256, 0
    for oid, _, _ in entries:
        fan[oid[0]] += 1
    for byte in range(256):
        many += fan[byte]
        fan[byte] = many
    index = b"".join(
        [
            b"\xfftOc\0\0\0\2",
            struct.pack(">256I", *fan),
            *[oid for oid, _, _ in entries],
            struct.pack(f">{many}I", *[crc for _, crc, _ in entries]),
            struct.pack(f">{many}I", *[at for _, _, at in entries]),
            digest,
        ]
    )
    name = folder / f"pack-{digest.hex()}"
    _write(f"{name}.pack", [body, digest])
    _write(f"{name}.idx", [index, hashlib.sha1(index, usedforsecurity=False).digest()])
    _flush(folder)


def _write_ref(path: Path, commit: bytes) -> None:
    descriptor = os.open(f"{path}.lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, commit.hex().encode() + b"\n")
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(f"{path}.lock", path)  # noqa: PTH104 - the system call and nothing around it
    _flush(path.parent)


def _write(path: str, parts: Iterable[bytes]) -> None:
    descriptor = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(descriptor)
    os.rename(f"{path}.tmp", path)  # noqa: PTH104 - as above


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
