"""What a rule answers: allowed or refused, and a reason that a contributor can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

# A reason is read in a comment or a terminal: ten names say what kind of thing it is about.
NAMED = 10
# A name longer than this hides the sentence that it stands in.
NAME_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of one rule, with those of the rules that it was made from.

    `rule` is the rule's name, `reason` one or more sentences; a refusal's reason says what
    to do next.
    """

    allowed: bool
    rule: str
    reason: str
    children: tuple[Verdict, ...] = ()

    def __bool__(self) -> NoReturn:
        raise TypeError("a verdict is no truth value: ask for `.allowed`")

    def lines(self) -> list[str]:
        """Return the tree as plain lines, two blanks a level."""
        return list(self._lines(0))

    def text(self) -> str:
        """Return the tree as one text, for a terminal or a fenced block."""
        return "\n".join(self.lines())

    def _lines(self, depth: int) -> Iterator[str]:
        word = "allowed" if self.allowed else "refused"
        yield f"{'  ' * depth}{word}  {self.rule}: {self.reason}"
        for child in self.children:
            yield from child._lines(depth + 1)


def all_of(rule: str, children: Iterable[Verdict]) -> Verdict:
    """Combine verdicts: allowed if every one is.

    Of no verdicts at all it makes a refusal: what nobody judged was not allowed.
    """
    verdicts = tuple(children)
    refusals = [verdict.reason for verdict in verdicts if not verdict.allowed]
    if refusals:
        return Verdict(False, rule, " ".join(refusals), verdicts)
    if not verdicts:
        return Verdict(False, rule, "No rule was applied, so nothing is allowed; name a rule.")
    return Verdict(True, rule, f"Every rule allows it ({len(verdicts)}).", verdicts)


def in_turn(rule: str, children: Iterable[Verdict]) -> Verdict:
    """Combine verdicts on one person's act: allowed if every one is.

    A refusal gives only the first reason: whoever lacks the role need not hear the rest. Of
    an allowed act every reason is told, as evidence.
    """
    verdicts = tuple(children)
    together = all_of(rule, verdicts)
    if together.allowed:
        return Verdict(True, rule, " ".join(each.reason for each in verdicts), verdicts)
    first = next((each.reason for each in verdicts if not each.allowed), together.reason)
    return Verdict(False, rule, first, verdicts)


def code(text: str) -> str:
    """Return untrusted text as a Markdown code span that it cannot break out of.

    Characters that do not print, or that turn the direction of reading, are shown by their
    numbers; a text over 200 characters is cut in its middle.
    """
    shown = "".join(char if char.isprintable() else _escaped(char) for char in text)
    if len(shown) > NAME_LENGTH:
        half = NAME_LENGTH // 2
        shown = f"{shown[:half]}…{shown[-half:]}"
    # CommonMark: a span is closed only by a run of as many backticks as opened it.
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown or ' '}{pad}{fence}"


def listed(texts: Iterable[str]) -> str:
    """Name at most ten untrusted texts, sorted, and say how many more there are."""
    names = sorted(set(texts))
    shown = ", ".join(code(name) for name in names[:NAMED])
    more = len(names) - NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: "1 file", "1,200 files"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _escaped(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
