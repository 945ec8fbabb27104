"""What looks like a secret in a file, by the published rules of gitleaks.

`gitleaks.toml` is that project's rule set as it stands, with its licence beside it. Its expressions
are those of Go, which RE2 reads as well, and which take time in proportion to the text, whatever
the text. One pass over a file finds which rules' keywords are in it; only those rules are tried.

What counts as gitleaks counts it: a rule's secret is its first group, it must be as random as the
rule asks, and the allowlists of the rule and of the whole set take away what is an example or no
secret. Not done: what gitleaks decodes or unpacks, and its history of commits.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import re2

RULES = Path(__file__).with_name("gitleaks.toml")
ALLOW = b"gitleaks:allow"
"""What a line says on which gitleaks finds nothing."""

# What RE2 may keep of the automata that it builds as it goes; with its own 8 MB it would throw
# those of the keywords away again and again.
_MEMORY = 64 * 1024 * 1024
# The rules begin with the word that the keyword stands in, so that a match shows it. To look for
# that first makes the search many times slower; where there is a match, it is looked for then.
_WORD = r"[\w.-]{0,50}?"
_WORD_LENGTH = 50
_GENERAL = "generic-api-key"
_WORD_END = re.compile(rb"[\w.-]*\Z")


@dataclass(frozen=True, slots=True)
class Found:
    """What looks like a secret: the line, counted from 1, the rule's name, and what tells it apart.

    `digest` is never shown: of a short secret it would tell too much. `marked` says that the line
    has gitleaks' word for what is allowed.
    """

    line: int
    kind: str
    digest: bytes = field(repr=False)
    marked: bool = False


def scan(path: str, content: bytes) -> Iterator[Found]:
    """Yield what looks like a secret in a file, rule by rule; a text may be of several kinds."""
    rules = _rules()
    if rules.allowlist.has_path(path):
        return
    named: set[int] = set()
    for rule in rules.tried(content):
        for found in rule.find(path, content, rules.allowlist):
            # As gitleaks does: what a rule knows by its form, the general one adds nothing to.
            if rule.name != _GENERAL:
                named.add(found.line)
                yield found
            elif found.line not in named:
                yield found


def kinds() -> frozenset[str]:
    """Return the names of all rules."""
    return frozenset(rule.name for rule in _rules().all)


def found_at(content: bytes, begin: int, end: int, kind: str) -> Found:
    """Tell of a secret that stands in `content` from `begin` to `end`."""
    line = content.count(b"\n", 0, begin) + 1
    digest = hashlib.sha256(kind.encode() + b"\0" + content[begin:end]).digest()
    return Found(line, kind, digest, ALLOW in _lines_of(content, begin, end))


def _options() -> re2.Options:
    options = re2.Options()
    # Bytes: a file may be in any encoding, and what is looked for is ASCII.
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _MEMORY
    options.log_errors = False
    return options


def _compiled(expression: str) -> re2._Regexp:
    return re2.compile(expression.encode(), _options())


def _either(expressions: Iterable[str]) -> re2._Regexp | None:
    """Make one expression of several; None of none."""
    together = "|".join(f"(?:{each})" for each in expressions)
    return _compiled(together) if together else None


def _is_in(regex: re2._Regexp, text: bytes) -> bool:
    return regex.search(text) is not None


@dataclass(frozen=True, slots=True)
class _Match:
    """What a rule found: the whole of it, the secret in it, and the lines it stands on."""

    whole: bytes
    secret: bytes
    lines: bytes


@dataclass(frozen=True, slots=True)
class _Allowlist:
    """What is no secret after all; with `every`, only where each of its conditions holds."""

    paths: re2._Regexp | None
    regexes: re2._Regexp | None
    stopwords: tuple[bytes, ...]
    target: str
    every: bool

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> _Allowlist:
        return cls(
            _either(table.get("paths", ())),
            _either(table.get("regexes", ())),
            tuple(each.lower().encode() for each in table.get("stopwords", ())),
            table.get("regexTarget", "secret"),
            table.get("condition", "OR") in ("AND", "&&"),
        )

    def has_path(self, path: str) -> bool:
        return self.paths is not None and _is_in(
            self.paths, path.encode("utf-8", "surrogateescape")
        )

    def allows(self, path: str, match: _Match) -> bool:
        told = {"match": match.whole, "line": match.lines}.get(self.target, match.secret)
        lowered = match.secret.lower()
        holds = []
        if self.paths is not None:
            holds.append(self.has_path(path))
        if self.regexes is not None:
            holds.append(_is_in(self.regexes, told))
        if self.stopwords:
            holds.append(any(each in lowered for each in self.stopwords))
        return all(holds) if self.every else any(holds)


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    regex: re2._Regexp | None
    begins_with_word: bool
    path: re2._Regexp | None
    group: int
    entropy: float
    keywords: tuple[str, ...]
    allowlists: tuple[_Allowlist, ...]

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> _Rule:
        regex, path = table.get("regex", ""), table.get("path", "")
        return cls(
            table["id"],
            _compiled(regex.replace(_WORD, "")) if regex else None,
            _WORD in regex,
            _compiled(path) if path else None,
            table.get("secretGroup", 0),
            table.get("entropy", 0.0),
            tuple(each.lower() for each in table.get("keywords", ())),
            tuple(_Allowlist.of(each) for each in table.get("allowlists", ())),
        )

    def find(self, path: str, content: bytes, common: _Allowlist) -> Iterator[Found]:
        if self.path is not None and not self.path.search(_name(path)):
            return
        if self.regex is None:
            yield found_at(content, 0, len(content), self.name)
            return
        last = 0
        for match in self.regex.finditer(content):
            begin, end = self._secret(match)
            if self._counts(path, content, match, (begin, end), last, common):
                yield found_at(content, begin, end, self.name)
            last = match.end()

    def _secret(self, match: re2._Match) -> tuple[int, int]:
        groups = [self.group] if self.group else range(1, match.re.groups + 1)
        for group in (*groups, 0):
            begin, end = match.span(group)
            if end > begin:
                break
        return begin, end

    def _counts(
        self,
        path: str,
        content: bytes,
        match: re2._Match,
        span: tuple[int, int],
        last: int,
        common: _Allowlist,
    ) -> bool:
        secret = content[span[0] : span[1]]
        if self.entropy and entropy(secret) <= self.entropy:
            return False
        begin, end = match.span()
        if self.begins_with_word:
            before = _WORD_END.search(content, max(last, begin - _WORD_LENGTH), begin)
            begin = before.start() if before else begin
        found = _Match(content[begin:end].strip(b"\n"), secret, _lines_of(content, begin, end))
        return not any(each.allows(path, found) for each in (common, *self.allowlists))


class _Rules:
    """All rules, and which of them a text's keywords ask for."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.allowlist = _Allowlist.of(table["allowlist"])
        self.all = tuple(_Rule.of(each) for each in table["rules"])
        self._always = frozenset(n for n, rule in enumerate(self.all) if not rule.keywords)
        asked: dict[str, list[int]] = {}
        for number, rule in enumerate(self.all):
            for keyword in rule.keywords:
                asked.setdefault(keyword, []).append(number)
        self._asked = tuple(asked.values())
        self._keywords = re2.Set.SearchSet(_options())
        for keyword in asked:
            self._keywords.Add(re2.escape(keyword).encode())
        self._keywords.Compile()

    def tried(self, content: bytes) -> Iterable[_Rule]:
        found = self._keywords.Match(content.lower()) or ()
        numbers = self._always.union(*(self._asked[index] for index in found))
        tried = [self.all[number] for number in sorted(numbers)]
        return sorted(tried, key=lambda rule: rule.name == _GENERAL)


@lru_cache(maxsize=1)
def _rules() -> _Rules:
    return _Rules(tomllib.loads(RULES.read_text(encoding="utf-8")))


def entropy(data: bytes) -> float:
    """Return Shannon's entropy of a text, in bits a character."""
    size = len(data)
    shares = (count / size for count in Counter(data).values())
    return -sum(share * math.log2(share) for share in shares)


def _name(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _lines_of(content: bytes, begin: int, end: int) -> bytes:
    """Return the whole lines that a piece of a text stands on."""
    start = content.rfind(b"\n", 0, begin) + 1
    stop = content.find(b"\n", end)
    return content[start : len(content) if stop < 0 else stop]
