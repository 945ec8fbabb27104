"""Git's wildcard patterns, as `.gitignore` and `.gitattributes` have them.

The meaning is that of git's dir.c and wildmatch.c, with WM_PATHNAME. Patterns come from a
workspace, so the time to match one grows with the path's length times the pattern's and no faster:
what stands between two stars is looked for once, from the left, and never again (atomic groups).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Matches = Callable[[bytes], bool]

MAX_PATTERN = 1024
"""Bytes of a pattern; a longer one matches nothing. Paths are shorter, as the rules have it."""

MAX_BYTES = 1024 * 1024
"""Bytes of a file of patterns that are read. Real ones have a few KB."""
MAX_LINES = 20_000
"""Lines of it that are read: each may take 600 bytes of memory, and 0.2 ms to prepare."""
KEPT_BYTES = 16 * 1024
"""Bytes of such a file up to which what was made of it is kept for the next time."""

_SPECIAL = re.compile(rb"[*?\[\\]")
_POSIX = {
    b"alnum": rb"a-zA-Z0-9",
    b"alpha": rb"a-zA-Z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": rb"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb" \t\n\r",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9a-fA-F",
}
_STAR, _DEEP, _DEEPER, _SLASH = b"*", b"**", b"**\\", b"/"
"""Tokens that are no expressions; `_DEEPER` stands for `**` before an escaped slash, where there is
a folder at least."""


def lines_of(text: bytes) -> tuple[list[bytes], bool]:
    """Return the lines of a file of patterns that are read, and whether those are all.

    To git each ends at a zero byte.
    """
    *lines, last = text[:MAX_BYTES].removeprefix(b"\xef\xbb\xbf").split(b"\n", MAX_LINES)
    is_cut_off = len(text) >= MAX_BYTES or (len(lines) == MAX_LINES and last != b"")
    read = lines if is_cut_off else [*lines, last]
    return [line.removesuffix(b"\r").partition(b"\0")[0] for line in read], not is_cut_off


@lru_cache(maxsize=4096)
def compile_name(pattern: bytes) -> Matches:
    """Return what tells whether a name without slashes matches."""
    if not _SPECIAL.search(pattern):
        return pattern.__eq__
    if pattern.startswith(b"*") and not _SPECIAL.search(pattern[1:]):
        ending = pattern[1:]
        return lambda name: name.endswith(ending)
    return _compiled(pattern)


@lru_cache(maxsize=4096)
def compile_path(pattern: bytes) -> Matches:
    """Return what tells whether a path matches; a star does not match a slash, two may."""
    special = _SPECIAL.search(pattern)
    if special is None:
        return pattern.__eq__
    # As in git, what comes before the first special byte is compared by itself, and the rest is a
    # pattern of its own: in `a/b**/c` the two stars stand at its beginning, and match slashes.
    start = special.start()
    literal, matches = pattern[:start], _compiled(pattern[start:])
    return lambda path: path.startswith(literal) and matches(path[start:])


def _compiled(pattern: bytes) -> Matches:
    tokens = _tokens(pattern) if len(pattern) <= MAX_PATTERN else None
    if tokens is None:
        return lambda _: False
    expression = re.compile(_expression(tokens), re.DOTALL)
    return lambda text: expression.fullmatch(text) is not None


def _tokens(pattern: bytes) -> list[bytes] | None:
    """Split a pattern into stars, slashes and expressions of one byte; None where it is broken."""
    tokens: list[bytes] = []
    at, end = 0, len(pattern)
    while at < end:
        byte = pattern[at : at + 1]
        if byte == b"*":
            token, at = _stars(pattern, at)
            tokens.append(token)
        elif byte == b"[":
            found = _set(pattern, at + 1)
            if found is None:
                return None
            token, at = found
            tokens.append(token)
        elif byte == b"\\":
            if at + 1 == end:
                return None
            tokens.append(_literal(pattern[at + 1 : at + 2]))
            at += 2
        else:
            tokens.append(rb"[^/]" if byte == b"?" else _literal(byte))
            at += 1
    return tokens


def _stars(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Read stars; two or more between slashes are deep."""
    stop = at
    while pattern[stop : stop + 1] == b"*":
        stop += 1
    if stop - at == 1 or pattern[at - 1 : at] not in (b"", b"/"):
        return _STAR, stop
    if pattern[stop : stop + 1] in (b"", b"/"):
        return _DEEP, stop
    return (_DEEPER if pattern[stop : stop + 2] == b"\\/" else _STAR), stop


