"""Two commits merged in memory: no work tree, no drivers, nothing half done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.errors import Refused

from . import checkpoint
from .checkpoint import Identity
from .repository import Mirror, commit_of, open_repository

_NAMED = 5
"""Conflicting paths that an error names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged tree, or None and the paths that people must decide."""

    tree: str | None
    conflicts: tuple[str, ...]


class MergeConflict(Refused):
    """Two commits change the same lines; `paths` says where."""

    def __init__(self, paths: Sequence[str]) -> None:
        rest = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        super().__init__(f"The merge conflicts in {', '.join(paths[:_NAMED])}{rest}.")
        self.paths = tuple(paths)


def merge_trees(mirror: Mirror, ours: str, theirs: str) -> Merged:
    """Merge the commit `theirs` into the commit `ours`, renames followed; returns a tree.

    Raises Refused where the mirror lacks a commit.
    """
    repo = open_repository(mirror)
    index = repo.merge_commits(commit_of(repo, ours), commit_of(repo, theirs))
    if index.conflicts is None:
        return Merged(str(index.write_tree(repo)), ())
    paths = {entry.path for sides in index.conflicts for entry in sides if entry}
    return Merged(None, tuple(sorted(paths)))


def merge_commit(
    mirror: Mirror,
    *,
    ours: str,
    theirs: str,
    message: str,
    author: Identity,
    committer: Identity,
    at: datetime,
    ref: str | None = None,
) -> str:
    """Commit the merge of `theirs` into `ours`, move `ref` from `ours` to it; return its id.

    Raises MergeConflict, and RefMoved where `ref` is no longer at `ours`.
    """
    merged = merge_trees(mirror, ours, theirs)
    if merged.tree is None:
        raise MergeConflict(merged.conflicts)
    return checkpoint.commit(
        mirror,
        tree=merged.tree,
        parents=[ours, theirs],
        message=message,
        author=author,
        committer=committer,
        at=at,
        ref=ref,
        expected=ours,
    )
