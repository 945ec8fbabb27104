"""What changed between two trees: path by path with figures, and as a patch that people read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pygit2
from pygit2.enums import DeltaStatus, DiffFind, DiffOption, FileMode

from policies.facts import Change, ChangeStatus

from .program import text
from .repository import Mirror, lookup, open_repository, tree_at

PATCH_LIMIT = 1_000_000
"""Bytes of a patch; GitHub's own pages stop at 1 MB of a single file, and people long before."""
RENAME_LIMIT = 1000
"""Pairs that are compared to find renames; git's own limit (diff.renameLimit)."""
_STATUS: dict[DeltaStatus, ChangeStatus] = {
    DeltaStatus.ADDED: "added",
    DeltaStatus.DELETED: "deleted",
    DeltaStatus.MODIFIED: "modified",
    DeltaStatus.RENAMED: "renamed",
    DeltaStatus.TYPECHANGE: "typechange",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two trees; `cut` says that the patch does not show all of it."""

    files: tuple[Change, ...]
    patch: str
    cut: bool


def compare(mirror: Mirror, old: str, new: str, limit: int = PATCH_LIMIT) -> Comparison:
    """Compare two commits or trees; the patch shows whole files within `limit` bytes.

    Raises Refused where the mirror lacks one of them.
    """
    repo = open_repository(mirror)
    files, parts, size, cut = [], [], 0, False
    for patch in _patches(repo, old, new):
        files.append(_change(repo, patch))
        if cut:
            continue
        data = patch.data
        size += len(data)
        cut = size > limit
        if not cut:
            parts.append(data.decode("utf-8", "replace"))
    if cut:
        parts.append(f"… cut: the difference is larger than {limit} bytes.\n")
    return Comparison(tuple(files), "".join(parts), cut)


def changes(mirror: Mirror, old: str, new: str) -> tuple[Change, ...]:
    """Return what differs between two commits or trees, in the order of paths."""
    repo = open_repository(mirror)
    return tuple(_change(repo, patch) for patch in _patches(repo, old, new))


def _patches(repo: pygit2.Repository, old: str, new: str) -> Iterator[pygit2.Patch]:
    difference = tree_at(repo, old).diff_to_tree(
        tree_at(repo, new), flags=DiffOption.INCLUDE_TYPECHANGE
    )
    difference.find_similar(DiffFind.FIND_RENAMES, rename_limit=RENAME_LIMIT)
    for patch in difference:
        assert patch is not None, "only an unchanged file has no patch"
        yield patch


def _change(repo: pygit2.Repository, patch: pygit2.Patch) -> Change:
    delta = patch.delta
    old, new = delta.old_file, delta.new_file
    status = _STATUS[delta.status]
    if status == "modified" and old.id == new.id:
        status = "mode"
    if status == "typechange":
        patch = _typechange(repo, delta) or patch
    binary = bool(patch.delta.is_binary)
    _, added, deleted = (0, 0, 0) if binary else patch.line_stats
    return Change(
        path=text(new.raw_path),
        old_path=text(old.raw_path) if status == "renamed" else None,
        status=status,
        old_mode=0 if status == "added" else int(old.mode),
        new_mode=0 if status == "deleted" else int(new.mode),
        added=added,
        deleted=deleted,
        binary=binary,
        size=_size(repo, new) if status != "deleted" else 0,
    )


def _typechange(repo: pygit2.Repository, delta: pygit2.DiffDelta) -> pygit2.Patch | None:
    """Compare a link's target with a file's content, of which libgit2 by itself counts no line."""
    old, new = lookup(repo, str(delta.old_file.id)), lookup(repo, str(delta.new_file.id))
    if isinstance(old, pygit2.Blob) and isinstance(new, pygit2.Blob):
        return old.diff(new)
    return None


def _size(repo: pygit2.Repository, file: pygit2.DiffFile) -> int:
    """Return the bytes of a file; a submodule is another repository's commit, and has none."""
    return 0 if file.mode == FileMode.COMMIT else repo.odb.read_header(file.id)[1]
