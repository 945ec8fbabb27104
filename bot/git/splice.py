"""Files put into a tree: only the folders above them are read, and written anew."""

from __future__ import annotations

from collections.abc import Mapping

from .pack import Pack, object_id
from .trees import FOLDER, Entry, entry_of, spliced
from .walk import Trees

_Changes = dict[bytes, Entry | None]
"""What becomes of the names of one folder; None takes one away."""


def put(trees: Trees, pack: Pack, tree: bytes, files: Mapping[bytes, Entry | None]) -> bytes:
    """Return `tree` with `files` in it, those of None gone, and no folder left empty.

    A file takes the place of what lies in its way. The trees that are new go into the pack.
    """
    folders = _by_folder(files)
    before = _trees_at(trees, tree, folders)
    made = tree
    # A folder's path is longer than that of the one above it: the root comes last.
    for path in sorted(folders, key=len, reverse=True):
        data = spliced(trees.entries(before[path]), folders[path])
        made = object_id("tree", data)
        if not trees.has_read(made):
            pack.add("tree", data)
        if path:
            above, _, name = path.rpartition(b"/")
            if folders[above].get(name) is None:  # else a file takes the folder's place
                folders[above][name] = (FOLDER, made) if data else None
    return made


def _by_folder(files: Mapping[bytes, Entry | None]) -> dict[bytes, _Changes]:
    """Sort changes by the folders that they are in; those above are there too."""
    folders: dict[bytes, _Changes] = {b"": {}}
    for path, entry in files.items():
        above, _, name = path.rpartition(b"/")
        folders.setdefault(above, {})[name] = entry
        while above:
            above = above.rpartition(b"/")[0]
            folders.setdefault(above, {})
    return folders


def _trees_at(
    trees: Trees, tree: bytes, folders: Mapping[bytes, _Changes]
) -> dict[bytes, bytes | None]:
    """Find the trees of folders, None where there is no folder now."""
    found: dict[bytes, bytes | None] = {b"": tree}
    for path in sorted(folders, key=len):
        if path:
            above, _, name = path.rpartition(b"/")
            line = trees.entries(found[above]).get(name)
            mode, oid = entry_of(line) if line is not None else (b"", b"")
            found[path] = oid if mode == FOLDER else None
    return found
