"""What is measured: a mirror of ours, with workspaces over it, used as the server uses them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from bench.repositories import Repository, git
from bot.git import candidate, refs
from bot.git.candidate import Candidate, Made
from bot.git.checkpoint import Identity
from bot.git.overlay import Kind, Means
from bot.git.repository import Mirror
from bot.git.scan import Source
from bot.git.workspace import Workspace, Workspaces

T = TypeVar("T")

WHO = Identity("orchestrate[bot]", "1+orchestrate[bot]@users.noreply.example.com")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REF = "refs/heads/orchestrate/1-bench-0123456789"
MADE = Made("Bench\n\nOrchestrate-Run: 0123456789\nOrchestrate-Checkpoint: 1\n", WHO, WHO, AT)


class Ours:
    """A mirror of `repository` below `folder`, whose branch `REF` is at its head."""

    def __init__(self, repository: Repository, folder: Path, kind: Kind = "overlay") -> None:
        self.repository = repository
        self.head = repository.head
        self.mirror = Mirror(repository.copy(folder / f"{repository.name}-ours.git"))
        self._runner = asyncio.Runner()
        self.bases = folder / "bases"
        self.workspaces = Workspaces(folder / "runs", self.bases, Means(kind, ""))
        refs.set_ref(self.mirror, REF, self.head, None)
        self._opened: list[str] = []

    def __enter__(self) -> Ours:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self.run(self.workspaces.stop())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do asynchronous work, on the one loop that all of it shares."""
        return self._runner.run(work)

    def open(self, name: str, commit: str | None = None) -> Workspace:
        """Open a workspace of its own for `name`."""
        self._opened.append(name)
        return self.run(self.workspaces.open(self.mirror, commit or self.head, name))

    def close(self) -> None:
        """Close the workspaces that are open."""
        for name in self._opened:
            self.run(self.workspaces.close(name))
        self._opened.clear()

    def take(self, workspace: Workspace, mirror: Mirror | None = None) -> Candidate:
        """Take a candidate of it, on top of the head."""
        source = source_of(workspace)
        return candidate.take(mirror or self.mirror, source, self.head, MADE)

    def move(self, commit: str) -> None:
        """Move the branch from the head to `commit`."""
        refs.set_ref(self.mirror, REF, commit, self.head)

    def back(self) -> None:
        """Move the branch to the head again."""
        refs.set_ref(self.mirror, REF, self.head, refs.tip(self.mirror, REF))


def source_of(workspace: Workspace) -> Source:
    """Say where a candidate is to be looked for in a workspace."""
    return Source(workspace.changed, workspace.tree, workspace.opaque, workspace.whole)


def listed(git_dir: Path, old: str, new: str) -> list[tuple[str, str, str]]:
    """List mode, id and path of what `new` has and `old` has not, folders included."""
    out = git(git_dir, "diff-tree", "-r", "-t", "-z", "--raw", "--no-renames", old, new)
    parts = out.split("\0")
    found = []
    for head, path in zip(parts[0::2], parts[1::2], strict=False):
        _, mode, _, oid, _ = head.split()
        if mode != "000000":
            found.append((mode, oid, path))
    return found


def changed_trees(mirror: Mirror, old: str, new: str) -> list[str]:
    """Name the trees that `new` has and `old` has not at the same place, its root first."""
    tree = git(mirror.path, "rev-parse", f"{new}^{{tree}}").strip()
    return [tree, *(oid for mode, oid, _ in listed(mirror.path, old, new) if mode == "040000")]


def need_root() -> None:
    """End the program where overlay mounts are not to be had: it would measure something else."""
    if os.geteuid() != 0:
        raise SystemExit("Run this as root: it mounts overlays, as the server does where it may.")
