"""Two trees side by side: what differs between them, without a look at what is the same.

The cost follows what differs: an equal folder is one comparison, however much is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from operator import itemgetter, ne

from bot.errors import Refused

from .repository import Mirror, kept_open, open_repository, tree_at
from .shelf import Shelf, stamp_of
from .trees import Entry, Reader, entry_of, is_folder, lines_of, name_of

KEPT_BYTES = 8 * 1024 * 1024
"""Bytes of trees that a thread keeps at hand of a mirror, which taken apart are four times as much:
the folders of a thousand files of 57,000, before and after."""

Pair = tuple[bytes, Entry | None, Entry | None]
"""A path with what stands there in the one tree and in the other: no folders, None for nothing."""

Line = bytes
"""An entry of a tree as it stands in it."""

_Found = tuple[bytes, Line | None, Line | None]

_ID, _ID_AND_END = 20, 21
_FOLDERS_FIRST = ord("4")
"""What the line of a folder begins with, and no other: its mode has five digits, others six."""

_Folders = tuple[bytes, bytes | None, bytes | None]
"""A folder's path with a slash, and its trees."""


class Trees(Reader):
    """The trees of a mirror as a thread reads them, those that it read before at hand already."""

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(open_repository(mirror))
        self._mirror = mirror
        self._shelf = Shelf(mirror)
        self._raw: dict[bytes, bytes] = {}
        self._lines: dict[bytes, list[Line]] = {}
        self._kept = 0

    def lines(self, oid: bytes | None) -> list[Line]:
        """Return the entries of a tree as they stand in it; none for no tree."""
        if oid is None:
            return []
        found = self._lines.get(oid)
        if found is None:
            found = self._lines[oid] = lines_of(self.raw(oid))
        return found

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

    def freshen(self) -> None:
        """Take note of trees that were put at hand; let go of those kept where they are many."""
        if stamp_of(self._mirror) != self._shelf.stamp:
            self._shelf = Shelf(self._mirror)
        if self._kept > KEPT_BYTES:
            for kept in (self._raw, self._parsed, self._lines):
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


def differing_lines(
    trees: Trees, old: bytes | None, new: bytes | None
) -> list[tuple[bytes, Line | None, Line | None]]:
    """Return every path that differs, with the lines of the trees, which need not be taken apart.

    Raises Refused where a tree is not in the mirror.
    """
    found: list[_Found] = []
    pending: list[_Folders] = [] if old == new else [(b"", old, new)]
    try:
        while pending:
            prefix, was, now = pending.pop()
            before, after = trees.lines(was), trees.lines(now)
            if not _side_by_side(prefix, before, after, found, pending):
                _apart(prefix, before, after, found, pending)
    except KeyError as error:
        raise Refused("A tree is missing in the mirror; fetch and try again.") from error
    found.sort(key=itemgetter(0))
    return found


def _side_by_side(
    prefix: bytes,
    before: list[Line],
    after: list[Line],
    found: list[_Found],
    pending: list[_Folders],
) -> bool:
    """Compare folders that have the same names, with the same modes; say whether they have.

    Nearly all have: no step in Python for what is equal, and few for what is not.
    """
    if len(before) != len(after):
        return False
    pairs = list(compress(zip(before, after, strict=True), map(ne, before, after)))
    if [was[:-_ID] for was, _ in pairs] != [now[:-_ID] for _, now in pairs]:
        return False
    for was, now in pairs:
        if was[0] == _FOLDERS_FIRST:
            pending.append((prefix + was[6:-_ID_AND_END] + b"/", was[-_ID:], now[-_ID:]))
        else:
            found.append((prefix + was[7:-_ID_AND_END], was, now))
    return True


def _apart(
    prefix: bytes,
    before: list[Line],
    after: list[Line],
    found: list[_Found],
    pending: list[_Folders],
) -> None:
    """Compare folders of which one has what the other has not."""
    there, then = set(before), set(after)
    gone = {name_of(line): line for line in there - then}
    come = {name_of(line): line for line in then - there}
    for name in gone.keys() | come.keys():
        was, now, path = gone.get(name), come.get(name), prefix + name
        below = was[-_ID:] if was is not None and is_folder(was) else None
        above = now[-_ID:] if now is not None and is_folder(now) else None
        if below is not None or above is not None:
            pending.append((path + b"/", below, above))
            was, now = None if below else was, None if above else now
        if was is not None or now is not None:
            found.append((path, was, now))
