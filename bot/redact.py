"""Takes known secrets out of what is written or shown, however they were printed.

A secret is found plain, reversed, in hex or in base64 (at any offset of what was encoded, with
either alphabet), in either case, and each of these also with line breaks, blanks, quotes or colons
between its characters, percent-encoded, or escaped as in JSON and HTML. A piece is enough: what
looks like `FRAGMENT` characters of a secret is taken out as well, so that half a key is none.

How it is fast: text is brought into one plain form (`_FOLD`), of which every eighth position is
looked up in a table of all pieces of eight that any form of a secret has. An occurrence of 15
characters covers such a position whole, so nothing is overlooked, and ordinary text costs one
look-up for eight characters, with however many secrets.

This is a net, not a wall: a program that wants to hide a key can write it in some other way. What
must not get out must not be given in.
"""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

MARK = "[secret]"
"""What stands in place of a secret: letters and brackets, so that JSON stays JSON."""

SHORTEST = 8
"""Characters of the shortest secret that is looked for: shorter ones are in ordinary words."""

FRAGMENT = 16
"""Characters of a secret that are taken out by themselves: 96 bits of a key in base64, and more
than any maker's prefix, such as `sk-ant-api03-`."""

HELD_MAX = 64 * 1024
"""Bytes that a stream keeps back at the most, however many blanks follow what may be a secret."""

_GRAM = 8  # bytes of one look-up: a 64-bit number
_BLOCK = 4096  # look-ups together, of which the whole is looked at again where one finds something
_WHOLE = 2 * _GRAM - 1  # so long that an aligned piece of eight is certainly in it
# What a line may end with before it is kept back for the next one: without these, the rest of a
# secret is still long enough to be found.
_LINE_END = 3
_LONG = FRAGMENT + _LINE_END
_AT = 32  # bits of a place in one form of a secret; above them is which form
_TAIL = 8  # bytes in which a character of a secret is written, escaped and between gaps
_ESCAPED = 4  # characters that an escape takes at the most
_ESCAPE_MAX = 64  # bytes: longer than one character's escape is written
_PASSING_MAX = 200  # more than the tokens of an hour on a busy server; each is good for an hour
_CACHED = 16  # redactors: one for the server, and one for each set of keys that turns have

# What may stand between the characters of a secret: folds, quotes, JSON's escapes, dumps.
_GAPS = b"\0\t\n\v\f\r \"'`\\:,|>"
# Either case is one, and so are both alphabets of base64.
_FOLD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_", b"abcdefghijklmnopqrstuvwxyz+/")
_RUN = re.compile(b"[^" + re.escape(_GAPS) + b"]+")

_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


class _Escape(NamedTuple):
    """A way to write a character: how it begins, how it is written, and what it stands for."""

    mark: bytes
    pattern: re.Pattern[bytes]
    decoded: Callable[[re.Match[bytes]], bytes]


def _hex(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern.replace(b"H", b"[0-9a-fA-F]"))


def _of_backslash(match: re.Match[bytes]) -> bytes:
    pair, unit, byte = match.groups()
    if pair is not None:
        return bytes.fromhex(re.sub(rb"\\+u", b"", pair).decode()).decode("utf-16-be").encode()
    if unit is not None:
        return chr(int(unit, 16)).encode("utf-8", "surrogatepass")
    return b"\n" if byte is None else bytes((int(byte, 16),))


