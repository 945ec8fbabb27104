"""How a mirror is opened with pygit2: no configuration but its own, and everything made durable."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import pygit2
from pygit2.enums import ConfigLevel

from bot.errors import Refused

# A user's configuration must change nothing, here as in the git program.
for _level in (ConfigLevel.SYSTEM, ConfigLevel.GLOBAL, ConfigLevel.XDG):
    pygit2.settings.search_path[_level] = ""
pygit2.settings.enable_fsync_gitdir(True)

# Each object that is read would be hashed once more, which takes longer than to read it. What is
# deflated carries a sum of its own; git, too, hashes only where something is fetched or examined.
pygit2.settings.enable_strict_hash_verification(False)

HANDLES = 8
"""Mirrors that a process's first thread keeps open: opening one anew costs some milliseconds and a
cold cache. That is the thread of a git worker …"""

HANDLES_BESIDE = 1
"""… and this is what every other one keeps: a server has dozens, which look at a mirror now and
then, and what all of them keep open is as many files for each of them."""

CACHE_BYTES = 32 * 1024 * 1024
"""What libgit2 may keep of objects in a process; its own 256 MB are more than a server may take."""

pygit2.settings.cache_max_size(CACHE_BYTES)


@dataclass(frozen=True, slots=True)
class Mirror:
    """A bare repository of ours at `path`: the remote's branches, and our own refs beside them."""

    path: Path


Stamp = tuple[int, int, int, int]
"""What tells a mirror from another one at the same path, and from itself before a collection."""


_T = TypeVar("_T")


_Kept = tuple[Stamp, dict[Callable[[Mirror], Any], Any]]
"""What a mirror was when it was opened, and what was made of it since, by what made it."""


class _Handles(threading.local):
    """What a thread has open of mirrors; what was used last is at the end."""

    def __init__(self) -> None:
        self.kept: OrderedDict[Path, _Kept] = OrderedDict()
        is_first = threading.current_thread() is threading.main_thread()
        self.most = HANDLES if is_first else HANDLES_BESIDE


_handles = _Handles()
# A child must not share what its parent has open.
os.register_at_fork(after_in_child=lambda: _handles.kept.clear())


def open_repository(mirror: Mirror) -> pygit2.Repository:
    """Open the mirror, or return it as this thread has it open; all it gives stays on the thread.

    Raises Refused where there is no repository that pygit2 can read.
    """
    return kept_open(mirror, _open)


def kept_open(mirror: Mirror, make: Callable[[Mirror], _T]) -> _T:
    """Return what `make` once opened on this thread, as long as the mirror is the same."""
    stamp = _stamp(mirror)
    known = _handles.kept.pop(mirror.path, None)
    if stamp is None:
        return make(mirror)
    if known is None or known[0] != stamp:
        known = (stamp, {})
    _handles.kept[mirror.path] = known
    while len(_handles.kept) > _handles.most:
        _handles.kept.popitem(last=False)
    opened = known[1]
    if make not in opened:
        opened[make] = make(mirror)
    return cast("_T", opened[make])


def _stamp(mirror: Mirror) -> Stamp | None:
    """Return what changes when the mirror is made anew, configured otherwise, or packed anew.

    An open handle would go on to find what a collection has removed.
    """
    path = str(mirror.path)  # what pathlib does beside takes longer than to ask
    try:
        made = os.stat(f"{path}/config")  # noqa: PTH116
    except OSError:
        return None
    try:
        # git writes it whenever it packs anew, and at no other time.
        packed = os.stat(f"{path}/objects/info/packs").st_ctime_ns  # noqa: PTH116
    except OSError:
        packed = 0
    return made.st_dev, made.st_ino, made.st_ctime_ns, packed


def _open(mirror: Mirror) -> pygit2.Repository:
    try:
        return pygit2.Repository(str(mirror.path), pygit2.enums.RepositoryOpenFlag.BARE)
    except pygit2.GitError as error:
        raise Refused(f"The mirror {mirror.path.name} cannot be opened; fetch it anew.") from error


def lookup(repo: pygit2.Repository, sha: str) -> object | None:
    """Return the object `sha`, of any kind, or None where it is absent or no id at all."""
    try:
        return repo.get(sha)
    except ValueError:
        return None


def commit_of(repo: pygit2.Repository, sha: str) -> pygit2.Commit:
    """Return the commit `sha`; raises Refused where the mirror does not hold it."""
    found = lookup(repo, sha)
    if not isinstance(found, pygit2.Commit):
        raise Refused(f"The commit {sha[:12]} is not in the mirror; fetch and try again.")
    return found


def tree_at(repo: pygit2.Repository, sha: str) -> pygit2.Tree:
    """Return the tree of a commit, or the tree `sha` itself; raises Refused where absent."""
    found = lookup(repo, sha)
    if isinstance(found, pygit2.Commit):
        return found.tree
    if not isinstance(found, pygit2.Tree):
        raise Refused(f"The tree {sha[:12]} is not in the mirror; fetch and try again.")
    return found