def _literal(byte: bytes) -> bytes:
    return _SLASH if byte == b"/" else re.escape(byte)


def _set(pattern: bytes, at: int) -> tuple[bytes, int] | None:
    """Read a set such as `[!a-z[:digit:]]` from behind its bracket; None where it has no end."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    parts: list[bytes] = []
    last: int | None = None  # the byte that a range may begin with
    first = True
    while True:
        byte = pattern[at : at + 1]
        if not byte:
            return None
        if byte == b"]" and not first:
            break
        first = False
        if byte == b"[" and pattern[at + 1 : at + 2] == b":":
            close = pattern.find(b"]", at + 2)
            if close < 0:
                return None
            if pattern[close - 1 : close] == b":" and close - 1 >= at + 2:
                named = _POSIX.get(pattern[at + 2 : close - 1])
                if named is None:
                    return None
                parts.append(named)
                last, at = None, close + 1
                continue
        elif byte == b"-" and last is not None and pattern[at + 1 : at + 2] not in (b"", b"]"):
            high = pattern[at + 1 : at + 2]
            at += 1
            if high == b"\\":
                at += 1
                high = pattern[at : at + 1]
                if not high:
                    return None
            if last <= high[0]:
                parts.append(b"%b-%b" % (re.escape(bytes([last])), re.escape(high)))
            last, at = None, at + 1
            continue
        if byte == b"\\":
            at += 1
            byte = pattern[at : at + 1]
            if not byte:
                return None
        parts.append(re.escape(byte))
        last, at = byte[0], at + 1
    inside = b"".join(parts)
    if not inside:
        return (rb"[^/]" if negated else rb"(?!)"), at + 1
    return b"(?!/)[%b%b]" % (b"^" if negated else b"", inside), at + 1


def _expression(tokens: list[bytes]) -> bytes:
    """Join tokens into one expression: what is between two `**` in groups, each tried once."""
    groups: list[list[bytes]] = [[]]
    folders: list[bytes] = []  # before each group but the first
    at, end = 0, len(tokens)
    while at < end:
        if tokens[at] not in (_DEEP, _DEEPER):
            groups[-1].append(tokens[at])
            at += 1
        elif at + 1 == end:  # at the end: all that is below
            groups[-1].append(rb".*")
            at += 1
        else:  # `**/`: any number of folders
            folders.append(rb"(?:[^/]*/)*" if tokens[at] == _DEEP else rb"(?:[^/]*/)+")
            groups.append([])
            at += 2
    head, *rest = [_segments(group) for group in groups]
    middle = b"".join(rb"(?>%b?%b)" % each for each in zip(folders, rest[:-1], strict=False))
    last = folders[-1] + rest[-1] if rest else b""
    return head + middle + last


def _segments(tokens: list[bytes]) -> bytes:
    """Join the tokens of a group: within a segment each part between stars is looked for once."""
    segments: list[list[bytes]] = [[]]
    for token in tokens:
        if token == _SLASH:
            segments.append([])
        else:
            segments[-1].append(token)
    return b"/".join(_segment(each) for each in segments)


def _segment(tokens: list[bytes]) -> bytes:
    parts: list[list[bytes]] = [[]]
    for token in tokens:
        if token == _STAR:
            parts.append([])
        else:
            parts[-1].append(token)
    head, *rest = [b"".join(each) for each in parts]
    middle = b"".join(rb"(?>[^/]*?%b)" % each for each in rest[:-1] if each)
    # Up to the next slash or the end, so that the greedy star has one place to stop.
    last = rb"[^/]*%b(?![^/])" % rest[-1] if rest else b""
    return head + middle + last
