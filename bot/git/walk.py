"""Two trees side by side: what differs between them, without a look at what is the same.

The cost follows what differs: an equal folder is one comparison, however much is in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress
from operator import is_not, itemgetter

from bot.errors import Refused

from .repository import Mirror, kept_open, open_repository, tree_at
from .trees import FOLDER, Entry, Reader

KEPT_BYTES = 6 * 1024 * 1024
"""Bytes of trees that a thread keeps parsed of a mirror, which then take six times as much memory:
the folders of a thousand files of 57,000, before and after."""

Pair = tuple[bytes, Entry | None, Entry | None]
"""A path with what stands there in the one tree and in the other: no folders, None for nothing."""

_Folders = tuple[bytes, bytes | None, bytes | None]
"""A folder's path with a slash, and its trees."""


Columns = tuple[tuple[bytes, ...], tuple[Entry, ...]]
"""A tree's names, and beside them what they stand for; equal ones are one object, in all trees."""


class Trees(Reader):
    """The trees of a mirror as a thread reads them, those that it read before parsed already."""

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(open_repository(mirror))
        self._columns: dict[bytes, Columns] = {}
        self._names: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}
        self._entries: dict[Entry, Entry] = {}
        self._read = 0

    def columns(self, oid: bytes | None) -> Columns:
        """Return names and entries of a tree; none for no tree."""
        if oid is None:
            return _NOTHING
        found = self._columns.get(oid)
        if found is None:
            one, parsed = self._entries.setdefault, self.entries(oid)
            names = tuple(parsed)
            entries = tuple([one(entry, entry) for entry in parsed.values()])
            found = self._columns[oid] = (self._names.setdefault(names, names), entries)
            del self._parsed[oid]  # Once is enough.
        return found

    def raw(self, oid: bytes) -> bytes:
        """Return a tree as it is stored; KeyError where it is absent or no tree."""
        data = super().raw(oid)
        self._read += len(data)
        return data

    def has_read(self, oid: bytes) -> bool:
        """Whether the tree was read lately, and so is there; libgit2 takes longer to say no."""
        return oid in self._columns or oid in self._parsed

    def forget_if_many(self) -> None:
        """Let go of what is kept where it has become too much."""
        if self._read > KEPT_BYTES:
            for kept in (self._columns, self._names, self._entries, self._parsed):
                kept.clear()
            self._read = 0


_NOTHING: Columns = ((), ())


def trees_of(mirror: Mirror) -> Trees:
    """Return the mirror's trees; they stay on the calling thread."""
    trees = kept_open(mirror, Trees)
    trees.forget_if_many()
    return trees


def root(mirror: Mirror, revision: str) -> bytes:
    """Return the id of a commit's tree, or of a tree, in 20 bytes; raises Refused where absent."""
    return tree_at(open_repository(mirror), revision).id.raw


def differing(trees: Trees, old: bytes | None, new: bytes | None) -> list[Pair]:
    """Return every path that differs, in the order of paths.

    Raises Refused where a tree is not in the mirror.
    """
    found: list[Pair] = []
    pending: list[_Folders] = [] if old == new else [(b"", old, new)]
    columns = trees.columns
    try:
        while pending:
            prefix, before, after = pending.pop()
            for name, was, now in _changed(columns(before), columns(after)):
                if was is None or now is None:
                    _take_apart(prefix + name, was, now, found, pending)
                elif was[0] != FOLDER != now[0]:
                    found.append((prefix + name, was, now))
                elif was[0] == FOLDER == now[0]:
                    pending.append((prefix + name + b"/", was[1], now[1]))
                else:
                    _take_apart(prefix + name, was, now, found, pending)
    except KeyError as error:
        raise Refused("A tree is missing in the mirror; fetch and try again.") from error
    found.sort(key=itemgetter(0))
    return found


def _changed(before: Columns, after: Columns) -> Iterable[Pair]:
    """Return the names that differ in one folder, each with what it stands for."""
    (names, was), (other, now) = before, after
    if names is other:
        # Nearly every folder: no step in Python for what is equal.
        return compress(zip(names, was, now, strict=True), map(is_not, was, now))
    old, new = dict(zip(names, was, strict=True)), dict(zip(other, now, strict=True))
    changed = [(name, old.get(name), entry) for name, entry in new.items()]
    gone = [(name, old[name], None) for name in old.keys() - new.keys()]
    return [each for each in (*changed, *gone) if each[1] is not each[2]]


def _take_apart(
    path: bytes, was: Entry | None, now: Entry | None, found: list[Pair], pending: list[_Folders]
) -> None:
    """Take what is no folder as found, and leave what is below a folder pending."""
    below = was[1] if was is not None and was[0] == FOLDER else None
    above = now[1] if now is not None and now[0] == FOLDER else None
    if below is not None or above is not None:
        pending.append((path + b"/", below, above))
    gone = was if below is None else None
    come = now if above is None else None
    if gone is not None or come is not None:
        found.append((path, gone, come))
