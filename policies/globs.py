"""Gitignore globs over many paths: each checked when it is configured, all compiled as one.

The grammar and its translation are pathspec's: as git does it, a glob means what it matches
and everything below. Unlike in git, a later glob may open a part of a folder that an earlier
one means.

Two stars in one segment and two `**` in one glob are the most that is taken: Python's regular
expressions need time that grows with the path's length to the power of that number, and both
path and glob come from a repository.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

MAX_LENGTH = 200
MAX_STARS = 2
# What pathspec puts around a glob that may stand at any depth.
_ANY_DEPTH = "^(?:.+/)?"
_WHOLE = "(?:/|$)"
_WILD = re.compile(r"[*?\[\\]")
_SET = re.compile(r"\[[!^]?[\w.]+(?:-[\w.]+)*\]")


@dataclass(frozen=True, slots=True)
class Globs:
    """Compiled globs; the last one that matches decides, and `!` before a glob means "not".

    What is meant has one of the names `named` (in small letters) in its path, or is matched by
    `wild`, the globs with no name in them: most paths of a repository are passed over by that.
    """

    steps: tuple[tuple[bool, re.Pattern[str]], ...]
    named: frozenset[str]
    wild: re.Pattern[str] | None

    def match(self, path: str) -> bool:
        """Whether a path (or what stands below a folder of that name) is meant."""
        # Beyond ASCII, letters that differ in case are not told by their small ones alone.
        nameless = path.isascii() and self.named.isdisjoint(path.lower().split("/"))
        if nameless and (self.wild is None or self.wild.match(path) is None):
            return False
        for include, pattern in self.steps:
            if pattern.match(path):
                return include
        return False


def problem_of(glob: str) -> str | None:
    """Return what is wrong with a glob as a sentence for its author, or None."""
    body = glob.removeprefix("!")
    if len(glob) > MAX_LENGTH:
        return f"A glob may have {MAX_LENGTH} characters; make this one shorter."
    if not body.strip() or body != body.strip() or not body.isprintable():
        return "A glob needs a name, without blanks around it; write for example `docs/**`."
    if body.startswith("#"):
        return "A glob that begins with `#` is a comment; write `\\#` instead."
    if "[" in _SET.sub("", body).replace("\\[", ""):
        return "A set in a glob is letters, digits and ranges, as in `[a-z0-9]`; write it so."
    if _too_many_stars(body):
        return (
            f"A glob may have {MAX_STARS} `*` between two slashes and {MAX_STARS} `**`;"
            " split it into several."
        )
    return None if _translates(glob) else "This glob matches nothing; write for example `docs/**`."


def compile_globs(globs: Iterable[str], *, ignore_case: bool = False) -> Globs:
    """Compile globs that have no problem; of equal ones the work is done once."""
    return _compiled(tuple(globs), ignore_case)


def normal(path: str) -> str:
    """Return a path in the one spelling (NFC) in which globs and paths are compared."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


@lru_cache(maxsize=256)
def _compiled(globs: tuple[str, ...], ignore_case: bool) -> Globs:
    patterns = [GitIgnoreSpecPattern(normal(glob)) for glob in globs]
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    steps = [
        (include, re.compile(_union(group), flags))
        for include, group in groupby(reversed(patterns), key=lambda each: bool(each.include))
    ]
    names = {glob: _name_in(normal(glob)) for glob in globs if not glob.startswith("!")}
    wild = [GitIgnoreSpecPattern(normal(glob)) for glob, name in names.items() if not name]
    return Globs(
        tuple(steps),
        frozenset(name for name in names.values() if name),
        re.compile(_union(wild), flags) if wild else None,
    )


def _name_in(glob: str) -> str:
    """Return a name that each path has, in small letters, which the glob means; or nothing.

    It is the longest, which the fewest paths have.
    """
    plain = (part for part in glob.split("/") if part.isascii() and not _WILD.search(part))
    return max(plain, key=len, default="").lower()


def _union(patterns: Iterable[GitIgnoreSpecPattern]) -> str:
    """One expression for many; what may stand at any depth shares its way down the path."""
    anywhere: list[str] = []
    other: list[str] = []
    for pattern in patterns:
        if pattern.regex is None:
            continue
        text = pattern.regex.pattern.replace("(?P<ps_d>", "(?:").replace("(?:(?:/)|$)", _WHOLE)
        inner = text.removeprefix(_ANY_DEPTH).removesuffix(_WHOLE)
        if text == f"{_ANY_DEPTH}{inner}{_WHOLE}":
            anywhere.append(inner)
        else:
            # pathspec searches: what is not tied to the start may begin anywhere.
            other.append(text if text.startswith("^") else f".*(?:{text})")
    if anywhere:
        other.append(f"{_ANY_DEPTH}(?:{'|'.join(anywhere)}){_WHOLE}")
    return "|".join(other) or r"(?!)"


def _too_many_stars(glob: str) -> bool:
    segments = glob.split("/")
    if segments.count("**") > MAX_STARS:
        return True
    return any(segment != "**" and segment.count("*") > MAX_STARS for segment in segments)


def _translates(glob: str) -> bool:
    try:
        return GitIgnoreSpecPattern(glob).regex is not None
    except (ValueError, re.error):
        return False