def _of_percent(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def _of_entity(match: re.Match[bytes]) -> bytes:
    hexadecimal, decimal, name = match.groups()
    if name is not None:
        return _NAMED[name]
    number = int(decimal) if hexadecimal is None else int(hexadecimal, 16)
    return chr(number).encode("utf-8", "surrogatepass") if number <= sys.maxunicode else b"?"


# Each begins with one literal character, which is what makes the search for it fast; what more
# backslashes there are is among the gaps.
_ESCAPES = (
    _Escape(
        b"\\",
        _hex(rb"\\(?:u([dD][89abAB]H{2}\\+u[dD][c-fC-F]H{2})|u(H{4})|x(H{2})|[nrtfv])"),
        _of_backslash,
    ),
    _Escape(b"%", _hex(rb"%(?:25)*(H{2})"), _of_percent),
    _Escape(b"&", _hex(rb"&(?:#[xX](H{1,6});|#([0-9]{1,7});|(amp|lt|gt|quot|apos);)"), _of_entity),
)
_ESCAPE_BEGUN = _hex(
    rb"(?:%(?:25)*2?H?|\\+(?:uH{0,4}|u[dD][89abAB]H{2}\\+(?:uH{0,4})?|xH?)?|&#?[xX]?[0-9a-zA-Z]*)\Z"
)


class Redactor:
    """Knows secrets, and takes them out. `learn` adds more, also for streams that run already."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._for_ever: list[str] = []
        self._passing: list[str] = []
        self._forget()
        self.learn(secrets)

    def _forget(self) -> None:
        self._known: set[str] = set()
        self._patterns: list[bytes] = []
        self._grams: dict[int, int] = {}
        self._further: dict[int, list[int]] = {}
        self._beginnings: dict[bytes, list[bytes]] = {}
        self._longest = 0
        self._shortest = sys.maxsize
        self._short: set[bytes] = set()
        self._short_pattern: re.Pattern[bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def known(self) -> frozenset[str]:
        """What is looked for, line by line: another process makes the same redactor of it."""
        return frozenset(self._known)

    def learn(self, secrets: Iterable[str]) -> None:
        """Look for these as well; of one of several lines, such as a key in PEM, for each line."""
        given = tuple(secrets)
        self._for_ever += given
        self._add(given)

    def learn_passing(self, secret: str) -> None:
        """Look for a secret that is good for a while only, until many others came after it."""
        self._passing.append(secret)
        if len(self._passing) <= _PASSING_MAX:
            self._add([secret])
            return
        del self._passing[: _PASSING_MAX // 2]
        self._forget()
        self._add([*self._for_ever, *self._passing])

    def _add(self, secrets: Iterable[str]) -> None:
        for line in _lines(secrets):
            if line not in self._known:
                self._known.add(line)
                for form in _forms(line):
                    self._look_for(form)
        if self._short:
            longest_first = sorted(self._short, key=len, reverse=True)
            either = b"|".join(re.escape(each) for each in longest_first)
            self._short_pattern = re.compile(either, re.IGNORECASE)

    def text(self, text: str) -> str:
        """Return `text` without the secrets."""
        data = text.encode("utf-8", "surrogatepass")
        without = self.data(data)
        return text if without is data else without.decode("utf-8", "surrogatepass")

    def data(self, data: bytes) -> bytes:
        """Return `data` without the secrets; the same object where there are none."""
        return _without(data, self.find(data)) if self._known else data

    def value(self, value: Any) -> Any:
        """Return a value of JSON without the secrets, those in its keys as well."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.value(each) for each in value)
        return value

    def stream(self) -> Stream:
        """Begin a stream of bytes that come as they are read."""
        return Stream(self)

    def find(self, data: bytes) -> list[tuple[int, int]]:
        """Say where in `data` a secret, or a piece of one, begins and ends."""
        return [
            span
            for view in self._views(data)
            for span in self._spans(view, self._fragments(view.folded))
        ]

    def find_begun(self, data: bytes) -> tuple[list[tuple[int, int]], int]:
        """Find secrets; say also from where the end of `data` may be the beginning of one."""
        spans: list[tuple[int, int]] = []
        begun = [len(data)]
        for view in self._views(data):
            found = list(self._fragments(view.folded))
            spans += self._spans(view, found)
            cut = [each for each in found if each.goes_on and each.end == len(view.folded)]
            begun += [view.span(each.begin, each.end)[0] for each in cut]
        tail = max(0, len(data) - self._longest * _TAIL)
        for view in self._views(data[tail:]):
            begun += [tail + at for at in self._begun(view)]
        return spans, min(begun)

    def _views(self, data: bytes) -> Iterator[_View]:
        """Read `data` with its escapes decoded; without as well, where it makes a difference.

        What looks like an escape and is none may take a secret's first characters away: of a long
        one enough is left.
        """
        decoded = _View(data, _ESCAPES)
        yield decoded
        if decoded.plain != data and self._shortest < FRAGMENT + _ESCAPED:
            yield _View(data, ())

    def _spans(self, view: _View, fragments: Iterable[_Found]) -> Iterator[tuple[int, int]]:
        for found in fragments:
            yield view.span(found.begin, found.end)
        if self._short_pattern is not None:
            for match in self._short_pattern.finditer(view.plain):
                yield view.plain_span(*match.span())

    def _look_for(self, form: bytes) -> None:
        pattern = form.translate(_FOLD, _GAPS)
        self._longest = max(self._longest, len(pattern))
        self._shortest = min(self._shortest, len(pattern))
        for length in range(1, _GRAM + 1):
            self._beginnings.setdefault(pattern[:length], []).append(pattern)
        if len(pattern) < _WHOLE:
            self._short.add(form)
            return
        # Where each piece is, as one number: a token of an hour has 300, and there are many tokens.
        first = len(self._patterns) << _AT
        self._patterns.append(pattern)
        for at in range(len(pattern) - _GRAM + 1):
            number = int.from_bytes(pattern[at : at + _GRAM], sys.byteorder)
            if self._grams.setdefault(number, first + at) != first + at:
                self._further.setdefault(number, []).append(first + at)

    def _fragments(self, folded: bytes) -> Iterator[_Found]:
        """Find the pieces of secrets that are long enough."""
        numbers = _numbers(folded)
        for start in range(0, len(numbers), _BLOCK):
            block = numbers[start : start + _BLOCK]
            if not self._grams.keys().isdisjoint(block):
                for index, number in enumerate(block, start):
                    yield from self._grown(folded, index * _GRAM, number)

    def _grown(self, folded: bytes, at: int, number: int) -> Iterator[_Found]:
        if (place := self._grams.get(number)) is None:
            return
        for each in (place, *self._further.get(number, ())):
            pattern, offset = self._patterns[each >> _AT], each & (1 << _AT) - 1
            found = _grown(folded, at, pattern, offset)
            if found.end - found.begin >= min(len(pattern), FRAGMENT):
                yield found

    def _begun(self, view: _View) -> Iterator[int]:
        """Say where the end of `view` is the beginning of a secret."""
        folded, ends_line = view.folded, view.data.endswith(b"\n")
        for at in range(max(0, len(folded) - self._longest), len(folded)):
            patterns = self._beginnings.get(folded[at : at + _GRAM], ())
            if any(_is_cut(pattern, folded[at:], ends_line) for pattern in patterns):
                yield view.span(at, at + 1)[0]
                return


class Stream:
    """Takes the secrets out of bytes as they come; one that is split over reads is one."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what can be shown of all so far."""
        if not self._redactor:
            return data
        data = self._held + data
        tail = max(0, len(data) - _ESCAPE_MAX)
        escape = _ESCAPE_BEGUN.search(data, tail)
        whole = data[: escape.start()] if escape else data
        spans, shown = self._redactor.find_begun(whole)
        for begin, end in sorted(spans, reverse=True):
            shown = begin if begin < shown < end else shown
        if len(data) - shown > HELD_MAX:
            shown = len(whole)
        self._held = data[shown:]
        return _without(data[:shown], [span for span in spans if span[1] <= shown])

    def close(self) -> bytes:
        """Return what was kept back: nothing follows."""
        held, self._held = self._held, b""
        return self._redactor.data(held)


@lru_cache(maxsize=_CACHED)
def redactor_of(secrets: frozenset[str]) -> Redactor:
    """Return a redactor of these secrets, made once; it must not `learn` others."""
    return Redactor(secrets)


class _Found(NamedTuple):
    """A piece of a secret in a folded text; `goes_on` says that the secret is longer."""

    begin: int
    end: int
    goes_on: bool


class _View:
    """Bytes with their escapes decoded, or as they are, and the way back from it.

    `plain` is what is read, `folded` the same in the form that is searched.
    """

    def __init__(self, data: bytes, escapes: Iterable[_Escape]) -> None:
        self.data = self.plain = data
        self._layers: list[tuple[bytes, _Escape]] = []
        for each in escapes:
            if each.mark in self.plain:
                self._layers.append((self.plain, each))
                self.plain = each.pattern.sub(each.decoded, self.plain)
        self.folded = self.plain.translate(_FOLD, _GAPS)

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Say where a piece of `folded` is in the data."""
        return self.plain_span(self._in_plain(begin), self._in_plain(end - 1) + 1)

    def plain_span(self, begin: int, end: int) -> tuple[int, int]:
        """Say where a piece of `plain` is in the data."""
        for way in reversed(self._ways):
            begin, end = _back(way, begin)[0], _back(way, end - 1)[1]
        return begin, end

    def _in_plain(self, at: int) -> int:
        starts, runs = self._runs
        index = bisect_right(starts, at) - 1
        return runs[index] + at - starts[index]

    @cached_property
    def _runs(self) -> tuple[list[int], list[int]]:
        """Where each run without gaps begins, in `folded` and in `plain`."""
        starts, runs, at = [], [], 0
        for run in _RUN.finditer(self.plain):
            starts.append(at)
            runs.append(run.start())
            at += run.end() - run.start()
        return starts, runs

    @cached_property
    def _ways(self) -> list[_Way]:
        return [_way(data, escape) for data, escape in self._layers]


_Way = tuple[list[int], list[tuple[int, int, int]]]
"""Of each escape: where its meaning begins, and its own place with where its meaning ends."""


def _way(data: bytes, escape: _Escape) -> _Way:
    starts, places, less = [], [], 0
    for match in escape.pattern.finditer(data):
        begin, end = match.span()
        length = len(escape.decoded(match))
        starts.append(begin - less)
        places.append((begin, end, begin - less + length))
        less += end - begin - length
    return starts, places


def _back(way: _Way, at: int) -> tuple[int, int]:
    """Say where a decoded byte came from."""
    starts, places = way
    index = bisect_right(starts, at) - 1
    if index < 0:
        return at, at + 1
    begin, end, after = places[index]
    # Within what an escape stands for, or as far behind it as here.
    return (begin, end) if at < after else (end + at - after, end + at - after + 1)


def _lines(secrets: Iterable[str]) -> Iterator[str]:
    """Yield what is looked for: a secret, or each line of one that says something."""
    for secret in secrets:
        lines = [line.strip() for line in secret.replace("\\n", "\n").splitlines()]
        lines = [line for line in lines if line and not line.startswith("-----")]
        least = SHORTEST if len(lines) == 1 else FRAGMENT
        yield from (line for line in lines if len(line) >= least)


def _forms(secret: str) -> Iterator[bytes]:
    data = secret.encode("utf-8", "surrogatepass")
    yield data
    if (decoded := _View(data, _ESCAPES).plain) != data:
        yield decoded
    yield secret[::-1].encode("utf-8", "surrogatepass")
    yield data.hex().encode()
    for offset, begin in enumerate((0, 2, 3)):
        # The characters that follow from the secret alone, not from what stands beside it.
        encoded = b64encode(b"\0" * offset + data)
        yield encoded[begin : (offset + len(data)) * 8 // 6]


def _numbers(folded: bytes) -> memoryview:
    """Return every whole piece of eight bytes as a number."""
    whole = len(folded) // _GRAM * _GRAM
    return memoryview(folded)[:whole].cast("Q")


def _grown(folded: bytes, at: int, pattern: bytes, offset: int) -> _Found:
    """Make what is the same at `at` and at a pattern's `offset` as long as it is."""
    begin, first = at, offset
    while begin and first and folded[begin - 1] == pattern[first - 1]:
        begin, first = begin - 1, first - 1
    end, last = at + _GRAM, offset + _GRAM
    while end < len(folded) and last < len(pattern) and folded[end] == pattern[last]:
        end, last = end + 1, last + 1
    return _Found(begin, end, last < len(pattern))


def _is_cut(pattern: bytes, end: bytes, ends_line: bool) -> bool:
    """Say whether `end`, the end of a text, is the beginning of `pattern` and waits for more."""
    if len(end) >= len(pattern) or not pattern.startswith(end):
        return False
    if not ends_line:
        return True
    # A short secret is found in one piece only, and of a long one the rest is found by itself.
    return len(pattern) >= _WHOLE and (len(pattern) < _LONG or len(end) > _LINE_END)


def _without(data: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    """Put `MARK` in the place of each span, once where they meet."""
    parts, at = [], 0
    merged: list[list[int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([begin, end])
    if not merged:
        return data
    for begin, end in merged:
        parts += [data[at:begin], MARK.encode()]
        at = end
    return b"".join([*parts, data[at:]])
