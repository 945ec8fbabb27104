"""Two trees side by side: what differs between them, without a look at what is the same.

The cost follows what differs: an equal folder is one comparison, however much is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from bot.errors import Refused

from .repository import Mirror, kept_open, open_repository, tree_at
from .shelf import Shelf, stamp_of
from .trees import (
    Entry,
    Reader,
    end_of_entries,
    end_of_entry,
    entry_of,
    is_folder,
    name_of,
    parse,
)

KEPT_BYTES = 8 * 1024 * 1024
"""Bytes of trees that a thread keeps at hand of a mirror, which taken apart are four times as much:
the folders of a thousand files of 57,000, before and after."""
KEPT_PATHS = 20_000
"""Paths that differ which a thread keeps of a mirror, some 5 MB, and all of the last comparison: a
checkpoint's are asked for again when it is judged and shown."""

Pair = tuple[bytes, Entry | None, Entry | None]
"""A path with what stands there in the one tree and in the other: no folders, None for nothing."""

Line = bytes
"""An entry of a tree as it stands in it."""

_Found = tuple[bytes, Line | None, Line | None]

Lines = Sequence[_Found]
"""Paths that differ, in order, with their lines in the one tree and in the other."""

_ID, _ID_AND_END = 20, 21
_FOLDERS_FIRST = ord("4")
"""What the line of a folder begins with, and no other: its mode has five digits, others six."""

_Folders = tuple[bytes, bytes | None, bytes | None]
"""A folder's path with a slash, and its trees."""


class _Side(NamedTuple):
    """Entries of a tree, to be compared with those of another."""

    lines: frozenset[Line]
    named: Mapping[bytes, Line]


class Trees(Reader):
    """The trees of a mirror as a thread reads them, those that it read before at hand already."""

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(open_repository(mirror))
        self._mirror = mirror
        self._shelf = Shelf(mirror)
        self._raw: dict[bytes, bytes] = {}
        self._compared: dict[tuple[bytes | None, bytes | None], Lines] = {}
        self._kept = 0

    def raw(self, oid: bytes) -> bytes:
        """Return a tree as it is stored; KeyError where it is absent or no tree."""
        data = self._raw.get(oid)
        if data is None:
            data = self._shelf.find(oid) or super().raw(oid)
            self.keep({oid: data})
        return data

    def keep(self, trees: Mapping[bytes, bytes]) -> None:
        """Keep at hand trees that are in the mirror, by their ids."""
        self._raw.update(trees)
        self._kept += sum(map(len, trees.values()))

    def has_read(self, oid: bytes) -> bool:
        """Whether the tree was read lately, and so is there; libgit2 takes longer to say no."""
        return oid in self._raw

    def compared(self, old: bytes | None, new: bytes | None) -> Lines:
        """Return what differs between two trees, from before where they were compared lately.

        That is asked for more than once of a checkpoint: by the rules, the page and the thread.
        """
        found = self._compared.pop((old, new), None)
        if found is None:
            found = _compared(self, old, new)
        self._compared[old, new] = found
        while sum(map(len, self._compared.values())) > KEPT_PATHS and len(self._compared) > 1:
            del self._compared[next(iter(self._compared))]
        return found

    def freshen(self) -> None:
        """Take note of trees that were put at hand; let go of those kept where they are many."""
        if stamp_of(self._mirror) != self._shelf.stamp:
            self._shelf = Shelf(self._mirror)
        if self._kept > KEPT_BYTES:
            for kept in (self._raw, self._parsed, self._compared):
                kept.clear()
            self._kept = 0


def trees_of(mirror: Mirror) -> Trees:
    """Return the mirror's trees; they stay on the calling thread."""
    trees = kept_open(mirror, Trees)
    trees.freshen()
    return trees


def root(mirror: Mirror, revision: str) -> bytes:
    """Return the id of a commit's tree, or of a tree, in 20 bytes; raises Refused where absent."""
    return tree_at(open_repository(mirror), revision).id.raw


