"""Files that Git LFS keeps: in the repository stands a pointer, the content is kept beside it.

Where the program git-lfs is on this machine, workspaces hold the content: it is fetched for one
commit at a time into the mirror's `lfs/objects`. What a run writes there is kept in the same place,
and is pushed before the branch that names it. Without the program workspaces hold the pointers.

The program is run through git and with its environment (`program.py`), in no work tree and with no
index: a `.lfsconfig` changes nothing here, not even one that people committed. So the content is
where the repository is, and a repository that names another server for it keeps its pointers.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from bot.errors import OrchestrateError, Refused

from . import attributes
from .locks import CONTENTS, Busy, writing
from .pack import flush
from .program import NETWORK_TIMEOUT, Finished, failure, git, run
from .remote import Remote
from .repository import Mirror

log = structlog.get_logger()

PROGRAM = "git-lfs"
MAX_POINTER = 1024
"""Bytes that a pointer may have, as git-lfs has it (docs/spec.md)."""
STORE = ("lfs", "objects")
"""Where a mirror keeps contents."""
ASKED = ("lfs", "asked")
"""Where it keeps what the last answers were: a file for each commit, `1` or `0`."""
RETRY_SECONDS = 60.0
"""How long an answer holds: many runs that start at once ask once, and wait for no dead server."""

_VERSIONS = rb"(?:https://(?:git-lfs|hawser)\.github\.com/spec/v1|http://git-media\.io/v/2)"
_POINTER = re.compile(
    rb"\s*version %b\n(?:ext-\S+ \S+\n)*oid sha256:([0-9a-f]{64})\nsize (\d+)\s*" % _VERSIONS
)
_BLOB = re.compile(rb"^blob (\d{1,4}) ([0-9a-f]+)$", re.M)
_TELLING = re.compile(r"^(?:batch response: |fatal: |error: |error transferring ).*", re.M)
_LOST = re.compile(r"^\[[0-9a-f]{64}\] Object does not exist|: \[0\] remote missing object", re.M)


@dataclass(frozen=True, slots=True)
class Pointer:
    """What stands for a file's content: its SHA-256, and its size in bytes."""

    oid: str
    size: int


def is_there() -> bool:
    """Whether this machine has the program."""
    return shutil.which(PROGRAM) is not None


def pointer(content: bytes) -> Pointer | None:
    """Read a pointer; None where the content is something else."""
    found = _POINTER.fullmatch(content) if len(content) < MAX_POINTER else None
    return Pointer(found[1].decode(), int(found[2])) if found else None


def keep(mirror: Mirror, found: Iterable[Pointer]) -> None:
    """Make the contents durable that git-lfs put into the mirror."""
    folders: set[Path] = set()
    for each in found:
        place = _place(mirror, each)
        if place.exists():
            with place.open("rb") as file:
                os.fsync(file.fileno())
            folders |= {above for above in place.parents if above.is_relative_to(mirror.path)}
    for folder in sorted(folders, reverse=True):
        flush(folder)


def is_here(mirror: Mirror, found: Pointer) -> bool:
    """Whether the mirror has the content."""
    return found.size == 0 or _place(mirror, found).exists()


async def pointers(mirror: Mirror, blobs: Sequence[str]) -> dict[str, Pointer]:
    """Read those of the blobs that are pointers; what is none, or is not here, is passed over."""
    told = await _batch(mirror, "--batch-check=%(objecttype) %(objectsize) %(objectname)", blobs)
    small = [sha.decode() for size, sha in _BLOB.findall(told) if int(size) < MAX_POINTER]
    contents = zip(small, await _contents(mirror, small), strict=True)
    return {sha: found for sha, content in contents if (found := pointer(content))}


async def are_named(mirror: Mirror, rules: Sequence[str]) -> bool:
    """Whether some `.gitattributes`, by their blobs, may have Git LFS keep something."""
    return any(b"lfs" in each for each in await _contents(mirror, rules))


async def in_tree(mirror: Mirror, tree: str) -> dict[bytes, Pointer]:
    """Read the pointers of a whole tree by their paths, where attributes may ask for Git LFS."""
    listed = await git("ls-tree", "-r", "-z", "--end-of-options", tree, git_dir=mirror.path)
    entries = [line.partition(b"\t") for line in listed.split(b"\0") if line]
    files = [(about.split()[2].decode(), path) for about, _, path in entries if about[:2] == b"10"]
    rules = [sha for sha, path in files if path.rpartition(b"/")[2] == attributes.NAME]
    if not await are_named(mirror, rules):
        return {}
    found = await pointers(mirror, [sha for sha, _ in files])
    return {path: found[sha] for sha, path in files if sha in found}


