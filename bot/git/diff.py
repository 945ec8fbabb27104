"""What changed between two trees: path by path with figures, and as a patch that people read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pygit2
from pygit2.enums import DeltaStatus, DiffFind, DiffOption, FileMode

from policies.facts import Change, ChangeStatus

from .program import text
from .repository import Mirror, lookup, open_repository
from .sparse import sparse
from .trees import EXECUTABLE, FILE, LINK, SUBMODULE, Entry
from .walk import Pair, differing, root, trees_of

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


_MODES = {mode: int(mode, 8) for mode in (FILE, EXECUTABLE, LINK, SUBMODULE)}
_SAME = {mode: ("modified", number, number) for mode, number in _MODES.items()}
_SPECIAL = frozenset({LINK, SUBMODULE})


class Named(NamedTuple):
    """A path that differs, by its name and modes alone; 0 is the mode of what is not there."""

    path: str
    status: ChangeStatus
    old_mode: int
    new_mode: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two trees; `cut` says that the patch does not show all of it."""

    files: tuple[Change, ...]
    patch: str
    cut: bool


def names(mirror: Mirror, old: str, new: str) -> list[Named]:
    """Name what differs between two commits or trees, in the order of paths, by trees alone.

    No content is read, and a rename is what it is in them: one path gone, another come. Raises
    Refused where the mirror lacks one of the two.
    """
    made, same = tuple.__new__, _SAME
    return [
        # What nearly all are is made here: a call for each would double the time.
        made(Named, (path.decode("utf-8", "surrogateescape"), *same[now[0]]))
        if was and now and was[0] == now[0] and now[0] in same
        else _named(text(path), was, now)
        for path, was, now in _pairs(mirror, old, new)
    ]


def compare(mirror: Mirror, old: str, new: str, limit: int = PATCH_LIMIT) -> Comparison:
    """Compare two commits or trees; the patch shows whole files within `limit` bytes.

    Raises Refused where the mirror lacks one of them.
    """
    repo = open_repository(mirror)
    files, parts, size, cut = [], [], 0, False
    for patch in _patches(mirror, old, new):
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
    return tuple(_change(repo, patch) for patch in _patches(mirror, old, new))


def _pairs(mirror: Mirror, old: str, new: str) -> list[Pair]:
    return differing(trees_of(mirror), root(mirror, old), root(mirror, new))


def _named(name: str, was: Entry | None, now: Entry | None) -> Named:
    if was is None or now is None:
        mode = _mode(was or now)
        return Named(name, "deleted", mode, 0) if was else Named(name, "added", 0, mode)
    if was[0] == now[0]:
        mode = _mode(now)
        return Named(name, "modified", mode, mode)
    status: ChangeStatus = "mode" if was[1] == now[1] else "modified"
    if was[0] in _SPECIAL or now[0] in _SPECIAL:
        status = "typechange"
    return Named(name, status, _mode(was), _mode(now))


def _mode(entry: Entry | None) -> int:
    assert entry is not None, "what differs stands on one side at least"
    # Very old trees have a few more modes than git writes now.
    return _MODES.get(entry[0]) or int(entry[0], 8)


def _patches(mirror: Mirror, old: str, new: str) -> Iterator[pygit2.Patch]:
    before, after = sparse(mirror).trees(_pairs(mirror, old, new))
    difference = before.diff_to_tree(after, flags=DiffOption.INCLUDE_TYPECHANGE)
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
