"""Trees that hold only what differs, in memory: what libgit2 compares then follows the change.

libgit2 walks both trees to their ends, whatever is equal in them: 10 ms for 57,000 files. From
these it finds the same differences, renames and patches, since all of them are about what differs.
"""

from __future__ import annotations

from collections.abc import Iterable

import pygit2
from pygit2.enums import ObjectType, RepositoryOpenFlag

from .pack import object_id
from .repository import Mirror, kept_open
from .trees import FOLDER, Entry, serialise
from .walk import Pair

_Entries = dict[bytes, Entry]
"""What lies in one folder, by name."""


class _Memory(pygit2.OdbBackend):
    """Objects that a repository finds beside its own, for as long as they are needed."""

    def __init__(self) -> None:
        super().__init__()
        self.trees: dict[bytes, bytes] = {}

    def read_cb(self, oid: pygit2.Oid) -> tuple[int, bytes]:
        return ObjectType.TREE, self.trees[oid.raw]

    def read_header_cb(self, oid: pygit2.Oid) -> tuple[int, int]:
        return ObjectType.TREE, len(self.trees[oid.raw])

    def exists_cb(self, oid: pygit2.Oid) -> bool:
        return oid.raw in self.trees

    def refresh_cb(self) -> None:
        """Nothing of it is elsewhere."""


class Sparse:
    """A handle of its own for sparse trees.

    Nothing else may use it: libgit2 calls back into Python, and where pygit2 goes to it through
    cffi (merges, checkouts) it has let go of the lock that this takes.
    """

    def __init__(self, mirror: Mirror) -> None:
        self.repo = pygit2.Repository(str(mirror.path), RepositoryOpenFlag.BARE)
        self._memory = _Memory()
        # Asked last: what is to be found here is in no pack.
        self.repo.odb.add_backend(self._memory, -1)

    def trees(self, pairs: Iterable[Pair]) -> tuple[pygit2.Tree, pygit2.Tree]:
        """Return the two trees that hold nothing but what `pairs` say; the last two are gone."""
        self._memory.trees.clear()
        pairs = list(pairs)
        old = self._tree({path: was for path, was, _ in pairs if was is not None})
        return old, self._tree({path: now for path, _, now in pairs if now is not None})

    def _tree(self, files: dict[bytes, Entry]) -> pygit2.Tree:
        folders: dict[bytes, _Entries] = {b"": {}}
        for path, entry in files.items():
            _folder(folders, path)[path.rpartition(b"/")[2]] = entry
        oid = b""
        # A folder's path is longer than that of the one above it: the root comes last.
        for path in sorted(folders, key=len, reverse=True):
            oid = self._add(serialise(folders[path]))
            if path:
                above, _, name = path.rpartition(b"/")
                folders[above][name] = (FOLDER, oid)
        found = self.repo[pygit2.Oid(raw=oid)]
        assert isinstance(found, pygit2.Tree), "nothing but trees is added"
        return found

    def _add(self, data: bytes) -> bytes:
        oid = object_id("tree", data)
        self._memory.trees[oid] = data
        return oid


def sparse(mirror: Mirror) -> Sparse:
    """Return this thread's handle for sparse trees of the mirror."""
    return kept_open(mirror, Sparse)


def _folder(folders: dict[bytes, _Entries], path: bytes) -> _Entries:
    """Return the folder that `path` lies in, made with all those above it."""
    above = path.rpartition(b"/")[0]
    found = folders.get(above)
    if found is None:
        found = folders[above] = {}
        while above:
            above = above.rpartition(b"/")[0]
            folders.setdefault(above, {})
    return found
