"""What an agent that asks is answered: yes within the workspace, no outside or where it may not.

It is advice. An agent need not ask, and one that does can do otherwise: the sandbox keeps it in,
and the rules judge what the host finds changed. Asked first, it learns before it has spent a turn.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from bot.agents.events import Kind
from policies.config import Config
from policies.facts import Change
from policies.paths import check_paths

_CHANGES: frozenset[Kind] = frozenset({"edit", "delete", "move"})
# Where a job finds programs and scratch space; nothing there is anybody's.
_SHARED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt", "/dev", "/proc", "/tmp")  # noqa: S108
_SCRATCH = ("/tmp", "/dev")  # noqa: S108
_REDIRECTION = re.compile(r"\d?>>?\|?\s*([^\s;&|<>()]+)")
_PATHLIKE = re.compile(r"^(?:/|~/|\.\.(?:/|$)).*")
_MODE = 0o100644


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it may, and why not."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Answers for one turn; the two folders are as the agent sees them."""

    workspace: str
    home: str
    config: Config

    def decide(self, kind: Kind, paths: Iterable[str], command: str = "") -> Decision:
        """Judge one call by the paths that it names; `command` is what a shell is given."""
        changes = kind in _CHANGES
        for path in paths:
            decision = self._path(path, changes=changes)
            if not decision.allowed:
                return decision
        return self._command(command) if command else Decision(True)

    def _command(self, command: str) -> Decision:
        for path in _REDIRECTION.findall(command):
            decision = self._path(path.strip("'\""), changes=True)
            if not decision.allowed:
                return decision
        for word in _words(command):
            if _PATHLIKE.match(word):
                decision = self._path(word, changes=False)
                if not decision.allowed:
                    return decision
        return Decision(True)

    def _path(self, path: str, *, changes: bool) -> Decision:
        full = self._full(path)
        if _within(full, self.workspace):
            relative = posixpath.relpath(full, self.workspace)
            if not changes or relative == ".":
                return Decision(True)
            verdict = check_paths([_change(relative)], self.config)
            return Decision(verdict.allowed, "" if verdict.allowed else verdict.reason)
        shared = _SCRATCH if changes else _SHARED
        if _within(full, self.home) or any(_within(full, folder) for folder in shared):
            return Decision(True)
        return Decision(False, f"{path} lies outside of the workspace: work on the files in it.")

    def _full(self, path: str) -> str:
        if path == "~" or path.startswith("~/"):
            path = self.home + path[1:]
        return posixpath.normpath(posixpath.join(self.workspace, path.removeprefix("file://")))


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command, comments=False)
    except ValueError:
        return command.split()


def _change(path: str) -> Change:
    return Change(
        path=path,
        old_path=None,
        status="modified",
        old_mode=_MODE,
        new_mode=_MODE,
        added=0,
        deleted=0,
        binary=False,
        size=0,
    )
