"""Names that mean something to git or to a file system, and those that lead elsewhere.

What a file system takes for `.git` is git's own folder there, whatever it is here; a name that
another differs from in case alone is the same file on many.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from .program import text

FEW = 8
"""New names in a folder that are looked for in all of its names as one text."""
# Code points that HFS+ leaves out when it compares names: ".g\u200cit" is ".git" there. The list is
# that of git's `next_hfs_char` (utf8.c).
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
# What git reads must be a file, also where a file system takes another name for it (git's fsck:
# gitmodulesSymlink and its like; the short names are those that NTFS makes, a colon is its too).
_READ_BY_GIT = re.compile(
    r"([^/]*\\)?(\.git(modules|attributes|ignore)|git(mod|att|ign)~\d|(?=.{8})g?i?[\da-f]*~\d+)"
    r"[ .]*(:[^/]*)?"
)


def is_git_name(name: str) -> bool:
    """Whether some file system takes `name` for `.git`: by case, ending, short name or Unicode."""
    # NTFS drops dots and spaces at the end, and what follows a colon names a stream of the file;
    # a backslash is a separator there.
    parts = [part.partition(":")[0].rstrip(". ") for part in _plain(name).split("\\")]
    return any(part in (".git", "git~1") for part in parts)


def may_be_git(name: bytes) -> bool:
    """Whether `is_git_name` can hold: what it takes away is not in ASCII, or at the name's end."""
    return not name.isascii() or b"git" in name.lower()


def is_read_by_git(name: bytes) -> bool:
    """Whether git, or some file system, takes `name` for a file that git reads: `.gitmodules`, …"""
    if name.isascii() and b"~" not in name and b"git" not in name.lower():
        return False
    return _READ_BY_GIT.fullmatch(_plain(text(name)).rstrip(". ")) is not None


def is_plain(names: str) -> bool:
    """Whether none of `names` can be one of git's: what those lose or have instead is known."""
    return names.isascii() and "~" not in names and "git" not in names.lower()


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


def may_be_twins(new: Sequence[bytes], tracked: Collection[bytes]) -> bool:
    """Whether one of `new` may differ from another name in nothing but case; told in a moment."""
    there = b"/".join((*tracked, *new))
    if len(new) > FEW or not there.isascii():
        return True
    there = b"/%b/" % there.lower()
    return any(there.count(b"/%b/" % name.lower()) > 1 for name in new)


def folded_name(name: bytes) -> bytes:
    """Return what names that differ in nothing but case have in common."""
    return (
        name.lower() if name.isascii() else text(name).casefold().encode("utf-8", "surrogateescape")
    )


def _plain(name: str) -> str:
    return _IGNORED_BY_HFS.sub("", name).lower()
