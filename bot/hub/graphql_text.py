"""Reads a GraphQL document: one operation, its variables, what it selects and with what.

https://spec.graphql.org/October2021/#sec-Document-Syntax, without named fragments, directives and
block strings, which nobody sends to the hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r'(?P<gap>(?:[\s,]|#[^\n]*)+)|(?P<mark>\.\.\.|[!$():=\[\]{}])|(?P<text>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[_A-Za-z]\w*)"
)

NAME, TEXT, NUMBER, END = "<name>", "<text>", "<number>", "<end>"
"""Kinds of tokens, named as no token reads."""

DEPTH = 20
"""How deep selections and values may be nested: far deeper than what the hub answers."""


class Unreadable(Exception):
    """What is sent is no document that can be read; `line` and `column` say where."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable in the place of a value."""

    name: str


@dataclass(frozen=True, slots=True)
class Word:
    """A value of an enumeration."""

    name: str


@dataclass(frozen=True, slots=True)
class Selected:
    """A field that is asked for, under `key`, with its arguments and what is selected of it.

    A fragment on a kind of object has no name, and that kind as `on`.
    """

    key: str
    name: str
    arguments: Mapping[str, Any]
    selected: tuple[Selected, ...]
    line: int
    column: int
    on: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A query or a mutation, its variables' types, and what it selects."""

    kind: str
    variables: Mapping[str, str]
    selected: tuple[Selected, ...]


def read(text: str) -> Operation:
    """Read a document; `Unreadable` where it is none of this kind."""
    return _Reader(text).operation()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split(text)
        self._at = 0
        self._depth = 0

    def _split(self, text: str) -> Sequence[tuple[str, str, int]]:
        found, at = [], 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._wrong(at, text[at])
            if match.lastgroup != "gap":
                found.append((f"<{match.lastgroup}>", match[0], at))
            at = match.end()
        return [*found, (END, "", len(text))]

    def _wrong(self, at: int, what: str) -> Unreadable:
        line, column = self._place(at)
        said = f'Parse error on "{what}" at [{line}, {column}]' if what else "Unexpected end"
        return Unreadable(said, line, column)

    def _place(self, at: int) -> tuple[int, int]:
        return self._text.count("\n", 0, at) + 1, at - self._text.rfind("\n", 0, at)

    def _next(self, *wanted: str) -> str:
        """Take a token of one of these kinds, or one that reads so."""
        kind, text, at = self._tokens[self._at]
        if kind not in wanted and text not in wanted:
            raise self._wrong(at, text)
        self._at += 1
        return text

    def _is(self, *wanted: str) -> bool:
        kind, text, _ = self._tokens[self._at]
        return kind != END and (kind in wanted or text in wanted)

    def operation(self) -> Operation:
        kind, variables = "query", {}
        if not self._is("{"):
            kind = self._next("query", "mutation")
            if self._is(NAME):
                self._next(NAME)
            if self._is("("):
                variables = self._variables()
        selected = self._selected()
        self._next(END)
        return Operation(kind, variables, selected)

    def _variables(self) -> dict[str, str]:
        found = {}
        self._next("(")
        while not self._is(")"):
            self._next("$")
            name = self._next(NAME)
            self._next(":")
            found[name] = self._type()
        self._next(")")
        return found

    def _type(self) -> str:
        if self._is("["):
            self._next("[")
            text = f"[{self._type()}{self._next(']')}"
        else:
            text = self._next(NAME)
        return text + (self._next("!") if self._is("!") else "")

    def _selected(self) -> tuple[Selected, ...]:
        found = []
        self._deeper(self._next("{"))
        while not self._is("}"):
            found.append(self._field())
        self._next("}")
        self._depth -= 1
        return tuple(found)

    def _deeper(self, mark: str) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise self._wrong(self._tokens[self._at - 1][2], mark)

    def _field(self) -> Selected:
        line, column = self._place(self._tokens[self._at][2])
        if self._is("..."):
            self._next("...")
            self._next("on")
            on = self._next(NAME)
            return Selected("", "", {}, self._selected(), line, column, on)
        key = name = self._next(NAME)
        if self._is(":"):
            self._next(":")
            name = self._next(NAME)
        arguments = self._pairs("(", ")") if self._is("(") else {}
        selected = self._selected() if self._is("{") else ()
        return Selected(key, name, arguments, selected, line, column)

    def _pairs(self, start: str, end: str) -> dict[str, Any]:
        found = {}
        self._deeper(self._next(start))
        while not self._is(end):
            name = self._next(NAME)
            self._next(":")
            found[name] = self._value()
        self._next(end)
        self._depth -= 1
        return found

    def _value(self) -> Any:
        if self._is("$"):
            self._next("$")
            return Variable(self._next(NAME))
        if self._is("{"):
            return self._pairs("{", "}")
        if self._is(TEXT, NUMBER):
            _, text, at = self._tokens[self._at]
            self._at += 1
            try:
                return json.loads(text)
            except ValueError:
                raise self._wrong(at, text) from None
        word = self._next(NAME)
        return {"true": True, "false": False, "null": None}.get(word, Word(word))
