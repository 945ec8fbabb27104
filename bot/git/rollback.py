"""Going back: the tree of an earlier commit, whole or in part, as a new commit on top.

The cost follows what differs between the two: what is equal is neither read nor written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from policies.globs import compile_globs, normal

from .checkpoint import Identity, commit_bytes
from .pack import Pack
from .program import text
from .refs import set_ref
from .repository import Mirror, commit_of, open_repository
from .splice import put
from .walk import differing, root, trees_of

Selects = Callable[[str], bool]
"""Says of a path whether it goes back."""


def restore(mirror: Mirror, head: str, target: str, selects: Selects | None = None) -> str:
    """Return the tree that has `target`'s content at the paths selected, and `head`'s elsewhere.

    Without `selects` it is exactly the tree of `target`. A restored file takes the place of
    whatever lies in its way. The tree is durable. Raises Refused where the mirror lacks a commit.
    """
    pack = Pack(mirror)
    tree = _restored(mirror, pack, head, target, selects)
    pack.write()
    return tree.hex()


def restore_meant(mirror: Mirror, head: str, target: str, globs: tuple[str, ...]) -> str:
    """Restore what gitignore-style globs mean."""
    meant = compile_globs(globs)
    return restore(mirror, head, target, lambda path: meant.match(normal(path)))


def restore_paths(mirror: Mirror, head: str, target: str, paths: frozenset[str]) -> str:
    """Restore some paths, and what is below those that are folders on either side."""
    return restore(mirror, head, target, lambda path: not paths.isdisjoint(_and_above(path)))


def _and_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def roll_back(
    mirror: Mirror,
    *,
    head: str,
    target: str,
    message: str,
    author: Identity,
    committer: Identity,
    at: datetime,
    ref: str | None = None,
    selects: Selects | None = None,
) -> str:
    """Commit on top of `head` what `restore` gives, move `ref` from `head` to it; return its id.

    The commit and its trees are one durable pack. Raises as `checkpoint.commit` does.
    """
    parent = str(commit_of(open_repository(mirror), head).id)
    pack = Pack(mirror)
    tree = _restored(mirror, pack, head, target, selects).hex()
    made = commit_bytes(tree, [parent], message, author.line(at), committer.line(at))
    sha = pack.add("commit", made).hex()
    trees_of(mirror).keep(pack.write())
    if ref is not None:
        set_ref(mirror, ref, sha, parent)
    return sha


def _restored(mirror: Mirror, pack: Pack, head: str, target: str, selects: Selects | None) -> bytes:
    now, wanted = root(mirror, head), root(mirror, target)
    if selects is None or now == wanted:
        return wanted
    trees = trees_of(mirror)
    back = {path: then for path, _, then in differing(trees, now, wanted) if selects(text(path))}
    return put(trees, pack, now, back) if back else now
