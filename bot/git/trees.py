"""Trees as bytes: read, spliced and written without an index, so that the cost follows the change.

The form is git's own (gitformat: `mode SP name NUL id`, sorted as if folders ended in a slash).
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping

import pygit2
from pygit2.enums import ObjectType

FILE = b"100644"
EXECUTABLE = b"100755"
LINK = b"120000"
FOLDER = b"40000"
SUBMODULE = b"160000"

Entry = tuple[bytes, bytes]
"""What a name stands for: the mode as git writes it, and the id in 20 bytes."""

Lines = dict[bytes, bytes]
"""The entries of a tree by name, in git's order, each as the bytes that it is in the tree.

Most are never looked at: to take them apart, or to put them together again, would be most of the
work on a tree.
"""

_ENTRY = re.compile(rb"[0-7]+ [^\0]+\0.{20}", re.DOTALL)
_NAMED = re.compile(rb"([0-7]+ ([^\0]+)\0.{20})", re.DOTALL)
# Not possessive, which would be a third faster: before Python 3.11.5 that ends an entry too early.
_ENTRIES = re.compile(rb"(?:[0-7]+ [^\0]+\0.{20})*", re.DOTALL)
_MODE = re.compile(rb"[0-7]+")

FEW = 6
"""Names that are looked for in a tree as it is stored; for more it is taken apart, which takes
about as long as to look for so many."""
ONE_BY_ONE = 32
"""New entries of a tree that are put in place one by one; more are sorted with all others."""

_FOLDER = FOLDER + b" "
_ID, _ID_AND_END = 20, 21

_Edit = tuple[int, int, bytes]
"""Where in a tree something is taken out, up to where, and what is put in its place."""


class Tree:
    """The entries of a tree; a few of many are found without a look at all of them."""

    __slots__ = ("_lines", "_places", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._lines: Lines | None = None
        self._places: dict[bytes, tuple[int, bytes] | None] = {}

    def __bool__(self) -> bool:
        return bool(self.raw)

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def get(self, name: bytes) -> bytes | None:
        """Return the entry of that name as it stands in the tree, or None."""
        if self._lines is not None:
            return self._lines.get(name)
        if name not in self._places and len(self._places) >= FEW:
            return self.lines().get(name)
        place = self.place(name)
        return None if place is None else place[1]

    def lines(self) -> Lines:
        """Return all entries by name; the result must not be changed."""
        if self._lines is None:
            self._lines = parse(self.raw)
        return self._lines

    def place(self, name: bytes) -> tuple[int, bytes] | None:
        """Return where the entry of that name begins, and the entry; None where there is none."""
        if name not in self._places:
            self._places[name] = _find(self.raw, name)
        return self._places[name]

    def has_been_taken_apart(self) -> bool:
        """Whether all entries are at hand."""
        return self._lines is not None


def _find(raw: bytes, name: bytes) -> tuple[int, bytes] | None:
    sought = b" %b\0" % name
    at = raw.find(sought)
    while at >= 0:
        # The same bytes may stand within an id, or at the end of a name with a blank in it.
        start = end_of_entries(raw, 0, at)
        if _MODE.fullmatch(raw, start, at):
            return start, raw[start : at + len(sought) + _ID]
        at = raw.find(sought, at + 1)
    return None


def parse(raw: bytes) -> Lines:
    """Return the entries of a tree by name."""
    return {name: line for line, name in _NAMED.findall(raw)}


def lines_of(raw: bytes) -> list[bytes]:
    """Return the entries of a tree as they stand in it."""
    return _ENTRY.findall(raw)


def end_of_entries(raw: bytes, start: int, limit: int) -> int:
    """Return where the last entry ends that is whole before `limit`, `start` where none is.

    One begins at `start`.
    """
    found = _ENTRIES.match(raw, start, limit)
    return found.end() if found else start


def end_of_entry(raw: bytes, start: int) -> int:
    """Return where the entry ends that begins at `start`."""
    found = _ENTRY.match(raw, start)
    return found.end() if found else len(raw)


def entry_of(line: bytes) -> Entry:
    """Return what an entry of a tree stands for."""
    return line[: line.index(b" ")], line[-_ID:]


def name_of(line: bytes) -> bytes:
    """Return the name of an entry of a tree."""
    return line[line.index(b" ") + 1 : -_ID_AND_END]


def line_of(name: bytes, entry: Entry) -> bytes:
    """Return an entry as it stands in a tree."""
    return b"%b %b\0%b" % (entry[0], name, entry[1])


def is_folder(line: bytes) -> bool:
    """Whether an entry of a tree is a folder."""
    return line.startswith(_FOLDER)


def serialise(entries: Mapping[bytes, Entry]) -> bytes:
    """Return a tree as git stores it, whatever the order of `entries`."""
    return _in_order(line_of(name, entry) for name, entry in entries.items())


def spliced(tree: Tree, changes: Mapping[bytes, Entry | None]) -> bytes:
    """Return the tree that has `changes` in place of those of `tree`; None takes one away.

    What is not changed is copied, and not looked at.
    """
    if tree.has_been_taken_apart() or len(changes) > FEW:
        return _put_together(tree.lines(), changes)
    edits: list[_Edit] = []
    new: list[bytes] = []
    for name, entry in changes.items():
        line, place = None if entry is None else line_of(name, entry), tree.place(name)
        stays = line is not None and place is not None and is_folder(line) == is_folder(place[1])
        if place is not None:
            edits.append((place[0], place[0] + len(place[1]), line if stays and line else b""))
        if line is not None and not stays:
            new.append(line)
    if new:
        edits += _insertions(tree.raw, new)
    return _edited(tree.raw, edits)


def _put_together(lines: Lines, changes: Mapping[bytes, Entry | None]) -> bytes:
    """Do what `spliced` does, by all the entries of a tree."""
    result, new = dict(lines), []
    for name, entry in changes.items():
        line = None if entry is None else line_of(name, entry)
        before = result.get(name)
        if line is not None and before is not None and is_folder(before) == is_folder(line):
            result[name] = line
            continue
        result.pop(name, None)
        if line is not None:
            new.append(line)
    found = list(result.values())
    if len(new) > ONE_BY_ONE:
        return _in_order([*found, *new])
    for line in new:
        insort(found, line, key=_order)
    return b"".join(found)


def _in_order(lines: Iterable[bytes]) -> bytes:
    ordered: list[bytes] = sorted(lines, key=_order)
    return b"".join(ordered)


def _insertions(raw: bytes, new: Iterable[bytes]) -> list[_Edit]:
    """Say where in a tree new entries have their places, those of one place in order."""
    there = lines_of(raw)
    found = []
    for line in sorted(new, key=_order):
        before = bisect_left(there, _order(line), key=_order)
        at = sum(map(len, there[:before]))
        found.append((at, at, line))
    return found


def _edited(raw: bytes, edits: list[_Edit]) -> bytes:
    # What is put in comes before what is taken out at the same place, each in its order.
    edits.sort(key=lambda edit: edit[:2])
    parts, done = [], 0
    for start, end, put in edits:
        parts += [raw[done:start], put]
        done = end
    parts.append(raw[done:])
    return b"".join(parts)


class Reader:
    """The trees of a repository, each read once."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self._odb = repo.odb
        self._parsed: dict[bytes, Tree] = {}

    def entries(self, oid: bytes | None) -> Tree:
        """Return the entries of a tree; none for no tree."""
        if oid is None:
            return Tree(b"")
        found = self._parsed.get(oid)
        if found is None:
            found = self._parsed[oid] = Tree(self.raw(oid))
        return found

    def blob(self, oid: bytes) -> bytes:
        """Return the content of a blob; KeyError where it is absent."""
        data: bytes = self._odb.read(pygit2.Oid(raw=oid))[1]
        return data

    def size(self, oid: bytes) -> int:
        """Return the bytes of an object's content, unread; KeyError where it is absent."""
        return int(self._odb.read_header(pygit2.Oid(raw=oid))[1])

    def raw(self, oid: bytes) -> bytes:
        """Return a tree as it is stored; KeyError where it is absent or no tree."""
        kind, data = self._odb.read(pygit2.Oid(raw=oid))
        if kind != ObjectType.TREE:
            raise KeyError(oid.hex())
        return data


def _order(line: bytes) -> bytes:
    """Return what git sorts entries by: a folder's name ends in a slash."""
    return name_of(line) + b"/" if is_folder(line) else name_of(line)
