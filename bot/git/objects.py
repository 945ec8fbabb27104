"""What a commit holds, and how commits are related."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pygit2
from pygit2.enums import FileMode, SortMode

from bot.errors import Refused

from .program import text
from .repository import Mirror, commit_of, lookup, open_repository, tree_at
from .trailers import trailers_of

MAX_COMMITS = 1000
"""Commits that are listed unless told otherwise: more than a person reads."""
_REGULAR = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit as people see it, with its trailers by name."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    message: str
    trailers: dict[str, tuple[str, ...]]


def exists(mirror: Mirror, sha: str) -> bool:
    """Whether the mirror holds the object `sha`, of any kind."""
    return lookup(open_repository(mirror), sha) is not None


def tree_of(mirror: Mirror, commit: str) -> str:
    """Return the id of a commit's tree; raises Refused where the mirror lacks the commit."""
    return str(commit_of(open_repository(mirror), commit).tree_id)


def blob_id(mirror: Mirror, commit: str, path: str) -> str | None:
    """Return the id of the regular file at `path`, or None where there is none."""
    blob = _file(open_repository(mirror), commit, path)
    return str(blob.id) if blob else None


def read(mirror: Mirror, commit: str, path: str, limit: int) -> bytes | None:
    """Return the content of the regular file at `path`, or None where there is none.

    A symbolic link is no regular file. Raises Refused for a file over `limit` bytes, unread.
    """
    repo = open_repository(mirror)
    if not (blob := _file(repo, commit, path)):
        return None
    if repo.odb.read_header(blob.id)[1] > limit:
        raise Refused(
            f"`{path}` is larger than {limit:,} bytes, the most that is read of a file; make it "
            "smaller."
        )
    return blob.data


def read_blob(mirror: Mirror, blob: str, limit: int) -> bytes:
    """Return the content of a blob by its id; raises Refused where absent or over `limit` bytes."""
    repo = open_repository(mirror)
    found = lookup(repo, blob)
    if not isinstance(found, pygit2.Blob):
        raise Refused(f"The blob {blob[:12]} is not in the mirror; fetch and try again.")
    if found.size > limit:
        raise Refused(f"The blob {blob[:12]} is larger than {limit} bytes.")
    return found.data


def paths(mirror: Mirror, commit: str) -> list[str]:
    """Return the paths of all files, links and submodules of a commit, in git's order."""
    return [path for path, _ in entries(tree_at(open_repository(mirror), commit))]


def top(mirror: Mirror, commit: str) -> list[str]:
    """Return the names at the root of a commit, in git's order."""
    tree = tree_at(open_repository(mirror), commit)
    return [text(entry.raw_name or b"") for entry in tree]


def ids(mirror: Mirror, commit: str, paths: Sequence[str]) -> dict[str, str]:
    """Return what stands at paths of a commit, files and folders, by id; what is absent is not."""
    tree = tree_at(open_repository(mirror), commit)
    found = {path: find(tree, path) for path in paths}
    return {path: str(entry.id) for path, entry in found.items() if entry is not None}


def entries(tree: pygit2.Tree) -> Iterator[tuple[str, pygit2.Object]]:
    """Yield what is in a tree and below it, folders left out, with the path of each."""
    pending = [("", iter(tree))]
    while pending:
        prefix, rest = pending[-1]
        if (entry := next(rest, None)) is None:
            pending.pop()
            continue
        path = prefix + text(entry.raw_name or b"")
        if isinstance(entry, pygit2.Tree):
            pending.append((path + "/", iter(entry)))
        else:
            yield path, entry


def find(tree: pygit2.Tree, path: str) -> pygit2.Object | None:
    """Return what a tree holds at `path`, or None."""
    try:
        return tree[path] if path else tree
    except (KeyError, ValueError):  # ValueError: no path at all, as "a//b"
        return None


def is_ancestor(mirror: Mirror, ancestor: str, commit: str) -> bool:
    """Whether `ancestor` is `commit` or in its history."""
    repo = open_repository(mirror)
    above, below = commit_of(repo, ancestor).id, commit_of(repo, commit).id
    return above == below or repo.descendant_of(below, above)


def commits_between(
    mirror: Mirror, old: str, new: str, limit: int = MAX_COMMITS
) -> list[CommitInfo]:
    """Return the commits of `new` that `old` does not have, oldest first.

    With more than `limit`, the newest of them.
    """
    repo = open_repository(mirror)
    walker = repo.walk(commit_of(repo, new).id, SortMode.TOPOLOGICAL)
    walker.hide(commit_of(repo, old).id)
    return [_info(commit) for commit in islice(walker, limit)][::-1]


def _file(repo: pygit2.Repository, commit: str, path: str) -> pygit2.Blob | None:
    found = find(tree_at(repo, commit), path)
    return found if isinstance(found, pygit2.Blob) and found.filemode in _REGULAR else None


def _info(commit: pygit2.Commit) -> CommitInfo:
    message = commit.raw_message.decode("utf-8", "replace")
    author = commit.author
    return CommitInfo(
        sha=str(commit.id),
        tree=str(commit.tree_id),
        parents=tuple(map(str, commit.parent_ids)),
        author_name=author.raw_name.decode("utf-8", "replace"),
        author_email=author.raw_email.decode("utf-8", "replace"),
        message=message,
        trailers=trailers_of(message),
    )
