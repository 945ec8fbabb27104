"""Files in folders that a job may have filled with traps: links, pipes, devices, floods."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: opening a named pipe would wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def seen(path: Path, namespace: int | None) -> Path:
    """Say under which path the host sees what a process sees as `path` in its own namespace."""
    return path if namespace is None else Path(f"/proc/{namespace}/root", *path.parts[1:])


def read_inside(root: Path, relative: str, limit: int) -> bytes | None:
    """Read a plain file below `root` without following a symbolic link at any step.

    None when there is no such file, when it is no plain file, when the path would leave `root`,
    or when it is larger than `limit` bytes.
    """
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or "\0" in relative:
        return None
    try:
        descriptor = _open(root, parts)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(limit + 1)
    return data if len(data) <= limit else None


def _open(root: Path, parts: tuple[str, ...]) -> int:
    folder = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, so that no link laid there is followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
