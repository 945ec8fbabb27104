"""Whose each path is, by a CODEOWNERS file, as GitHub reads one.

The last line that matches a path says who owns it, perhaps nobody. The patterns are those of
`.gitignore` but for `!`, `[ ]` and an escaped `#`, whose lines GitHub passes over and so do we.
`docs/*` means the files in the folder itself and none below. (GitHub Docs, "About code owners".)
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from policies.globs import normal

PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
"""Where GitHub looks for the file; the first that is there counts."""

_ESCAPED = re.compile(r"\\(.)")
_WORDS = re.compile(r"(?:\\.|[^\s\\])+")
_DEEP = "**"


@dataclass(frozen=True, slots=True, order=True)
class Owned:
    """A path, and who owns it as the file writes them: `@login`, `@organisation/team`, an address.

    No owners means that nobody does.
    """

    path: str
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the segments of its pattern, and the owners. `whole` means nothing below."""

    segments: tuple[str, ...]
    owners: tuple[str, ...]
    whole: bool = False
    folder: bool = False

    def matches(self, parts: Sequence[str]) -> bool:
        """Whether a path, as its parts, is meant; the time is their number times the segments'."""
        end = len(self.segments)
        at = self._reached({0})
        for index, part in enumerate(parts):
            at = self._reached(self._step(at, part))
            is_last = index == len(parts) - 1
            if end in at and (not self.folder if is_last else not self.whole):
                return True
        return False

    def _step(self, at: set[int], part: str) -> set[int]:
        after = set()
        for each in at - {len(self.segments)}:
            segment = self.segments[each]
            if segment == _DEEP:
                after.add(each)
            elif _compiled(segment).fullmatch(part):
                after.add(each + 1)
        return after

    def _reached(self, at: set[int]) -> set[int]:
        """Add what is reached without a part: two stars may stand for none."""
        for each in sorted(at):
            here = each
            while here < len(self.segments) and self.segments[here] == _DEEP:
                here += 1
                at.add(here)
        return at


def parse_owners(text: str) -> tuple[Line, ...]:
    """Read a CODEOWNERS file; lines that GitHub passes over are left out."""
    found = (_line(each) for each in text.removeprefix("\ufeff").splitlines())
    return tuple(each for each in found if each is not None)


def owned(paths: Iterable[str], lines: Sequence[Line]) -> tuple[Owned, ...]:
    """Say whose each path is, in the order of the paths' names."""
    latest = lines[::-1]
    return tuple(Owned(path, _owners(path, latest)) for path in sorted(set(paths)))


def _owners(path: str, latest: Sequence[Line]) -> tuple[str, ...]:
    parts = normal(path).split("/")
    return next((line.owners for line in latest if line.matches(parts)), ())


def _line(text: str) -> Line | None:
    words = _WORDS.findall(text)
    comment = next((i for i, word in enumerate(words) if word.startswith("#")), len(words))
    words = words[:comment]
    if not words or words[0].startswith(("!", "\\#")) or "[" in words[0]:
        return None
    pattern = normal(_ESCAPED.sub(r"\1", words[0]))
    body = pattern.strip("/")
    if not body:
        return None
    segments = body.split("/")
    is_tied = "/" in pattern.rstrip("/")
    whole = is_tied and segments[-1] == "*"
    if segments[-1] == _DEEP:
        segments.append("*")
    if not is_tied:
        segments.insert(0, _DEEP)
    return Line(tuple(segments), tuple(words[1:]), whole, folder=pattern.endswith("/"))


@lru_cache(maxsize=4096)
def _compiled(segment: str) -> re.Pattern[str]:
    # fnmatch's own translation takes no time that grows beyond the text's length times the stars'.
    return re.compile(fnmatch.translate(segment))
