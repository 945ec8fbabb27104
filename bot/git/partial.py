"""Contents of files that a blobless mirror does not have yet.

pygit2 cannot fetch them by itself, and git fetches them one by one; so whoever is going to read the
files of a commit asks for all of them first, in one fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from .folders import files_below
from .locks import writing
from .program import NETWORK_TIMEOUT, git
from .remote import Remote
from .repository import Mirror, lookup, open_repository
from .transfer import ORIGIN, WITHOUT_BLOBS, fetching
from .trees import SUBMODULE
from .walk import differing, root, trees_of

HYDRATED = "hydrated"
"""The folder of a mirror with a file for each commit or tree whose contents are all there."""


def is_blobless(mirror: Mirror) -> bool:
    """Whether the mirror was made without the contents of files."""
    return "promisor" in (mirror.path / "config").read_text("utf-8", "replace")


async def hydrate(mirror: Mirror, remote: Remote, *revisions: str) -> int:
    """Bring in the contents of all files of some commits or trees; return how many were missing.

    Only those of the trees themselves, not of their history. A revision may be the id of a single
    file's contents as well. At once done in a mirror that has everything, and for what was brought
    in before; else it costs what differs from the tree that was brought in last. Raises as a fetch
    does.
    """
    if not is_blobless(mirror):
        return 0
    if not await asyncio.to_thread(_wanted, mirror, revisions):
        return 0
    async with writing(mirror.path) as lock:
        wanted = await asyncio.to_thread(_wanted, mirror, revisions)
        known = await asyncio.to_thread(_last_hydrated, mirror)
        if known:
            missing = await asyncio.to_thread(_missing_beside, mirror, known, wanted)
        else:
            missing = wanted.blobs + await _missing_of(mirror.path, wanted.trees)
        if missing:
            await _bring(mirror.path, remote, missing, lock)
        for sha in wanted.trees:
            _mark(mirror, sha).parent.mkdir(exist_ok=True)
            _mark(mirror, sha).touch()
    return len(missing)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Commits and trees that were not brought in yet, and contents that are not there."""

    trees: list[str]
    blobs: list[str]

    def __bool__(self) -> bool:
        return bool(self.trees or self.blobs)


def _wanted(mirror: Mirror, revisions: Sequence[str]) -> _Wanted:
    repo, trees, blobs = open_repository(mirror), list[str](), list[str]()
    for sha in dict.fromkeys(revisions):
        if _mark(mirror, sha).exists():
            continue
        found = lookup(repo, sha)
        if found is None:
            blobs.append(sha)
        elif not isinstance(found, pygit2.Blob):
            trees.append(sha)
    return _Wanted(trees, blobs)


def _mark(mirror: Mirror, sha: str) -> Path:
    return mirror.path / HYDRATED / sha


def _last_hydrated(mirror: Mirror) -> str | None:
    """Return the commit or tree that was brought in last: the next one is most like it."""
    marks = {mark.name: mark.stat().st_mtime_ns for mark in files_below(mirror.path / HYDRATED)}
    return max(marks, key=marks.__getitem__, default=None)


def _missing_beside(mirror: Mirror, known: str, wanted: _Wanted) -> list[str]:
    """Return what of `wanted` is missing, given that of `known` nothing is."""
    repo, trees = open_repository(mirror), trees_of(mirror)
    missing = dict.fromkeys(wanted.blobs)
    for sha in wanted.trees if known else ():
        for _, _, now in differing(trees, root(mirror, known or sha), root(mirror, sha)):
            if now is not None and now[0] != SUBMODULE and now[1].hex() not in repo:
                missing[now[1].hex()] = None
    return list(missing)


async def _missing_of(path: Path, revisions: list[str]) -> list[str]:
    if not revisions:
        return []
    listed = await git(
        "rev-list",
        "--objects",
        "--no-object-names",
        "--no-walk",
        "--missing=print",
        "--stdin",
        git_dir=path,
        input="".join(f"{sha}\n" for sha in revisions).encode(),
    )
    return [line[1:] for line in listed.decode().split("\n") if line.startswith("?")]


async def _bring(path: Path, remote: Remote, objects: list[str], lock: int) -> None:
    await git(
        "-c",
        "fetch.negotiationAlgorithm=noop",  # what we have says nothing about what we lack
        *fetching(),
        WITHOUT_BLOBS,
        "--stdin",
        "--end-of-options",
        ORIGIN,
        git_dir=path,
        remote=remote,
        input="".join(f"{sha}\n" for sha in objects).encode(),
        timeout=NETWORK_TIMEOUT,
        keep_open=(lock,),
    )
