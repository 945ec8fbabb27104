"""Trees as bytes: read, spliced and written without an index, so that the cost follows the change.

The form is git's own (gitformat: `mode SP name NUL id`, sorted as if folders ended in a slash).
"""

from __future__ import annotations

import re
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

Entries = dict[bytes, Entry]

_ENTRY = re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL)


def parse(raw: bytes) -> Entries:
    """Return the entries of a tree by name, in git's order."""
    return {name: (mode, oid) for mode, name, oid in _ENTRY.findall(raw)}


def serialise(entries: Mapping[bytes, Entry]) -> bytes:
    """Return a tree as git stores it, whatever the order of `entries`."""
    return _joined(sorted(entries.items(), key=_order))


def spliced(entries: Entries, changes: Mapping[bytes, Entry | None]) -> bytes:
    """Return the tree that has `changes` in place of those of `entries`; None takes one away.

    Sorted anew only where it must be: most changes replace a file by a file.
    """
    result, ordered = dict(entries), True
    for name, entry in changes.items():
        before = result.get(name)
        if entry is None:
            result.pop(name, None)
            continue
        ordered = ordered and before is not None and _is_folder(before) == _is_folder(entry)
        result[name] = entry
    return _joined(result.items()) if ordered else serialise(result)


class Reader:
    """The trees of a repository, each parsed once; `fresh` looks at those not written yet."""

    def __init__(
        self, repo: pygit2.Repository, fresh: Callable[[bytes], bytes | None] = lambda _: None
    ) -> None:
        self._odb = repo.odb
        self._fresh = fresh
        self._parsed: dict[bytes, Entries] = {}

    def entries(self, oid: bytes | None) -> Entries:
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


def _order(item: tuple[bytes, Entry]) -> bytes:
    name, entry = item
    return name + b"/" if _is_folder(entry) else name


def _is_folder(entry: Entry) -> bool:
    return entry[0] == FOLDER


def _joined(items: object) -> bytes:
    return b"".join([b"%b %b\0%b" % (mode, name, oid) for name, (mode, oid) in items])  # type: ignore[attr-defined]
