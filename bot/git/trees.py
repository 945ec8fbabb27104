"""Trees as bytes: read, spliced and written without an index, so that the cost follows the change.

The form is git's own (gitformat: `mode SP name NUL id`, sorted as if folders ended in a slash).
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Callable, Mapping

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
FEW = 32
"""New entries of a tree that are put in place one by one; more are sorted with all others."""

_FOLDER = FOLDER + b" "
_ID = 20


def parse(raw: bytes) -> Lines:
    """Return the entries of a tree by name."""
    return {name: line for line, name in _NAMED.findall(raw)}


def lines_of(raw: bytes) -> list[bytes]:
    """Return the entries of a tree as they stand in it."""
    return _ENTRY.findall(raw)


def entry_of(line: bytes) -> Entry:
    """Return what an entry of a tree stands for."""
    return line[: line.index(b" ")], line[-_ID:]


def name_of(line: bytes) -> bytes:
    """Return the name of an entry of a tree."""
    return line[line.index(b" ") + 1 : -_ID - 1]


def is_folder(line: bytes) -> bool:
    """Whether an entry of a tree is a folder."""
    return line.startswith(_FOLDER)


def serialise(entries: Mapping[bytes, Entry]) -> bytes:
    """Return a tree as git stores it, whatever the order of `entries`."""
    return spliced({}, entries)


def spliced(lines: Lines, changes: Mapping[bytes, Entry | None]) -> bytes:
    """Return the tree that has `changes` in place of those of `lines`; None takes one away.

    What is new finds its place among what is in order already.
    """
    result, new = dict(lines), []
    for name, entry in changes.items():
        line = None if entry is None else _line(name, entry)
        before = result.get(name)
        if line is not None and before is not None and is_folder(before) == is_folder(line):
            result[name] = line
            continue
        result.pop(name, None)
        if line is not None:
            new.append(line)
    found = list(result.values())
    if len(new) > FEW:
        found = sorted([*found, *new], key=_order)
    else:
        for line in new:
            insort(found, line, key=_order)
    return b"".join(found)


class Reader:
    """The trees of a repository, each parsed once; `fresh` looks at those not written yet."""

    def __init__(
        self, repo: pygit2.Repository, fresh: Callable[[bytes], bytes | None] = lambda _: None
    ) -> None:
        self._odb = repo.odb
        self._fresh = fresh
        self._parsed: dict[bytes, Lines] = {}

    def entries(self, oid: bytes | None) -> Lines:
        """Return the entries of a tree; none for no tree. The result must not be changed."""
        if oid is None:
            return {}
        found = self._parsed.get(oid)
        if found is None:
            found = self._parsed[oid] = parse(self.raw(oid))
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
        if (fresh := self._fresh(oid)) is not None:
            return fresh
        kind, data = self._odb.read(pygit2.Oid(raw=oid))
        if kind != ObjectType.TREE:
            raise KeyError(oid.hex())
        return data


def _line(name: bytes, entry: Entry) -> bytes:
    return b"%b %b\0%b" % (entry[0], name, entry[1])


def _order(line: bytes) -> bytes:
    """Return what git sorts entries by: a folder's name ends in a slash."""
    return name_of(line) + b"/" if is_folder(line) else name_of(line)
