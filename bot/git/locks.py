"""Locks on a mirror that die with whoever holds them: `flock(2)`, never a file that stays behind.

The git program is handed the lock's descriptor (`program.run`, `keep_open`), so that a git which
outlives a killed server keeps the lock until it has ended as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from bot.errors import TransientError

from .folders import files_below
from .program import NETWORK_TIMEOUT

POLL = 0.02
"""Seconds between two looks at a lock that another process holds."""

LATELY = 10.0
"""Seconds for which a look-up that found nothing is tried again after objects were moved."""
PACKED_STALE = 5.0
"""Seconds after which the lock of packed refs is nobody's: dropping a ref takes milliseconds, and
what takes longer holds the mirror's lock."""

WRITE, UPKEEP, CONTENTS, REFS = "lock", "upkeep", "lfs", "refs"
"""The locks of a mirror, as files beside it; CONTENTS for who asks for what Git LFS keeps, REFS for
who moves a ref of ours."""


class Busy(TransientError):
    """Somebody else holds the lock, and does not let go of it."""


@contextlib.asynccontextmanager
async def writing(
    path: Path,
    timeout: float = NETWORK_TIMEOUT,  # noqa: ASYNC109 - it also names the error
    kind: str = WRITE,
) -> AsyncIterator[int]:
    """Hold the one lock under which a mirror is made, fetched, mended or kept up, by any process.

    Or that of another `kind`. Yields the descriptor for the git program. Raises Busy after
    `timeout` seconds.
    """
    with _opened(path, kind) as descriptor:
        deadline = time.monotonic() + timeout
        while not _try(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise Busy(f"The mirror {path.name} is busy with another fetch.")
            await asyncio.sleep(POLL)
        yield descriptor


def clear(path: Path) -> None:
    """Remove the lock files of a git that was killed; who calls holds the mirror's lock.

    Only what nothing writes but under that lock, and what nothing else holds for so long.
    """
    folders = [path / "refs" / "remotes", path / "refs" / "tags", path / "objects" / "info"]
    stale = [file for folder in folders for file in files_below(folder) if file.suffix == ".lock"]
    stale += [path / "config.lock", path / "shallow.lock"]
    packed = path / "packed-refs.lock"
    with contextlib.suppress(FileNotFoundError):
        if time.time() - packed.stat().st_mtime > PACKED_STALE:
            stale.append(packed)
    for lock in stale:
        lock.unlink(missing_ok=True)


@contextlib.contextmanager
def pinning(path: Path, timeout: float) -> Iterator[bool]:
    """Hold off whoever removes objects; yields whether somebody did until now.

    Raises Busy after `timeout` seconds.
    """
    with _opened(path, UPKEEP) as descriptor:
        deadline = time.monotonic() + timeout
        waited = False
        while not _try(descriptor, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise Busy(f"The mirror {path.name} is busy with its upkeep.")
            waited = True
            time.sleep(POLL)
        yield waited


@contextlib.contextmanager
def removing(path: Path) -> Iterator[int | None]:
    """Be the one that removes objects, or get None: somebody is just pinning some."""
    with _opened(path, UPKEEP) as descriptor:
        if not _try(descriptor, fcntl.LOCK_EX):
            yield None
            return
        try:
            yield descriptor
        finally:
            os.utime(descriptor)


@contextlib.contextmanager
def moving(path: Path) -> Iterator[None]:
    """Move a ref; many may at once, each with that ref's own lock file."""
    with _opened(path, REFS) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def at_rest(path: Path) -> Iterator[bool]:
    """Hold off whoever moves a ref; yields whether nobody does, and any lock file is left over."""
    with _opened(path, REFS) as refs, _opened(path, WRITE) as mirror:
        yield _try(refs, fcntl.LOCK_EX) and _try(mirror, fcntl.LOCK_EX)


def is_unsettled(path: Path) -> bool:
    """Whether somebody removes objects, or did a moment ago.

    Whoever looks something up meanwhile may look just where it is no more, and find nothing.
    """
    try:
        age = time.time() - _file(path, UPKEEP).stat().st_mtime
    except FileNotFoundError:
        return False
    with _opened(path, UPKEEP) as descriptor:
        return age < LATELY or not _try(descriptor, fcntl.LOCK_SH)


@contextlib.contextmanager
def _opened(path: Path, kind: str) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_file(path, kind), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        # Not by closing alone: a process forked meanwhile has the descriptor as well.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _file(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}")


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
