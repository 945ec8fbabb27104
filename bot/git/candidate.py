"""What an agent left in a workspace: its tree, its changes, and what must not be committed.

Read from the file system by the host. Git's own attributes and ignore rules count; ignored entries
are not part of the tree, whatever they are. Nothing may write to the workspace meanwhile; where
something does, the tree is one that the folder passed through, or TransientError is raised.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from bot.errors import TransientError
from policies.facts import MODE_SYMLINK, Change

from .diff import changes
from .objects import find, tree_of
from .program import git, raw, run, text
from .repository import Mirror, commit_of, open_repository
from .scan import MAX_FILE, Scan, Violation, link_reason, scan

__all__ = ["Candidate", "Violation", "snapshot"]

MAX_VIOLATIONS = 100
"""Violations that are told, and left out of the tree one by one; with more, nothing is read."""
ATTEMPTS = 10
"""Times that git reads a folder in which files vanish under it."""
_WHY = {
    "invalid path": "Git cannot record it under this name.",
    "unable to index file": "It cannot be read.",
}
_REFUSED = re.compile(rf"^error: ({'|'.join(_WHY)}) '(.*)'$", re.M)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tree that a turn left behind on `parent`, and how it differs from it.

    Entries named in `violations` are not in the tree, save links. With any, it must not be pushed.
    """

    tree: str
    parent: str
    changes: tuple[Change, ...]
    violations: tuple[Violation, ...]


async def snapshot(mirror: Mirror, folder: Path, index: Path, parent: str) -> Candidate:
    """Record the content of `folder` in the mirror's objects, and compare it to commit `parent`.

    `index` is the file that `workspace.create` wrote; where it is lost it is made anew. One
    snapshot of a folder at a time. Raises TransientError where files keep changing.
    """
    if await asyncio.to_thread(_lacks_index, index):
        # Without it, tracked files that are also ignored would be lost.
        await git("read-tree", "--end-of-options", parent, git_dir=mirror.path, index=index)
    submodules = await _submodules(mirror, index)
    found = await asyncio.to_thread(scan, folder, submodules)
    await asyncio.to_thread(_add_large, mirror, parent, found)
    found = await _without_ignored(mirror, folder, index, found)
    violations = sorted(found.violations, key=lambda each: each.path)
    excluded = set(found.violations.values())
    if len(violations) > MAX_VIOLATIONS or "" in excluded:  # "": the folder itself
        tree = await asyncio.to_thread(tree_of, mirror, parent)
        return Candidate(tree, parent, (), tuple(violations[:MAX_VIOLATIONS]))
    excluded.update(path for path in submodules if (folder / path).is_dir())
    violations += await _add(mirror, folder, index, sorted(excluded))
    written = await git("write-tree", git_dir=mirror.path, index=index)
    tree = written.decode().strip()
    return await asyncio.to_thread(_compare, mirror, tree, parent, violations)


def _lacks_index(index: Path) -> bool:
    # The lock of one that was killed: the index is this workspace's alone.
    index.with_name(index.name + ".lock").unlink(missing_ok=True)
    return not index.exists()


async def _submodules(mirror: Mirror, index: Path) -> list[str]:
    listed = await git("ls-files", "--stage", "-z", git_dir=mirror.path, index=index)
    lines = (line for line in listed.split(b"\0") if line.startswith(b"160000 "))
    return [text(line.partition(b"\t")[2]) for line in lines]


async def _add(
    mirror: Mirror, folder: Path, index: Path, excluded: Sequence[str]
) -> list[Violation]:
    """Let git read the folder, all but the paths `excluded`; return what git itself refused.

    Among those are the submodules: where git finds a repository in one, it asks that repository
    whether it has changed, and would run what its configuration names.
    """
    specs = [b".", *(b":(top,exclude,literal)" + raw(path) for path in excluded)]
    refused: set[tuple[str, str]] = set()
    for _ in range(ATTEMPTS):
        done = await run(
            "add",
            "--all",
            "--ignore-errors",
            "--pathspec-from-file=-",
            "--pathspec-file-nul",
            git_dir=mirror.path,
            work_tree=folder,
            index=index,
            input=b"\0".join(specs),
        )
        if done.status == 0:
            return []
        before, refused = refused, set(_REFUSED.findall(done.err))
        if refused and refused == before and "fatal:" not in done.err:  # no race, then
            return [Violation(path, _WHY[kind]) for kind, path in sorted(refused)[:MAX_VIOLATIONS]]
    raise TransientError(f"The workspace keeps changing: {done.err.strip()[-300:]}")


async def _without_ignored(mirror: Mirror, folder: Path, index: Path, found: Scan) -> Scan:
    """Drop what the repository ignores and does not track: it does not get into a tree."""
    if not found.violations:
        return found
    excluded = sorted(set(found.violations.values()))
    out = await git(
        "check-ignore",
        "-z",
        "--stdin",
        git_dir=mirror.path,
        work_tree=folder,
        index=index,
        input=b"\0".join(b"./" + raw(path) for path in excluded),
        accept=(0, 1),  # 1: none is ignored
    )
    ignored = {text(path).removeprefix("./") for path in out.split(b"\0")}
    kept = {each: path for each, path in found.violations.items() if path not in ignored}
    return Scan(kept, found.large)


def _add_large(mirror: Mirror, parent: str, found: Scan) -> None:
    """Make violations of the large files, but for those that the parent has at that size."""
    repo = open_repository(mirror)
    tree = commit_of(repo, parent).tree
    for path, size in found.large.items():
        before = find(tree, path)
        if isinstance(before, pygit2.Blob) and before.size == size:
            continue
        reason = f"It is larger than {MAX_FILE // 2**20} MiB, which GitHub refuses."
        found.violations[Violation(path, reason)] = path


def _compare(mirror: Mirror, tree: str, parent: str, violations: Iterable[Violation]) -> Candidate:
    found = changes(mirror, parent, tree)
    links = _bad_links(open_repository(mirror), tree, found)
    return Candidate(tree, parent, found, (*violations, *links))


def _bad_links(repo: pygit2.Repository, tree: str, found: Iterable[Change]) -> list[Violation]:
    """Judge the links that are new or changed: what the repository had before is its own affair."""
    root = repo[tree]
    assert isinstance(root, pygit2.Tree)
    bad = []
    for change in found:
        link = find(root, change.path) if change.new_mode == MODE_SYMLINK else None
        if isinstance(link, pygit2.Blob) and (reason := link_reason(change.path, text(link.data))):
            bad.append(Violation(change.path, reason))
    return bad
