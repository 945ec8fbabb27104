"""What is measured against: git itself, and pygit2, in a plain worktree whose index is warm."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pygit2

from bench.edits import Edit, apply
from bench.edits import touched as _touched
from bench.repositories import Repository, environment, git

DURABLE = "committed,reference"
"""`core.fsync` with which git flushes what our checkpoint flushes; its default leaves the objects
of a commit unflushed (git-config, core.fsync)."""
_AGO = 100.0
"""Seconds: git takes files that are younger than its index for changed, and reads them."""


class Plain:
    """A worktree of a repository of its own, in which edits are made and taken back."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self._base = repository.head
        self.git_dir = repository.copy(folder / f"{repository.name}-plain.git")
        self.folder = folder / f"{repository.name}-plain"
        git(self.git_dir, "worktree", "add", "--quiet", "-B", "bench", str(self.folder), self._base)
        self._old(git(self.folder, "ls-files", "-z").split("\0")[:-1])
        self._refresh()
        self._repo = pygit2.Repository(str(self.folder))

    def edit(self, edits: Iterable[Edit]) -> None:
        """Make the edits."""
        apply(self.folder, edits)

    def take_back(self, edits: Iterable[Edit]) -> None:
        """Be as at first again, with an index that knows it."""
        git(self.folder, "reset", "--quiet", "--hard", self._base)
        git(self.folder, "clean", "--quiet", "-fd")
        # Else the next one to make the same edits finds its objects there.
        for loose in (self.git_dir / "objects").glob("[0-9a-f][0-9a-f]"):
            shutil.rmtree(loose)
        self._old(_touched(edits))
        self._refresh()
        self._repo.index.read()

    def add_and_commit(self, *, durable: bool = False) -> None:
        """Run `git add -A && git commit`."""
        settings = ["-c", f"core.fsync={DURABLE}"] if durable else []
        run(self.folder, *settings, "add", "-A")
        run(self.folder, *settings, "commit", "--quiet", "--message=Checkpoint")

    def add_all(self) -> None:
        """Commit by pygit2: `index.add_all`, with its objects flushed."""
        index = self._repo.index
        index.add_all()
        index.write()
        tree = index.write_tree()
        who = pygit2.Signature("bench", "bench@example.com", int(time.time()), 0)
        head = self._repo.head.target
        self._repo.create_commit("HEAD", who, who, "Checkpoint\n", tree, [head])

    def tree(self, commit: str = "HEAD") -> str:
        """Return the tree of a commit."""
        return git(self.folder, "rev-parse", f"{commit}^{{tree}}").strip()

    def head(self) -> str:
        """Return the commit that is checked out."""
        return git(self.folder, "rev-parse", "HEAD").strip()

    def refresh(self, paths: Iterable[str]) -> None:
        """Make git's index warm after it wrote some files itself."""
        self._old(paths)
        self._refresh()

    def _old(self, paths: Iterable[str]) -> None:
        then = time.time() - _AGO
        for path in paths:
            os.utime(self.folder / path, (then, then), follow_symlinks=False)

    def _refresh(self) -> None:
        git(self.folder, "update-index", "-q", "--refresh", "--force-write-index")


def run(folder: Path, *args: str) -> None:
    """Run git as its users do, and nothing else in the time that it takes."""
    subprocess.run(
        ["git", *args], cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL
    )
