"""Two trees side by side: what differs between them, without a look at what is the same.

The cost follows what differs: an equal folder is one comparison, however much is in it.
"""

from __future__ import annotations

from operator import itemgetter

from bot.errors import Refused

from .repository import Mirror, kept_open, open_repository, tree_at
from .trees import FOLDER, Entries, Entry, Reader, parse

KEPT_BYTES = 6 * 1024 * 1024
"""Bytes of trees that a thread keeps parsed of a mirror, which then take six times as much memory:
the folders of a thousand files of 57,000, before and after."""

Pair = tuple[bytes, Entry | None, Entry | None]
"""A path with what stands there in the one tree and in the other: no folders, None for nothing."""

_Folders = tuple[bytes, bytes | None, bytes | None]
"""A folder's path with a slash, and its trees."""


class Trees(Reader):
    """The trees of a mirror as a thread reads them, those that it read before parsed already.

    Equal entries are one object, whatever trees they are in.
    """

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(open_repository(mirror))
        self._same: dict[Entry, Entry] = {}
        self._read = 0

    def entries(self, oid: bytes | None) -> Entries:
        """Return the entries of a tree; none for no tree. The result must not be changed."""
        if oid is None:
            return {}
        found = self._parsed.get(oid)
        if found is None:
            same = self._same.setdefault
            parsed = parse(self.raw(oid)).items()
            found = self._parsed[oid] = {name: same(entry, entry) for name, entry in parsed}
        return found

    def raw(self, oid: bytes) -> bytes:
        """Return a tree as it is stored; KeyError where it is absent or no tree."""
        data = super().raw(oid)
        self._read += len(data)
        return data

    def has_read(self, oid: bytes) -> bool:
        """Whether the tree was read lately, and so is there; libgit2 takes longer to say no."""
        return oid in self._parsed

    def forget_if_many(self) -> None:
        """Let go of what is kept where it has become too much."""
        if self._read > KEPT_BYTES:
            self._parsed.clear()
            self._same.clear()
            self._read = 0


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
    entries = trees.entries
    try:
        while pending:
            prefix, before, after = pending.pop()
            _compare(prefix, entries(before), entries(after), found, pending)
    except KeyError as error:
        raise Refused("A tree is missing in the mirror; fetch and try again.") from error
    found.sort(key=itemgetter(0))
    return found


def _compare(
    prefix: bytes, before: Entries, after: Entries, found: list[Pair], pending: list[_Folders]
) -> None:
    """Compare one folder's entries; those that are folders themselves are left pending."""
    was_at, added = before.get, 0
    # Equal entries are one object, and to compare objects takes half the time.
    for name in [name for name, now in after.items() if was_at(name) is not now]:
        was, now = was_at(name), after[name]
        if was is None:
            added += 1
        elif was[0] != FOLDER != now[0]:
            # The two usual cases: no call for each of them.
            found.append((prefix + name, was, now))
            continue
        elif was[0] == FOLDER == now[0]:
            pending.append((prefix + name + b"/", was[1], now[1]))
            continue
        _take_apart(prefix + name, was, now, found, pending)
    if len(before) + added > len(after):
        for name in before.keys() - after.keys():
            _take_apart(prefix + name, before[name], None, found, pending)


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
