"""YAML as a tree that knows its lines: bounded, without aliases, anchors, tags or surprises.

Scalars are read by the core schema of YAML 1.2, so that `on`, `no` and `12:30` are the texts
that they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from policies.verdict import code

# Beyond any file that people keep by hand; it takes a few tenths of a second to read.
MAX_BYTES = 64 * 1024
# The deepest setting stands at 4.
MAX_DEPTH = 10
# An integer of more digits is no setting, and takes long to read.
MAX_DIGITS = 18

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(rf"[-+]?[0-9]{{1,{MAX_DIGITS}}}")
_FLOAT = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{0,18}")
_SURROGATE = re.compile("[\ud800-\udfff]")

Scalar = str | int | float | bool | None
Step = str | int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong at a place in the file; line and column count from 1."""

    line: int
    column: int
    message: str


@dataclass(slots=True)
class Node:
    """A value at its place; `keys` holds where the key of each item of a mapping stands."""

    line: int
    column: int
    value: Scalar | list[Node] | dict[str, Node]
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def find(self, steps: tuple[Step, ...]) -> Node:
        """Follow steps down and return the last node that is there.

        Steps that lead nowhere are passed over: they may name a kind, not a place.
        """
        node = self
        for step in steps:
            node = node.below(step) or node
        return node

    def there(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """Return those of the steps that lead somewhere."""
        node, led = self, []
        for step in steps:
            if (below := node.below(step)) is not None:
                node = below
                led.append(step)
        return tuple(led)

    def below(self, step: Step) -> Node | None:
        """Return the item at a key or index, None where there is none."""
        if isinstance(self.value, dict) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None


def plain(node: Node) -> Any:
    """Return a tree as plain lists, dicts and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def read(text: str | bytes) -> Node | Problem | None:
    """Read one YAML document: its tree, the first problem in it, or None where it is empty."""
    try:
        return _Reader(_decoded(text)).document()
    except _Wrong as wrong:
        return wrong.problem
    except yaml.reader.ReaderError as error:
        return _unprintable(text, error)
    except yaml.MarkedYAMLError as error:
        return _malformed(error)
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML's own arithmetic on escapes and directives raises these, without a place.
        return Problem(1, 1, "This is not YAML; check the escapes in quoted texts.")


class _Wrong(Exception):
    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, column, message)


def _decoded(text: str | bytes) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise _Wrong(1, 1, f"The file is over {MAX_BYTES // 1024} KiB; make it shorter.")
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _Wrong(line, 1, "This line is not UTF-8; save the file as UTF-8.") from None


class _Reader:
    """Builds the tree from PyYAML's events, so that bounds hold while it reads."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=yaml.SafeLoader))

    def document(self) -> Node | None:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        root = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _wrong(event, "Here a second document begins; keep one and remove the `---`.")
        if root.value is None:
            return None
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        _plain_yaml(event)
        if depth > MAX_DEPTH:
            raise _wrong(event, f"This is nested over {MAX_DEPTH} levels deep; flatten it.")
        line, column = _place(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(Node(line, column, {}), depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(line, column, list(self._items(depth)))
        return Node(line, column, _scalar(event))

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _mapping(self, node: Node, depth: int) -> Node:
        items: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = _key(event)
            if key in items:
                raise _wrong(event, f"{code(key)} stands here twice; keep one of them.")
            node.keys[key] = _place(event)
            items[key] = self._node(next(self._events), depth + 1)
        node.value = items
        return node


def _plain_yaml(event: yaml.Event) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise _wrong(
            event, "Aliases are not read here: write the value out, or put quotes around `*`."
        )
    if getattr(event, "anchor", None) is not None:
        raise _wrong(event, "Anchors are not read here: write the value, or put quotes around `&`.")
    if getattr(event, "tag", None) is not None:
        raise _wrong(event, "Tags are not read here: put quotes around what begins with `!`.")


def _key(event: yaml.Event) -> str:
    _plain_yaml(event)
    if not isinstance(event, yaml.ScalarEvent):
        raise _wrong(event, "A key must be a word; write `name: value`.")
    if len(event.value) > 100 or not event.value.isprintable():
        raise _wrong(event, "This key is too long or does not print; write `name: value`.")
    return str(event.value)


def _scalar(event: yaml.Event) -> Scalar:
    if not isinstance(event, yaml.ScalarEvent):
        raise _wrong(event, "Here a value is missing; write `name: value`.")
    text = str(event.value)
    if _SURROGATE.search(text):
        raise _wrong(event, "This text holds half a character; write the character itself.")
    return text if event.style else _resolved(text)


def _resolved(text: str) -> Scalar:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _wrong(event: yaml.Event, message: str) -> _Wrong:
    return _Wrong(*_place(event), message)


def _unprintable(text: str | bytes, error: yaml.reader.ReaderError) -> Problem:
    known = text if isinstance(text, str) else text.decode("utf-8-sig", "replace")
    line = known.count("\n", 0, int(error.position)) + 1
    return Problem(line, 1, "This line holds a character that does not print; remove it.")


# What PyYAML says when a value begins with one of YAML's own characters.
_QUOTE = ("alias", "tag", "anchor", "token", "directive")


def _malformed(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    said = f"{error.context or ''} {error.problem or ''}"
    if "'\\t'" in said:
        hint = "use blanks instead of tabs"
    elif any(word in said for word in _QUOTE):
        hint = "put quotes around a value that begins with a special character such as `*` or `!`"
    else:
        hint = "check the blanks before it, its quotes, and the colon after the key"
    return Problem(line, column, f"This is not YAML as it stands; {hint}.")