async def fetch(mirror: Mirror, remote: Remote, commit: str) -> bool:
    """Bring in the contents of a commit's files; False where they cannot all be had.

    Why not is logged, and no error: the pointers will do.
    """
    if not is_there():
        return False
    try:
        async with writing(mirror.path, 2 * NETWORK_TIMEOUT, CONTENTS):
            answer = await asyncio.to_thread(_answered, mirror, commit)
            if answer is None:
                answer = await _fetch(mirror, remote, commit)
                await asyncio.to_thread(_note, mirror, commit, answer)
            return answer
    except Busy:
        return False


async def push(mirror: Mirror, remote: Remote, branches: Sequence[tuple[str, str | None]]) -> None:
    """Push the contents that branches name which are to move, each to a commit from another.

    Raises TransientError, or Refused, where not all of them came there.
    """
    store = mirror.path.joinpath(*STORE)
    if not branches or not await asyncio.to_thread(store.is_dir) or not is_there():
        return
    found = await pointers(mirror, await _added(mirror, branches))
    here = sorted({each.oid for each in found.values() if _place(mirror, each).exists()})
    if not here:
        return
    done = await _run(
        *("push", "--object-id", remote.lfs_url, "--stdin"),
        mirror=mirror,
        remote=remote,
        input="".join(f"{oid}\n" for oid in here).encode(),
    )
    if done.status:
        raise _failure("lfs push", done, remote)


def carry_over(old: Path, new: Path) -> None:
    """Move the contents of a mirror to the one that takes its place, which has none."""
    if (old / STORE[0]).is_dir() and not (new / STORE[0]).exists():
        (old / STORE[0]).rename(new / STORE[0])


async def _fetch(mirror: Mirror, remote: Remote, commit: str) -> bool:
    try:
        done = await _run("fetch", remote.lfs_url, commit, mirror=mirror, remote=remote)
    except OrchestrateError as error:
        reason = str(error)
    else:
        if done.status == 0:
            return True
        reason = str(_failure("lfs fetch", done, remote))
    log.warning("files of Git LFS are left as pointers", mirror=mirror.path.name, reason=reason)
    return False


async def _added(mirror: Mirror, branches: Iterable[tuple[str, str | None]]) -> list[str]:
    """List the objects of branches that the remote does not have."""
    lines = [line for new, old in branches for line in (new, old and f"^{old}") if line]
    listed = await git(
        *("rev-list", "--objects", "--no-object-names", "--ignore-missing", "--missing=allow-any"),
        *("--stdin", "--not", "--remotes=origin"),
        git_dir=mirror.path,
        input="".join(f"{line}\n" for line in lines).encode(),
    )
    return listed.decode().split()


async def _contents(mirror: Mirror, blobs: Sequence[str]) -> list[bytes]:
    """Read objects that are here."""
    told, contents = io.BytesIO(await _batch(mirror, "--batch", blobs)), list[bytes]()
    while about := told.readline().split():
        contents.append(told.read(int(about[2])))
        told.readline()
    return contents


async def _batch(mirror: Mirror, how: str, blobs: Sequence[str]) -> bytes:
    if not blobs:
        return b""
    asked = "".join(f"{sha}\n" for sha in blobs).encode()
    return await git("cat-file", how, git_dir=mirror.path, input=asked)


async def _run(*args: str, mirror: Mirror, remote: Remote, input: bytes | None = None) -> Finished:
    return await run(
        "lfs", *args, git_dir=mirror.path, remote=remote, input=input, timeout=NETWORK_TIMEOUT
    )


def _failure(command: str, done: Finished, remote: Remote) -> OrchestrateError:
    """Return the error that says how git-lfs failed, by the line that tells most."""
    if lost := len(_LOST.findall(done.err)):
        noun = "file" if lost == 1 else "files"
        return Refused(f"Git LFS has no content of {lost} {noun} at {remote.url}.", status=404)
    told = _TELLING.search(done.err)
    return failure(command, Finished(done.status, b"", told[0] if told else done.err), remote)


def _answered(mirror: Mirror, commit: str) -> bool | None:
    """Return the last answer for a commit, where it holds still."""
    place = mirror.path.joinpath(*ASKED, commit)
    try:
        is_new = time.time() - place.stat().st_mtime < RETRY_SECONDS
        return place.read_bytes() == b"1" if is_new else None
    except FileNotFoundError:
        return None


def _note(mirror: Mirror, commit: str, answer: bool) -> None:
    folder = mirror.path.joinpath(*ASKED)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if time.time() - old.stat().st_mtime >= RETRY_SECONDS:
            old.unlink()
    (folder / commit).write_bytes(b"1" if answer else b"0")


def _place(mirror: Mirror, found: Pointer) -> Path:
    return mirror.path.joinpath(*STORE, found.oid[:2], found.oid[2:4], found.oid)
