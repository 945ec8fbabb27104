"""What a run is using, held in the mirror: no upkeep removes an object while any run does.

A lease is one ref for each commit, `refs/leases/<run>/<commit>`, so that git's own collection keeps
the commit too, whoever starts it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pygit2

from bot.errors import Refused

from . import locks
from .partial import is_blobless
from .refs import set_ref, tip
from .repository import Mirror, lookup, open_repository

PREFIX = "refs/leases/"
PACKED = "packed-refs"
WAIT = 15.0
"""Seconds that an upkeep gets to stop once it sees a lease; it looks many times a second."""
_ID = re.compile(r"[0-9a-f]{40}\Z")
_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}\Z")


def take(mirror: Mirror, run: str, commits: Collection[str]) -> None:
    """Pin commits, with all that they reach, for a run; what it has already is left.

    To be called before anything relies on them. Raises Refused where the mirror lacks one of them:
    fetch, and take it then. TransientError where an upkeep does not stop.
    """
    folder = _folder(mirror, run)
    fresh = [sha for sha in commits if _pin(folder / _id(sha))]
    # Whoever removed objects has stopped then; before, one could look where a pack just was.
    with locks.pinning(mirror.path, WAIT) as waited:
        gone = _first_gone(mirror, commits, deeply=waited)
    if gone:
        _unpin(mirror, run, fresh)
        raise Refused(f"The commit {gone[:12]} is not in the mirror; fetch and try again.")


def drop(mirror: Mirror, run: str) -> None:
    """Let go of all that a run has pinned; nothing is done already.

    Raises TransientError where somebody keeps the file of packed refs locked.
    """
    folder = _folder(mirror, run)
    packed = (ref.rpartition("/")[2] for ref in _packed(mirror, f"{PREFIX}{run}/"))
    _unpin(mirror, run, {*_names(folder), *packed})


def held(mirror: Mirror) -> frozenset[str]:
    """Return the runs that have pinned something."""
    top = mirror.path / PREFIX
    runs = {run for run in _names(top) if _names(top / run)}
    runs.update(ref.split("/")[2] for ref in _packed(mirror, PREFIX))
    return frozenset(runs)


def is_held(mirror: Mirror) -> bool:
    """Whether any run has pinned something."""
    return bool(held(mirror))


def sweep(mirror: Mirror, keep: Collection[str]) -> frozenset[str]:
    """Drop the leases of all runs but those in `keep`; return which.

    For the start of a server: a process that was killed let go of nothing.
    """
    stale = held(mirror) - frozenset(keep)
    for run in stale:
        drop(mirror, run)
    return stale


def _folder(mirror: Mirror, run: str) -> Path:
    if not _RUN.match(run):
        raise ValueError(f"{run!r} is no id of a run")
    return mirror.path / PREFIX / run


def _id(sha: str) -> str:
    if not _ID.match(sha):
        raise ValueError(f"{sha!r} is no id of a commit")
    return sha


def _pin(ref: Path) -> bool:
    """Write a ref, whole or not at all; say whether it was not there.

    Without a flush: if the machine goes down the run goes with it, and takes its lease again.
    """
    if ref.exists():
        return False
    ref.parent.mkdir(parents=True, exist_ok=True)
    lock = ref.with_name(f"{ref.name}.lock")  # git passes over names that end so
    lock.write_text(f"{ref.name}\n")
    lock.rename(ref)
    return True


def _unpin(mirror: Mirror, run: str, names: Collection[str]) -> None:
    folder = _folder(mirror, run)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds others, or there was none
        folder.rmdir()
    for ref in _packed(mirror, f"{PREFIX}{run}/"):
        if ref.rpartition("/")[2] in names:
            set_ref(mirror, ref, None, tip(mirror, ref))


def _first_gone(mirror: Mirror, commits: Collection[str], *, deeply: bool) -> str | None:
    """Return a commit that is not there; `deeply` one that lacks some of its files, too."""
    repo = open_repository(mirror)
    for sha in commits:
        if not isinstance(lookup(repo, sha), pygit2.Commit):
            return sha
        if deeply and not _is_whole(repo, sha, has_contents=not is_blobless(mirror)):
            return sha
    return None


def _is_whole(repo: pygit2.Repository, sha: str, *, has_contents: bool) -> bool:
    """Whether a commit or tree is there with all of its files."""
    found = lookup(repo, sha)
    if isinstance(found, pygit2.Commit):
        return _is_whole(repo, str(found.tree_id), has_contents=has_contents)
    if not isinstance(found, pygit2.Tree):
        return False
    for entry in found:
        if entry.type_str == "tree":
            if not _is_whole(repo, str(entry.id), has_contents=has_contents):
                return False
        elif entry.type_str == "blob" and has_contents and entry.id not in repo:
            return False
    return True


def _names(folder: Path) -> Sequence[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _packed(mirror: Mirror, prefix: str) -> Iterator[str]:
    """Yield the packed refs that begin so: whoever runs git there may have packed some."""
    try:
        data = (mirror.path / PACKED).read_bytes()
    except FileNotFoundError:
        return
    if b" " + prefix.encode() not in data:
        return
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        name = line.partition(" ")[2]
        if name.startswith(prefix):
            yield name
