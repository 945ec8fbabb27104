"""Commits merged in memory: no work tree, no drivers, nothing half done.

What conflicts is told by file and by hunk, so that people can decide it and an agent can mend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pygit2
from pygit2.enums import FileMode

from bot.errors import Refused
from bot.runs.ports import Conflict, ConflictKind, Hunk

from . import checkpoint
from .checkpoint import Identity
from .hunks import hunks
from .objects import find
from .pack import Pack
from .program import text
from .repository import Mirror, commit_of, open_repository, tree_at
from .splice import put
from .trees import Entry
from .walk import differing, trees_of

_NAMED = 5
"""Conflicting paths that an error names; the rest is counted."""

_LACKING = "Contents of files that both sides changed are not in the mirror; merge them by hand."

_LINKS = (FileMode.LINK, FileMode.COMMIT)

_Sides = tuple[pygit2.IndexEntry | None, pygit2.IndexEntry | None, pygit2.IndexEntry | None]
"""What stands at a path in the base, in ours and in theirs."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged tree; or None, what people must decide, and the commit that did not merge."""

    tree: str | None
    conflicts: tuple[Conflict, ...] = ()
    commit: str | None = None


class MergeConflict(Refused):
    """Two commits change the same lines; `conflicts` says where."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        paths = tuple(dict.fromkeys(each.path for each in conflicts))
        rest = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        super().__init__(f"The merge conflicts in {', '.join(paths[:_NAMED])}{rest}.")
        self.conflicts = tuple(conflicts)
        self.paths = paths


def merge_trees(mirror: Mirror, ours: str, theirs: str) -> Merged:
    """Merge the commit `theirs` into the commit `ours`, renames followed; returns a tree.

    Raises Refused where the mirror lacks a commit, or the content of a file that both changed.
    """
    repo = open_repository(mirror)
    our, their = commit_of(repo, ours), commit_of(repo, theirs)
    try:
        index = repo.merge_commits(our, their)
    except KeyError as error:
        raise Refused(_LACKING) from error
    return _merged(mirror, index, our.tree, their.tree, theirs)


def base_of(mirror: Mirror, one: str, other: str) -> str | None:
    """Return the commit that two have in common, the newest of them; None where there is none."""
    repo = open_repository(mirror)
    found = repo.merge_base(commit_of(repo, one).id, commit_of(repo, other).id)
    return str(found) if found else None


def merge_all(mirror: Mirror, base: str, heads: Sequence[str]) -> Merged:
    """Merge branches that were begun on `base` together, one after the other, in their order.

    The first that conflicts with those before it ends it. Commits or trees; of none it is the
    base itself. Raises Refused where the mirror lacks one, or the content of a file in them.
    """
    repo = open_repository(mirror)
    start = tree_at(repo, base)
    merged = Merged(str(start.id))
    for head in heads:
        assert merged.tree is not None, "a conflict ends it"
        ours, theirs = tree_at(repo, merged.tree), tree_at(repo, head)
        try:
            index = repo.merge_trees(start, ours, theirs)
        except KeyError as error:
            raise Refused(_LACKING) from error
        merged = _merged(mirror, index, ours, theirs, head)
        if merged.tree is None:
            break
    return merged


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


def _merged(
    mirror: Mirror, index: pygit2.Index, ours: pygit2.Tree, theirs: pygit2.Tree, commit: str
) -> Merged:
    if index.conflicts is None:
        return Merged(_written(mirror, index, ours, theirs))
    repo = open_repository(mirror)
    found = [_conflict(repo, sides, ours, theirs) for sides in index.conflicts]
    return Merged(None, tuple(sorted(found, key=lambda each: each.path)), commit)


def _written(mirror: Mirror, index: pygit2.Index, ours: pygit2.Tree, theirs: pygit2.Tree) -> str:
    """Write what was merged as a tree; where both sides are equal, so is what came of them.

    libgit2 would write every folder, after a look for each file of the repository.
    """
    trees, pack = trees_of(mirror), Pack(mirror)
    files: dict[bytes, Entry | None] = {}
    for path, _, _ in differing(trees, ours.id.raw, theirs.id.raw):
        try:
            entry = index[text(path)]
        except KeyError:
            files[path] = None
        else:
            files[path] = (b"%o" % entry.mode, entry.id.raw)
    tree = put(trees, pack, ours.id.raw, files)
    pack.write()
    return tree.hex()


def _conflict(
    repo: pygit2.Repository, sides: _Sides, ours: pygit2.Tree, theirs: pygit2.Tree
) -> Conflict:
    path = str(next(entry.path for entry in sides if entry))
    base, our, their = sides
    if our and their:
        kind = _kind_of_both(base, our, their)
        told: tuple[Hunk, ...] = ()
        if kind in _IN_LINES:
            told = hunks(repo, base.id if base else None, our.id, their.id)
        return Conflict(path, kind, told)
    other = theirs if our else ours
    if isinstance(find(other, path), pygit2.Tree):
        return Conflict(path, "type", ())
    # Where a side keeps what the base has, the other one gave it another name.
    kept = our or their
    changed = base is not None and kept is not None and _differ(base, kept)
    return Conflict(path, "modify/delete" if changed else "rename", ())


_IN_LINES = ("content", "add/add")


def _kind_of_both(
    base: pygit2.IndexEntry | None, our: pygit2.IndexEntry, their: pygit2.IndexEntry
) -> ConflictKind:
    if our.mode != their.mode and (our.mode in _LINKS or their.mode in _LINKS):
        return "type"
    if our.id == their.id:
        return "mode"
    return "content" if base else "add/add"


def _differ(one: pygit2.IndexEntry, other: pygit2.IndexEntry) -> bool:
    return (one.id, one.mode) != (other.id, other.mode)
