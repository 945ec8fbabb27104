"""Which files git would record in another form than they have on the disk.

A `.gitattributes` can ask for line ends, `$Id$`, an encoding, or a filter such as Git LFS. This
module says for which paths that may be so, erring on the side of yes; git itself then does it
(`filters.py`). For all others the content is the blob.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .wildmatch import Matches, compile_name, compile_path

NAME = b".gitattributes"
MAX_BYTES = 1024 * 1024
"""Bytes of a `.gitattributes` that are read; real ones have a few KB."""

_LINE_ENDS = frozenset({b"text", b"crlf", b"eol"})
_IDENT = b"ident"
_ALWAYS = frozenset({b"filter", b"working-tree-encoding"})
_TELLING = _LINE_ENDS | _ALWAYS | {_IDENT}


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

    def below(self, path: bytes, text: bytes | None) -> Attributes:
        """Return the attributes within a folder; `text` is what its `.gitattributes` says."""
        lines = parse(text or b"")
        return (
            Attributes(lines, self, len(path) + 1 if path else 0)
            if lines or self.lines or self.above
            else self
        )

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
    if sets & _LINE_ENDS and b"\r\n" in content:
        return True
    return _IDENT in sets and b"$Id" in content


@lru_cache(maxsize=256)
def parse(text: bytes) -> tuple[Line, ...]:
    """Return the lines of a `.gitattributes` that say something telling."""
    if not any(word in text for word in _TELLING):
        return ()
    lines = text[:MAX_BYTES].removeprefix(b"\xef\xbb\xbf").split(b"\n")
    split = [(pattern, words) for line in lines for pattern, words in _split(line)]
    macros = _macros(split)
    return tuple(
        Line(*_pattern(pattern), sets)
        for pattern, words in split
        if not pattern.startswith((b"[attr]", b"!")) and (sets := _sets(words, macros))
    )


def _split(line: bytes) -> Iterable[tuple[bytes, list[bytes]]]:
    line = line.strip(b" \t\r\n")
    if not line or line.startswith(b"#"):
        return
    if line.startswith(b'"'):
        # A quoted pattern: read as one that matches everything, which only asks git more often.
        yield b"*", line.split()[1:]
        return
    pattern, *words = line.split()
    yield pattern, words


def _macros(split: Iterable[tuple[bytes, list[bytes]]]) -> dict[bytes, frozenset[bytes]]:
    macros: dict[bytes, frozenset[bytes]] = {}
    for pattern, words in split:
        if pattern.startswith(b"[attr]"):
            macros[pattern.removeprefix(b"[attr]")] = _sets(words, macros)
    return macros


def _sets(words: Iterable[bytes], macros: dict[bytes, frozenset[bytes]]) -> frozenset[bytes]:
    found: frozenset[bytes] = frozenset()
    for word in words:
        name, _, value = word.partition(b"=")
        if name.startswith((b"-", b"!")):
            continue
        if name in _TELLING and value not in (b"unset",):
            found |= {name}
        found |= macros.get(name, frozenset())
    return found


def _pattern(pattern: bytes) -> tuple[Matches, bool]:
    if b"/" not in pattern:
        return compile_name(pattern), True
    return compile_path(pattern.removeprefix(b"/")), False
