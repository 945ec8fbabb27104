"""Upkeep of a mirror: few packs, few loose files, nothing that nobody needs; never under a run.

git's own `gc` is off. It would remove objects while a run works on them, and make a mirror slow at
a time of its choosing. Here the whole is done under the mirror's lock, only while no run holds a
lease, and it stops within a moment once one takes a lease.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from . import leases, locks, pack
from .folders import files_below, loose_objects
from .partial import HYDRATED, is_blobless
from .program import git
from .repository import Mirror

log = structlog.get_logger()

PACKS = 30
"""Packs from which on they are joined: each look-up asks every pack."""
LOOSE = 500
"""Objects in files of their own from which on they are packed: each costs a block of the disk."""
LOOSE_REFS = 200
"""Refs in files of their own from which on they are packed: a listing opens every one."""
GRACE_DAYS = 14
"""How old an object that nothing reaches must be before it goes: a run's candidates are younger."""
WHOLE_DAYS = 7
"""How often everything is packed anew, which alone finds what nothing reaches."""
REMAINS_DAYS = 30
"""How long a mirror that was set aside is kept, for whoever wants to look at it."""
TIMEOUT = 3600.0
"""Seconds for one step; a repository of 10 GB is packed in some minutes."""
LOOK = 0.05
"""Seconds between two looks whether a run wants to work."""
PATIENCE = 1.0
"""Seconds that another's fetch is waited for; upkeep comes again."""
DAY = 86_400.0
MARK_SECONDS = 3600.0
"""After which the mark of a pack that is not there is nobody's: it is written a moment before."""

_GRACE = f"{GRACE_DAYS}.days.ago"
_STAMP = "kept-up"
"""The file of a mirror whose age says when everything was last packed anew."""
_KEPT_BY_FETCH = b"fetch-pack"
"""How git marks a pack that it is just fetching."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What there is to do in a mirror."""

    packs: int
    loose: int
    loose_refs: int
    is_due: bool

    @property
    def many_objects(self) -> bool:
        """Whether there are many packs, or objects outside of packs."""
        return self.packs >= PACKS or self.loose >= LOOSE

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return self.many_objects or self.loose_refs >= LOOSE_REFS or self.is_due


def needs(mirror: Mirror) -> Needs:
    """Say what there is to do; a matter of milliseconds."""
    packs = sum(1 for _ in (mirror.path / "objects" / "pack").glob("*.pack"))
    loose = sum(1 for _ in loose_objects(mirror.path))
    refs = sum(1 for _ in files_below(mirror.path / "refs"))
    # HEAD is as old as the mirror.
    age = min(_age(path) for path in (mirror.path / _STAMP, mirror.path / "HEAD") if path.exists())
    return Needs(packs, loose, refs, age > WHOLE_DAYS * DAY)


async def run(mirror: Mirror, *, whole: bool = False) -> tuple[str, ...]:
    """Do what there is to do, everything with `whole`; return what was done, in words.

    Nothing is done while a run holds a lease or somebody fetches; it is enough to come again.
    Raises Refused or TransientError where git cannot read or write what is there.
    """
    found = await asyncio.to_thread(needs, mirror)
    if not (whole or found.any) or await asyncio.to_thread(leases.is_held, mirror):
        return ()
    try:
        async with locks.writing(mirror.path, PATIENCE) as lock:
            return await _unless_leased(mirror, lock, whole=whole or found.is_due)
    except locks.Busy:
        return ()


async def _unless_leased(mirror: Mirror, lock: int, *, whole: bool) -> tuple[str, ...]:
    done: list[str] = []
    with locks.removing(mirror.path) as alone:
        # A lease taken before is seen here; one taken after waits until we have stopped.
        if alone is None or await asyncio.to_thread(leases.is_held, mirror):
            return ()
        work = asyncio.create_task(_work(mirror, (lock, alone), done, whole=whole))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=LOOK)
                if await asyncio.to_thread(leases.is_held, mirror):
                    break
        finally:
            if work.cancel():
                log.info("upkeep stopped", mirror=mirror.path.name, done=done)
            await asyncio.wait({work})
        if not work.cancelled():
            work.result()
    return tuple(done)


async def _work(mirror: Mirror, held: tuple[int, ...], done: list[str], *, whole: bool) -> None:
    async def step(said: str, *args: str, is_brief: bool = False) -> None:
        job = asyncio.create_task(git(*args, git_dir=mirror.path, timeout=TIMEOUT, keep_open=held))
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            # A git that is ended just as it makes a lock file leaves that behind: what locks
            # others' refs is never ended.
            if not is_brief:
                job.cancel()
            await asyncio.wait({job})
            raise
        done.append(said)

    await asyncio.to_thread(locks.clear, mirror.path)
    promised = is_blobless(mirror)
    found = await asyncio.to_thread(needs, mirror)
    # Each of these replaces packs once: whoever reads finds an object in the old one or the new.
    if whole or (promised and found.many_objects):  # git 2.39 mixes up promised packs otherwise
        await step("everything packed anew", *_repack(), *_cruft())
    elif found.many_objects:
        await step("small packs joined", *_repack(), "--geometric=2")
    await step("refs packed", "pack-refs", "--all", "--prune", is_brief=True)
    # Before anything goes, so that it never names a commit that is gone.
    await step("history indexed", "commit-graph", "write", "--reachable")
    if whole:
        exempt = ["--exclude-promisor-objects"] if promised else []
        await step("what nothing reaches removed", "prune", f"--expire={_GRACE}", *exempt)
        (mirror.path / _STAMP).touch()
    await asyncio.to_thread(_tidy, mirror)


def _repack() -> tuple[str, ...]:
    # No bitmaps: they are for who serves fetches.
    return ("repack", "-d", "-l", "--quiet", "--no-write-bitmap-index")


def _cruft() -> tuple[str, ...]:
    return ("--cruft", f"--cruft-expiration={_GRACE}")


def _tidy(mirror: Mirror) -> None:
    """Remove what packs, fetches and mendings leave behind; nobody fetches now."""
    packs = mirror.path / "objects" / "pack"
    for mark in packs.glob(f"*{pack.OURS}"):
        # Written before its pack, by a process that holds no lock of ours.
        if not mark.with_suffix(".pack").exists() and _age(mark) > MARK_SECONDS:
            mark.unlink(missing_ok=True)
    for keep in packs.glob("*.keep"):
        if keep.read_bytes().startswith(_KEPT_BY_FETCH):  # one that was killed
            keep.unlink()
    for mark in _files(mirror.path / HYDRATED):
        if _age(mark) > GRACE_DAYS * DAY:
            mark.unlink(missing_ok=True)
    for remains in mirror.path.parent.glob(f"{mirror.path.name}.broken-*"):
        if _age(remains) > REMAINS_DAYS * DAY:
            shutil.rmtree(remains, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _age(path: Path) -> float:
    """Return the seconds since a file was changed; 0 where there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
