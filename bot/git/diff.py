"""What changed between two trees: path by path with figures, and as a patch that people read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pygit2
from pygit2.enums import DeltaStatus, DiffFind, DiffOption, FileMode

from policies.facts import Change, ChangeStatus

from .lines import counted
from .program import text
from .repository import Mirror, lookup, open_repository
from .sparse import sparse
from .trees import EXECUTABLE, FILE, LINK, SUBMODULE, Entry
from .walk import Line, Pair, differing, differing_lines, root, trees_of

PATCH_LIMIT = 1_000_000
"""Bytes of a patch; GitHub's own pages stop at 1 MB of a single file, and people long before."""
RENAME_LIMIT = 1000
"""Files that went which one that came is compared with; git's own limit (diff.renameLimit)."""
RENAME_PAIRS = 40_000
"""Pairs of files that are compared with one another, at some 8 us each; with more, a file that was
moved and changed is told as one that went and one that came. What only moved is always found."""
_STATUS: dict[DeltaStatus, ChangeStatus] = {
    DeltaStatus.ADDED: "added",
    DeltaStatus.DELETED: "deleted",
    DeltaStatus.MODIFIED: "modified",
    DeltaStatus.RENAMED: "renamed",
    DeltaStatus.TYPECHANGE: "typechange",
}
_PLAIN = frozenset({DeltaStatus.ADDED, DeltaStatus.DELETED, DeltaStatus.MODIFIED})
_REGULAR = frozenset({int(FILE, 8), int(EXECUTABLE, 8)})
_SPECIAL = frozenset({int(LINK, 8), int(SUBMODULE, 8)})

_Told = tuple[ChangeStatus, int, int]
"""What is told of a path besides its name."""

_Delta = tuple[pygit2.DiffDelta, pygit2.Diff, int]
"""What differs at a path, the difference that it is part of, and its number there."""


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
    lines = differing_lines(trees_of(mirror), root(mirror, old), root(mirror, new))
    made = tuple.__new__  # the class's own way, through Python, takes twice the time
    return [
        made(Named, (path.decode("utf-8", "surrogateescape"), *_MODIFIED[now[:6]]))
        if was and now and was[:6] == now[:6]
        else Named(text(path), *_compared(was, now))
        for path, was, now in lines
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
    return tuple(
        _counted(repo, delta) or _change(repo, _patch(difference, number))
        for delta, difference, number in _deltas(mirror, old, new)
    )


def _pairs(mirror: Mirror, old: str, new: str) -> list[Pair]:
    return differing(trees_of(mirror), root(mirror, old), root(mirror, new))


def _compared(was: Line | None, now: Line | None) -> _Told:
    if was is None:
        return "added", 0, _mode(now)
    if now is None:
        return "deleted", _mode(was), 0
    before, after = _mode(was), _mode(now)
    if before == after:
        return "modified", before, after
    if before in _SPECIAL or after in _SPECIAL:
        return "typechange", before, after
    return "mode" if was[-20:] == now[-20:] else "modified", before, after


def _mode(line: Line | None) -> int:
    assert line is not None, "what differs stands on one side at least"
    # Very old trees have a few more modes than git writes now.
    return int(line[: line.index(b" ")], 8)


class _Modified(dict[bytes, _Told]):
    """What is told of a file that has the same mode on both sides, by the line's beginning."""

    def __missing__(self, start: bytes) -> _Told:
        mode = int(start, 8)
        told = self[start] = ("modified", mode, mode)
        return told


_MODIFIED = _Modified()


def _patches(mirror: Mirror, old: str, new: str) -> Iterator[pygit2.Patch]:
    for _, difference, number in _deltas(mirror, old, new):
        yield _patch(difference, number)


def _patch(difference: pygit2.Diff, number: int) -> pygit2.Patch:
    patch = difference[number]
    assert patch is not None, "only an unchanged file has no patch"
    return patch


def _deltas(mirror: Mirror, old: str, new: str) -> list[_Delta]:
    """Return what differs, each in its difference under its number, in the order of new paths."""
    pairs = _pairs(mirror, old, new)
    moved = _moved(pairs)
    found = [
        (delta, difference, number)
        for difference in (
            _difference(mirror, [pair for pair in pairs if pair[0] not in moved]),
            _difference(mirror, [pair for pair in pairs if pair[0] in moved], exact=True),
        )
        for number, delta in enumerate(difference.deltas)
    ]
    found.sort(key=lambda each: each[0].new_file.raw_path)
    return found


def _difference(mirror: Mirror, pairs: Sequence[Pair], *, exact: bool = False) -> pygit2.Diff:
    before, after = sparse(mirror).trees(pairs)
    difference = before.diff_to_tree(after, flags=DiffOption.INCLUDE_TYPECHANGE)
    # What becomes another kind of thing goes and comes, too: another file may have moved there.
    gone = sum(now is None or _is_other(was, now) for _, was, now in pairs)
    come = sum(was is None or _is_other(was, now) for _, was, now in pairs)
    how = DiffFind.FIND_RENAMES
    if exact or gone * come > RENAME_PAIRS:
        how |= DiffFind.FIND_EXACT_MATCH_ONLY
    if gone and come:
        difference.find_similar(how, rename_limit=RENAME_LIMIT)
    return difference


def _is_other(was: Entry | None, now: Entry | None) -> bool:
    """Whether something stands there on both sides, but not the same kind of thing."""
    if was is None or now is None or was[0] == now[0]:
        return False
    return not _REGULAR.issuperset((int(was[0], 8), int(now[0], 8)))


def _moved(pairs: Iterable[Pair]) -> frozenset[bytes]:
    """Return the paths, old and new, of files that moved as they are, where there is no choice.

    To compare them with all others, as libgit2 would, is most of the time of a large difference.
    """
    gone: dict[bytes, list[bytes]] = {}
    come: dict[bytes, list[bytes]] = {}
    for path, was, now in pairs:
        if was is not None and now is not None and not _is_other(was, now):
            continue
        for entry, there in ((was, gone), (now, come)):
            if entry is not None and int(entry[0], 8) in _REGULAR:
                # With the other kind that stood or stands there, there is a choice.
                there.setdefault(entry[1], []).extend([path] * (1 + (None not in (was, now))))
    return frozenset(
        path
        for oid in gone.keys() & come.keys()
        if len(gone[oid]) == len(come[oid]) == 1
        for path in (*gone[oid], *come[oid])
    )


def _counted(repo: pygit2.Repository, delta: pygit2.DiffDelta) -> Change | None:
    """Tell of a file whose lines need not be compared to be counted; None of all others."""
    old, new = delta.old_file, delta.new_file
    modes = [int(each.mode) for each in (old, new) if each.mode]
    if delta.status not in _PLAIN or not all(mode in _REGULAR for mode in modes):
        return None
    before = repo.odb.read(old.id)[1] if old.mode else b""
    after = repo.odb.read(new.id)[1] if new.mode else b""
    lines = counted(before, after)
    if lines is None:
        return None
    status = _STATUS[delta.status]
    return Change(
        path=text(new.raw_path),
        old_path=None,
        status="mode" if status == "modified" and old.id == new.id else status,
        old_mode=int(old.mode) if status != "added" else 0,
        new_mode=int(new.mode) if status != "deleted" else 0,
        added=lines[0],
        deleted=lines[1],
        binary=False,
        size=len(after),
    )


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
