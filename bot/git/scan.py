"""A look at a workspace before git reads it: what nobody may commit, found without opening it.

Only names and `lstat` are used. Links are not followed, pipes and devices are not opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

MAX_FILE = 100 * 1024 * 1024
"""Bytes of one file; GitHub refuses a push with a larger one."""
# Code points that HFS+ leaves out when it compares names: ".g\u200cit" is ".git" there. The list is
# that of git's `next_hfs_char` (utf8.c).
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """An entry of a workspace that must not be committed, and why, as a sentence for people."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found: `violations`, and per path the `excluded` entry that git must not enter.

    `large` are the files over the limit with their sizes, which may be older than the run.
    """

    violations: dict[Violation, str]
    large: dict[str, int]


def scan(folder: Path, submodules: Collection[str] = ()) -> Scan:
    """Look at every entry below `folder`. Entries that vanish meanwhile are passed over."""
    found = Scan({}, {})
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(folder / prefix) as listing:
                listed = [(entry.name, entry.stat(follow_symlinks=False)) for entry in listing]
        except FileNotFoundError:
            listed = _one_by_one(folder / prefix)
        except OSError as error:
            reason = f"The folder cannot be read: {error.strerror}."
            found.violations[Violation(prefix.rstrip("/"), reason)] = prefix.rstrip("/")
            continue
        for name, status in listed:
            if _look(found, prefix, name, status, submodules):
                pending.append(f"{prefix}{name}/")
    return found


def is_git_name(name: str) -> bool:
    """Whether some file system takes `name` for `.git`: by case, ending, short name or Unicode."""
    plain = _IGNORED_BY_HFS.sub("", name).lower()
    # NTFS drops dots and spaces at the end, and what follows a colon names a stream of the file;
    # a backslash is a separator there.
    parts = [part.partition(":")[0].rstrip(". ") for part in plain.split("\\")]
    return any(part in (".git", "git~1") for part in parts)


def link_reason(path: str, target: str) -> str | None:
    """Say why the link at `path` may lead out of the repository, or None.

    A target may climb by leading `..` up to the root, and then only go down: then no link, even
    through other links that are so, leads out.
    """
    if target.startswith("/"):
        return f"The link points outside the repository, to {target}."
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = next((n for n, part in enumerate(parts) if part != ".."), len(parts))
    if climbs > path.count("/"):
        return f"The link points outside the repository, to {target}."
    if ".." in parts[climbs:]:
        return f"The link's target {target} goes up after going down; write the shortest path."
    if any(is_git_name(part) for part in parts):
        return f"The link's target {target} names git's own folder."
    return None


def _look(
    found: Scan, prefix: str, name: str, status: os.stat_result, submodules: Collection[str]
) -> bool:
    """Judge one entry; return whether it is a folder to look into."""
    path, kind = prefix + name, stat.S_IFMT(status.st_mode)
    if prefix.rstrip("/") in submodules:
        reason = "It lies in a submodule, which is another repository and cannot be changed here."
        found.violations[Violation(path, reason)] = prefix.rstrip("/")
        return False
    if is_git_name(name):
        nested = "of a repository within the repository" if prefix else "of git's own folder"
        # All of a nested repository is left out: git would record it as a submodule.
        found.violations[Violation(path, f"It has the name {nested}.")] = prefix.rstrip("/") or path
        return False
    if reason := _SPECIAL.get(kind, ""):
        found.violations[Violation(path, f"It is {reason}, not a file.")] = path
    elif kind == stat.S_IFREG and status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        reason = "It would run with its owner's rights (setuid or setgid)."
        found.violations[Violation(path, reason)] = path
    elif kind == stat.S_IFREG and status.st_size > MAX_FILE:
        found.large[path] = status.st_size
    return kind == stat.S_IFDIR


def _one_by_one(folder: Path) -> list[tuple[str, os.stat_result]]:
    """List a folder in which names vanish, without those; a folder that is gone is empty."""
    listed = []
    try:
        entries = list(folder.iterdir())
    except OSError:
        return []
    for entry in entries:
        try:
            listed.append((entry.name, entry.lstat()))
        except OSError:
            continue
    return listed
