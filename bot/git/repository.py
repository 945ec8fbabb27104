"""How a mirror is opened with pygit2: no configuration but its own, and everything made durable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel

from bot.errors import Refused

# A user's configuration must change nothing, here as in the git program.
for _level in (ConfigLevel.SYSTEM, ConfigLevel.GLOBAL, ConfigLevel.XDG):
    pygit2.settings.search_path[_level] = ""
pygit2.settings.enable_fsync_gitdir(True)


@dataclass(frozen=True, slots=True)
class Mirror:
    """A bare repository of ours at `path`: the remote's branches, and our own refs beside them."""

    path: Path


def open_repository(mirror: Mirror) -> pygit2.Repository:
    """Open the mirror; the handle and all it gives stay on the calling thread.

    Raises Refused where there is no repository that pygit2 can read.
    """
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
