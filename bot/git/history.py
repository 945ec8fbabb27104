"""What stood at a path before."""

from __future__ import annotations

from dataclasses import dataclass

import pygit2

from .objects import find
from .repository import Mirror, commit_of, open_repository

COMMITS_MAX = 5_000
"""Commits that are looked through: years of a branch, and a fraction of a second."""

VERSIONS_MAX = 50
"""Versions that are returned: who has been wrong more often than that asks a person."""


@dataclass(frozen=True, slots=True)
class Version:
    """What a file was at a commit, by the id of its content."""

    commit: str
    blob: str


def versions(mirror: Mirror, commit: str, path: str) -> list[Version]:
    """Return what a regular file was before what it is at `commit`, the newest first.

    The branch itself is followed, by the first parents: what a merge brought counts from the merge
    on. Where the file was not there, nothing is returned for that time.
    """
    repo = open_repository(mirror)
    at: pygit2.Commit | None = commit_of(repo, commit)
    last, found = _blob(at, path), list[Version]()
    for _ in range(COMMITS_MAX):
        if at is None or len(found) == VERSIONS_MAX:
            break
        blob = _blob(at, path)
        if blob and blob != last:
            found.append(Version(str(at.id), blob))
        last = blob
        at = at.parents[0] if at.parents else None
    return found


def is_followed(mirror: Mirror, commit: str, tip: str) -> bool:
    """Whether a branch stood at `commit` before `tip`, as far as its first parents tell.

    What a merge brought never was what the branch is.
    """
    repo = open_repository(mirror)
    at: pygit2.Commit | None = commit_of(repo, tip)
    for _ in range(COMMITS_MAX):
        if at is None or str(at.id) == commit:
            break
        at = at.parents[0] if at.parents else None
    return at is not None and str(at.id) == commit


def _blob(commit: pygit2.Commit | None, path: str) -> str:
    entry = find(commit.tree, path) if commit is not None else None
    return str(entry.id) if isinstance(entry, pygit2.Blob) else ""
