"""The pure parser of slash commands: text in, commands and misuses out.

A command stands at the start of a line, outside quotes, code and HTML comments; a comment may hold
several. `/orchestrate VERB …` works everywhere; the bare `/VERB` is marked as such, so that the
router can tell whether the thread belongs to a run. The lines that follow a command, up to the next
one, are its detail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

COMMANDS_MAX = 10
"""Commands obeyed in one comment: more is a mistake, or somebody's program."""

PREFIX = "orchestrate"

_COMMAND = re.compile(r"/([a-z][a-z-]*)(?:[ \t]+(.*))?$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_INDENTED = re.compile(r"(?: {4}|\t)")
_QUOTE = re.compile(r" {0,3}>")
_OPTION = re.compile(r"--([a-z][a-z-]*)(?:=(.*))?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command; `value` is what stands for its value, None for a switch.

    One of `many` values takes all the words up to the next option, and may be given again.
    """

    name: str
    value: str | None = None
    many: bool = False

    def __str__(self) -> str:
        value = f" {self.value}{'…' if self.many else ''}" if self.value else ""
        return f"[--{self.name}{value}]"


@dataclass(frozen=True, slots=True)
class Usage:
    """How a command is written: what the parser, `/help` and the documentation are made from.

    `arguments` names the words it takes; in brackets where they may be left out. `text` names
    the free text that it takes in their place.
    """

    verb: str
    summary: str
    arguments: tuple[str, ...] = ()
    text: str = ""
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The usage line."""
        words = [f"/{self.verb}", *self.arguments, self.text, *map(str, self.options)]
        return " ".join(word for word in words if word)

    @property
    def least(self) -> int:
        """How many arguments it needs."""
        return sum(not argument.startswith("[") for argument in self.arguments)


@dataclass(frozen=True, slots=True)
class Command:
    """One command as somebody gave it; `line` counts from 1 in the comment."""

    verb: str
    arguments: tuple[str, ...] = ()
    text: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""
    line: int = 1
    bare: bool = False

    def argument(self) -> str:
        """Return the first argument, or nothing."""
        return self.arguments[0] if self.arguments else ""


@dataclass(frozen=True, slots=True)
class Misuse:
    """A line that was meant as a command and is none; `sentence` says how it is written."""

    verb: str
    sentence: str
    line: int = 1
    bare: bool = False


def parse(body: str, usages: Sequence[Usage]) -> list[Command | Misuse]:
    """Find the commands in the text of a comment, in order, at most `COMMANDS_MAX`."""
    known = {usage.verb: usage for usage in usages}
    lines = body.replace("\r\n", "\n").split("\n")
    spoken = [(n, match) for n, match in _spoken(lines) if match.group(1) in known]
    found = []
    for index, (number, match) in enumerate(spoken[:COMMANDS_MAX]):
        end = spoken[index + 1][0] if index + 1 < len(spoken) else len(lines)
        detail = "\n".join(lines[number + 1 : end]).strip()
        found.append(_read(match.group(1), match.group(2) or "", detail, number + 1, known))
    return found


def read(verb: str, rest: str, usages: Sequence[Usage]) -> Command | Misuse:
    """Read one command whose verb is known already, as the command line and buttons give it."""
    return _read(verb, rest, "", 1, {usage.verb: usage for usage in usages})


def _spoken(lines: Sequence[str]) -> Iterator[tuple[int, re.Match[str]]]:
    """Yield the lines that someone says, not those that they quote or show."""
    fence, hidden = "", False
    for number, line in enumerate(lines):
        if hidden or (not fence and line.lstrip().startswith("<!--")):
            hidden = "-->" not in line
            continue
        mark = _FENCE.match(line)
        if fence:
            closes = mark and mark.group(1).startswith(fence)
            fence = "" if closes and not line.strip(" \t`~") else fence
        elif mark:
            fence = mark.group(1)
        elif not _INDENTED.match(line) and not _QUOTE.match(line):
            command = _COMMAND.match(line.rstrip())
            if command:
                yield number, command


def _read(
    verb: str, rest: str, detail: str, line: int, known: Mapping[str, Usage]
) -> Command | Misuse:
    if verb != PREFIX:
        return _fit(known[verb], rest, detail, line, bare=True)
    named = re.match(r"([a-z][a-z-]*)(?:\s+(.*))?$", rest.strip(), re.DOTALL)
    usage = known.get(named.group(1)) if named else None
    if named and usage and usage.verb != PREFIX:
        fits = _fit(usage, named.group(2) or "", detail, line, bare=False)
        # "/orchestrate update the docs" is a request: `update` takes no words.
        if isinstance(fits, Command) or usage.options:
            return fits
    return _fit(known[PREFIX], rest, detail, line, bare=False)


def _fit(usage: Usage, rest: str, detail: str, line: int, *, bare: bool) -> Command | Misuse:
    try:
        words, options = _sort(_tokens(rest), usage)
        if usage.text:
            if not (words or detail or usage.text.startswith("[")):
                raise _Wrong("Something is missing.")
            return Command(usage.verb, (), " ".join(words), options, detail, line, bare)
        if not usage.least <= len(words) <= len(usage.arguments):
            raise _Wrong("That is not how it is written.")
    except _Wrong as wrong:
        return Misuse(usage.verb, f"{wrong} Usage: `{usage.line}`", line, bare)
    return Command(usage.verb, tuple(words), "", options, detail, line, bare)


class _Wrong(Exception):
    """What is wrong with a command, as a sentence."""


def _sort(tokens: list[_Token], usage: Usage) -> tuple[list[str], dict[str, str]]:
    """Tell a command's words from its options."""
    options: dict[str, str] = {}
    words: list[str] = []
    while tokens:
        token = tokens.pop(0)
        if token.text == "--" and not token.quoted:
            return [*words, *(each.text for each in tokens)], options
        match = None if token.quoted else _OPTION.match(token.text)
        if match is None:
            words.append(token.text)
            continue
        option = _option(usage, match.group(1))
        values = [_value(option, match.group(2), tokens)]
        if option.many:
            before = options.get(option.name)
            values = [*([] if before is None else [before]), *values, *_words(tokens)]
        options[option.name] = "\n".join(values)
    return words, options


def _option(usage: Usage, name: str) -> Option:
    for option in usage.options:
        if option.name == name:
            return option
    quote = "; put the request in quotes if it is part of it" if usage.text else ""
    raise _Wrong(f"There is no option `--{name}` here{quote}.")


def _value(option: Option, given: str | None, tokens: list[_Token]) -> str:
    if option.value is None:
        if given is not None:
            raise _Wrong(f"`--{option.name}` takes no value.")
        return ""
    if given is None and not tokens:
        raise _Wrong(f"`--{option.name}` needs a value.")
    return given if given is not None else tokens.pop(0).text


def _words(tokens: list[_Token]) -> Iterator[str]:
    """Take the words up to the next option."""
    while tokens and (tokens[0].quoted or not tokens[0].text.startswith("--")):
        yield tokens.pop(0).text


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    quoted: bool


def _tokens(text: str) -> list[_Token]:
    """Split as a shell does, save that an apostrophe within a word is one: `don't`."""
    tokens: list[_Token] = []
    at, end = 0, len(text)
    while at < end:
        if text[at].isspace():
            at += 1
            continue
        token, at = _token(text, at)
        tokens.append(token)
    return tokens


def _token(text: str, at: int) -> tuple[_Token, int]:
    quoted = text[at] in "\"'" and _closing(text, at) is not None
    parts: list[str] = []
    while at < len(text) and not text[at].isspace():
        closing = _closing(text, at) if text[at] in "\"'" and _opens(text, at) else None
        if closing is None:
            parts.append(text[at])
            at += 1
            continue
        inside = text[at + 1 : closing]
        parts.append(re.sub(r"\\([\"\\])", r"\1", inside) if text[at] == '"' else inside)
        at = closing + 1
    return _Token("".join(parts), quoted), at


def _opens(text: str, at: int) -> bool:
    """A quote opens at the start of a word, or of an option's value."""
    return at == 0 or text[at - 1].isspace() or text[at - 1] == "="


def _closing(text: str, at: int) -> int | None:
    """Find the quote that closes the one at `at`, before a blank or the end."""
    mark, here = text[at], at + 1
    while here < len(text):
        if text[here] == "\\" and mark == '"':
            here += 2
            continue
        if text[here] == mark and (here + 1 == len(text) or text[here + 1].isspace()):
            return here
        here += 1
    return None
