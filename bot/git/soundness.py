"""Whether a mirror is damaged: at a look that takes milliseconds, and by git's own check.

A look finds what a lost disk cache leaves behind: files cut off or empty, refs that point to
nothing. It opens no object; damage in their midst shows when they are read, and then `is_told`
knows the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pygit2

from bot.errors import Refused

from .folders import files_below, loose_objects
from .program import run
from .repository import Mirror, open_repository

CHECK_TIMEOUT = 1800.0
"""Seconds for git's own check: it reads all there is, some minutes for a gigabyte."""

PACKED = "packed-refs"
_ID = re.compile(r"[0-9a-f]{40}\Z")
_TRAILER = 20
"""Bytes of the checksum at the end of a pack, of which its index has a copy."""
_HEADS = (b"PACK", b"\xfftOc")

_TOLD = re.compile(
    r"corrupt|did not send all necessary objects|does not match index|cannot be accessed"
    r"|unexpected line in .*packed-refs|bad config|invalid sha1 pointer|object file .* is empty"
    r"|inflate|incorrect data check|incorrect header check|invalid header|hash mismatch"
    r"|failed to parse|unable to read|cannot be opened|bad object|garbage at end|broken link",
    re.I,
)
_FOUND = re.compile(
    r"^missing |^broken link|corrupt|does not match index|cannot be accessed|not opened"
    r"|pack checksum mismatch|index crc mismatch|hash mismatch|invalid sha1 pointer"
    r"|object file .* is empty|inflate|unexpected line in|bad config|far too short"
    r"|not a git repository|unable to (read|unpack|mmap)",
    re.I,
)


def is_told(error: BaseException) -> bool:
    """Whether an error's words are those of a damaged repository."""
    return isinstance(error, (Refused, pygit2.GitError)) and bool(_TOLD.search(str(error)))


def look(path: Path) -> str | None:
    """Say what is wrong with the mirror at `path`, or None; nothing is read but ends and names."""
    return next(iter([*_faults(path)]), None)


def lacks_a_pack(path: Path) -> bool:
    """Whether there is an index without its pack: what was in that is elsewhere, or lost."""
    return any(not pack.exists() for pack in _packs(path))


async def check(path: Path) -> str | None:
    """Say what git itself finds wrong with the mirror at `path`, or None.

    What git finds unusual in old commits is no damage: a new clone would have it too.
    """
    done = await run("fsck", "--full", "--no-dangling", "--no-progress", git_dir=path,
                     timeout=CHECK_TIMEOUT)  # fmt: skip
    said = (done.out.decode("utf-8", "replace") + "\n" + done.err).splitlines()
    return next((line.strip() for line in said if _FOUND.search(line)), None)


def own_refs(path: Path) -> dict[str, str | None]:
    """Return our own refs as the files say, each with its commit, or None where it says nothing.

    All but the remote's branches and tags are ours.
    """
    return {
        name: sha if _ID.match(sha) else None
        for name, sha in _refs(path).items()
        if name != PACKED and not name.startswith(("refs/remotes/", "refs/tags/"))
    }


def damaged_packs(path: Path) -> list[Path]:
    """Return the packs that are cut off, or do not fit their index."""
    return [pack for pack in _packs(path) if _pack_fault(pack)]


def _faults(path: Path) -> Iterator[str]:
    try:
        head = (path / "HEAD").read_text("utf-8", "replace").strip()
        config = (path / "config").read_bytes()
    except OSError as error:
        yield f"{Path(error.filename).name} cannot be read"
        return
    if not head.startswith("ref: refs/") and not _ID.match(head):
        yield "HEAD says nothing"
    if b"[core]" not in config or b"\0" in config:
        yield "config is no configuration"
    yield from (fault for pack in _packs(path) if (fault := _pack_fault(pack)))
    yield from _loose_faults(path)
    yield from _ref_faults(path)


def _packs(path: Path) -> list[Path]:
    """Return the packs that have an index; one without is being written, and nobody sees it."""
    return [index.with_suffix(".pack") for index in (path / "objects" / "pack").glob("pack-*.idx")]


def _pack_fault(pack: Path) -> str | None:
    try:
        with pack.open("rb") as packed, pack.with_suffix(".idx").open("rb") as index:
            heads = (packed.read(4), index.read(4))
            packed.seek(-_TRAILER, 2)
            index.seek(-2 * _TRAILER, 2)
            fits = packed.read() == index.read(_TRAILER)
    except FileNotFoundError:
        return None  # joined with others meanwhile; or its index is all that a killed git left
    except OSError:
        return f"{pack.name} is too short"
    return None if heads == _HEADS and fits else f"{pack.name} does not fit its index"


def _loose_faults(path: Path) -> Iterator[str]:
    for file in loose_objects(path):
        try:
            if file.stat().st_size == 0:
                yield f"the object {file.parent.name}{file.name[:10]} is empty"
        except FileNotFoundError:
            continue


def _ref_faults(path: Path) -> Iterator[str]:
    try:
        repo = open_repository(Mirror(path))
    except Refused as error:
        yield f"it cannot be opened ({error.__cause__})"
        return
    for name, sha in _refs(path).items():
        if sha.startswith("ref: "):
            continue  # nothing of ours; git follows it or not
        if not _ID.match(sha):
            yield f"{name} says nothing"
        elif not _holds(repo, sha):
            yield f"{name} points to nothing"


def _holds(repo: pygit2.Repository, sha: str) -> bool:
    try:
        return sha in repo
    except pygit2.GitError:  # it is there, and cannot be read
        return False


def _refs(path: Path) -> dict[str, str]:
    """Read all refs from their files, whatever these say."""
    found = {}
    for line in (_text(path / PACKED) or "").splitlines():
        sha, _, name = line.partition(" ")
        if not line.startswith(("#", "^")):
            found[name if name.startswith("refs/") else PACKED] = sha
    for file in files_below(path / "refs"):
        if file.suffix != ".lock" and (text := _text(file)) is not None:
            found[file.relative_to(path).as_posix()] = text.strip()
    return found


def _text(file: Path) -> str | None:
    """Return what a file says; None where there is none, be it since a moment ago."""
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
