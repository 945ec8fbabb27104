"""Going back: the tree of an earlier commit, whole or in part, as a new commit on top."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pygit2

from . import checkpoint
from .checkpoint import Identity
from .objects import entries
from .repository import Mirror, open_repository, tree_at


def restore(
    mirror: Mirror, head: str, target: str, selects: Callable[[str], bool] | None = None
) -> str:
    """Return the tree that has `target`'s content at the paths selected, and `head`'s elsewhere.

    Without `selects` it is exactly the tree of `target`. A restored file takes the place of
    whatever lies in its way. Raises Refused where the mirror lacks a commit.
    """
    repo = open_repository(mirror)
    wanted = tree_at(repo, target)
    if selects is None:
        return str(wanted.id)
    index = pygit2.Index()
    for path, entry in entries(tree_at(repo, head)):
        if not selects(path):
            index.add(pygit2.IndexEntry(path, entry.id, entry.filemode))
    for path, entry in entries(wanted):
        if selects(path):
            _clear_way(index, path)
            index.add(pygit2.IndexEntry(path, entry.id, entry.filemode))
    return str(index.write_tree(repo))


def roll_back(
    mirror: Mirror,
    *,
    head: str,
    target: str,
    message: str,
    author: Identity,
    committer: Identity,
    at: datetime,
    ref: str | None = None,
    selects: Callable[[str], bool] | None = None,
) -> str:
    """Commit on top of `head` what `restore` gives, move `ref` from `head` to it; return its id."""
    return checkpoint.commit(
        mirror,
        tree=restore(mirror, head, target, selects),
        parents=[head],
        message=message,
        author=author,
        committer=committer,
        at=at,
        ref=ref,
        expected=head,
    )


def _clear_way(index: pygit2.Index, path: str) -> None:
    """Remove what cannot stand beside `path`: a file where it needs a folder, and the reverse."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        above = "/".join(parts[:depth])
        if above in index:
            index.remove(above)
    index.remove_directory(path)