def differing(trees: Trees, old: bytes | None, new: bytes | None) -> list[Pair]:
    """Return every path that differs, in the order of paths.

    Raises Refused where a tree is not in the mirror.
    """
    return [
        (path, None if was is None else entry_of(was), None if now is None else entry_of(now))
        for path, was, now in differing_lines(trees, old, new)
    ]


def differing_lines(trees: Trees, old: bytes | None, new: bytes | None) -> Lines:
    """Return every path that differs, with the lines of the trees, which need not be taken apart.

    Raises Refused where a tree is not in the mirror.
    """
    return trees.compared(old, new)


def _compared(trees: Trees, old: bytes | None, new: bytes | None) -> Lines:
    found: list[_Found] = []
    pending: list[_Folders] = [] if old == new else [(b"", old, new)]
    try:
        while pending:
            prefix, was, now = pending.pop()
            _compare(prefix, *_sides(trees, was, now), found, pending)
    except KeyError as error:
        raise Refused("A tree is missing in the mirror; fetch and try again.") from error
    found.sort(key=itemgetter(0))
    return found


def _sides(trees: Trees, was: bytes | None, now: bytes | None) -> tuple[_Side, _Side]:
    """Return of two trees at least what one has and the other has not; none for no tree."""
    before, after = (b"" if oid is None else trees.raw(oid) for oid in (was, now))
    return _between(before, after)


def _compare(
    prefix: bytes, before: _Side, after: _Side, found: list[_Found], pending: list[_Folders]
) -> None:
    """Add what differs in a folder itself to `found`, and the folders in it to `pending`.

    No step in Python is made for what is equal, and few for a change of what stays what it is.
    """
    come = 0
    for line in after.lines - before.lines:
        folder = line[0] == _FOLDERS_FIRST
        name = line[6:-_ID_AND_END] if folder else line[7:-_ID_AND_END]
        was = before.named.get(name)
        if was is None or folder != (was[0] == _FOLDERS_FIRST):
            come += was is None
            _add(prefix + name, was, line, found, pending)
        elif folder:
            pending.append((prefix + name + b"/", was[-_ID:], line[-_ID:]))
        else:
            found.append((prefix + name, was, line))
    if len(before.lines) + come > len(after.lines):
        for line in before.lines - after.lines:
            name = name_of(line)
            if name not in after.named:
                _add(prefix + name, line, None, found, pending)


def _add(
    path: bytes,
    was: Line | None,
    now: Line | None,
    found: list[_Found],
    pending: list[_Folders],
) -> None:
    """Add what comes or goes, or takes the place of something else."""
    below = was[-_ID:] if was is not None and is_folder(was) else None
    above = now[-_ID:] if now is not None and is_folder(now) else None
    if below is not None or above is not None:
        pending.append((path + b"/", below, above))
    was, now = None if below else was, None if above else now
    if was is not None or now is not None:
        found.append((path, was, now))


def _between(before: bytes, after: bytes) -> tuple[_Side, _Side]:
    """Take apart what lies between the entries that two trees begin with and those they end with.

    Comparing bytes takes a hundredth of the time of taking a tree apart.
    """
    start = end_of_entries(before, 0, _common(before, after))
    same = _common_end(before, after, start)
    end, stop = (_end(raw, start, len(raw) - same) for raw in (before, after))
    if len(before) - end != len(after) - stop:
        # The same bytes, but of them one is within an entry where the other begins one.
        end, stop = len(before), len(after)
    return _side(before[start:end]), _side(after[start:stop])


def _end(raw: bytes, start: int, least: int) -> int:
    """Return where the entry that `least` lies in ends, `least` itself where one begins there."""
    end = end_of_entries(raw, start, least)
    return end if end == least else end_of_entry(raw, end)


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_end(one: bytes, other: bytes, start: int) -> int:
    """Return how many bytes both end with, those before `start` left out."""
    ends, to = len(one), len(other)
    low, high = 0, min(ends, to) - start
    while low < high:
        middle = (low + high + 1) // 2
        if one[ends - middle : ends - low] == other[to - middle : to - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _side(raw: bytes) -> _Side:
    named = parse(raw)
    return _Side(frozenset(named.values()), named)
