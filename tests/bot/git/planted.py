"""Trees of any files, for the tests that try many."""

from __future__ import annotations

import pygit2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bot.git.mirror import Mirror

from .conftest import sh

Files = dict[str, tuple[int, str]]
"""Modes and contents by path; of those that cannot stand together the later one does."""

NAMES = st.sampled_from(["a", "a.b", "b", "c"])
"""`a.b` sorts before what is in the folder `a`, and after the file `a`."""
MODES = st.sampled_from([0o100644, 0o100755, 0o120000])
TEXTS = st.sampled_from(["x", "y", "z\n", "".join(f"{n}\n" for n in range(20))])
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.tuples(MODES, TEXTS), max_size=8
)

many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""Examples share the mirror: what one leaves there is in no other's way."""


def plant(mirror: Mirror, files: Files) -> str:
    """Write a tree, without an index of anything else; return its id."""
    kept: Files = {}
    for path, file in files.items():
        for other in list(kept):
            if path.startswith(other + "/") or other.startswith(path + "/"):
                del kept[other]
        kept[path] = file
    repo = pygit2.Repository(str(mirror.path))
    index = pygit2.Index()
    for path, (mode, content) in kept.items():
        blob = repo.create_blob(content.encode())
        index.add(pygit2.IndexEntry(path, blob, pygit2.enums.FileMode(mode)))
    return str(index.write_tree(repo))


def listed(mirror: Mirror, tree: str) -> dict[str, str]:
    """Return mode, kind and id of each file of a tree, as git lists them."""
    out = sh(mirror.path, "ls-tree", "-r", "-z", tree)
    return {line.split("\t")[1]: line.split("\t")[0] for line in out.split("\0") if line}
