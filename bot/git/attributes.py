"""Which files git would record in another form than they have on the disk.

A `.gitattributes` can ask for line ends, `$Id$`, an encoding, or a filter such as Git LFS. This
module says for which paths that may be so, erring on the side of yes; git itself then does it
(`filters.py`). For all others the content is the blob.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from .wildmatch import KEPT_BYTES, MAX_PATTERN, Matches, compile_name, compile_path, lines_of

NAME = b".gitattributes"

AUTO = b"text=auto"
"""What stands for `text` where git is to look at the content first."""

_TEXT = b"text"
_LINE_ENDS = frozenset({_TEXT, b"crlf", b"eol"})
_IDENT = b"ident"
_ALWAYS = frozenset({b"filter", b"working-tree-encoding"})
_TELLING = _LINE_ENDS | _ALWAYS | {_IDENT, AUTO}

_MACRO = b"[attr]"
_BLANKS = re.compile(rb"[ \t\r]+")

Macros = frozenset[tuple[bytes, frozenset[bytes]]]
"""Names that stand for attributes, with the telling ones that each may set."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that sets something telling: what it matches, in which form, and what it sets."""

    matches: Matches
    by_name: bool
    sets: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes that hold in one folder: its own, and those of the folders above it."""

    lines: tuple[Line, ...] = ()
    above: Attributes | None = None
    depth: int = 0
    macros: Macros = field(default=frozenset())

    def below(self, path: bytes, text: bytes | None) -> Attributes:
        """Return the attributes within a folder; `text` is what its `.gitattributes` says."""
        if not text and path:
            return self  # Git takes macros from the first folder alone.
        macros = self.macros if path else macros_of(text or b"")
        lines = parse(text or b"", macros)
        if not (lines or macros):
            return self
        return Attributes(lines, self, len(path) + 1 if path else 0, macros)

    def may_set(self, path: bytes) -> frozenset[bytes]:
        """Return the telling attributes that some line sets for a path, perhaps unset again."""
        found: frozenset[bytes] = frozenset()
        name, level = path.rpartition(b"/")[2], self
        while True:
            below = path[level.depth :]
            for line in level.lines:
                if not line.sets <= found and line.matches(name if line.by_name else below):
                    found |= line.sets
            if level.above is None:
                return found
            level = level.above


def may_convert(sets: frozenset[bytes], content: bytes) -> bool:
    """Whether git may record a file otherwise than its content is, by what is set for it."""
    if not sets:
        return False
    if sets & _ALWAYS:
        return True
    if b"\r\n" in content and sets & _LINE_ENDS | sets & {AUTO}:
        # Where git looks at the content first, it takes one with a NUL for binary (convert.c).
        looks = AUTO in sets and _TEXT not in sets
        if not looks or b"\0" not in content:
            return True
    return _IDENT in sets and b"$Id" in content


def parse(text: bytes, macros: Macros = frozenset()) -> tuple[Line, ...]:
    """Return the lines of a `.gitattributes` that say something telling, perhaps by a macro."""
    if not any(word in text for word in _TELLING) and not any(name in text for name, _ in macros):
        return ()
    return _parse_kept(text, macros) if len(text) <= KEPT_BYTES else _parse(text, macros)


def macros_of(text: bytes) -> Macros:
    """Return the macros that the first folder's `.gitattributes` defines, wherever in it.

    A name that is defined twice stands for all of it.
    """
    if _MACRO not in text:
        return frozenset()
    words: dict[bytes, set[bytes]] = {}
    for pattern, names in _split(text):
        if pattern.startswith(_MACRO):
            words.setdefault(pattern.removeprefix(_MACRO), set()).update(names)
    found = {name: frozenset(names & _TELLING) for name, names in words.items()}
    while True:  # until those that stand for others say nothing more
        more = {name: found[name] | _sets(names, found) for name, names in words.items()}
        if more == found:
            return frozenset((name, sets) for name, sets in found.items() if sets)
        found = more


def _parse(text: bytes, macros: Macros) -> tuple[Line, ...]:
    known = dict(macros)
    found = tuple(
        _line(pattern, sets)
        for pattern, names in _split(text)
        if not pattern.startswith(b"!") and (sets := _sets(names, known))
    )
    # What is not read may say anything.
    return found if lines_of(text)[1] else (*found, Line(_all, True, _TELLING))


_parse_kept = lru_cache(maxsize=64)(_parse)


def _split(text: bytes) -> Iterable[tuple[bytes, list[bytes]]]:
    """Return the pattern of each line, and the names that it sets."""
    for line in lines_of(text)[0]:
        stripped = line.strip(b" \t\r")
        if not stripped or stripped.startswith(b"#"):
            continue
        pattern, *words = _BLANKS.split(stripped)
        yield pattern, [name for each in words if (name := _set_by(each))]


def _set_by(word: bytes) -> bytes:
    """Return the attribute that a word sets; nothing where it takes one away."""
    if word == AUTO:
        return AUTO
    if word == b"!text":
        return _TEXT  # others decide then, as if they had said so
    return b"" if word[:1] in b"-!" else word.partition(b"=")[0]


def _sets(names: Iterable[bytes], macros: Mapping[bytes, frozenset[bytes]]) -> frozenset[bytes]:
    found: frozenset[bytes] = frozenset()
    for name in names:
        found |= _TELLING & {name} | macros.get(name, frozenset())
    return found


def _line(pattern: bytes, sets: frozenset[bytes]) -> Line:
    if pattern.startswith(b'"') or len(pattern) > MAX_PATTERN:
        # Read as one that matches everything, which only asks git more often.
        return Line(_all, True, sets | {_TEXT} if AUTO in sets else sets)
    if b"/" not in pattern:
        return Line(compile_name(pattern), True, sets)
    return Line(compile_path(pattern.removeprefix(b"/")), False, sets)


def _all(_: bytes) -> bool:
    return True
