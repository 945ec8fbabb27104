"""Holds a document against the schema, and says what is wrong with it in GitHub's own form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.hub.graphql_schema import ENUMS, INPUTS, KINDS, OBJECTS, bare
from bot.hub.graphql_text import Operation, Selected, Variable, Word

Error = dict[str, Any]

PART = "The hub knows only a part of GitHub's schema: use REST for all else."

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def problems(operation: Operation, given: Mapping[str, Any]) -> list[Error]:
    """Return what is wrong with a document and the variables that came with it."""
    checker = _Checker(operation)
    root = operation.kind.capitalize()
    found = [*checker.selections(root, operation.selected, [operation.kind])]
    for name in operation.variables.keys() - checker.used:
        said = f"Variable ${name} is declared by anonymous {operation.kind} but not used"
        found.append(_error(said, "variableNotUsed", [operation.kind]))
    for name, type in operation.variables.items():
        if not _is_value(given.get(name), type):
            said = f"Variable ${name} of type {type} was provided invalid value"
            found.append({"message": said, "extensions": {"value": given.get(name)}})
    return found


@dataclass(slots=True)
class _Checker:
    operation: Operation
    used: set[str] = field(default_factory=set)

    def selections(
        self, type: str, selected: tuple[Selected, ...], path: list[str]
    ) -> Iterator[Error]:
        for each in selected:
            there = [*path, each.key or f"... on {each.on}"]
            if each.on:
                if each.on != type and each.on not in KINDS.get(type, ()):
                    said = f"Fragment on {each.on} can't be spread inside {type}"
                    yield _error(said, "cannotSpreadFragment", there, each)
                else:
                    yield from self.selections(each.on, each.selected, there)
            elif each.name != "__typename":
                yield from self._field(type, each, there)

    def _field(self, type: str, each: Selected, path: list[str]) -> Iterator[Error]:
        known = OBJECTS[type].get(each.name)
        if known is None:
            said = f"Field '{each.name}' doesn't exist on type '{type}'. {PART}"
            yield _error(said, "undefinedField", path, each)
            return
        where = f"Field '{each.name}'"
        for said, kind in self._arguments(where, "Field", known.arguments, each.arguments):
            yield _error(said, kind, path, each)
        is_object = bare(known.type) in OBJECTS
        if is_object and not each.selected:
            said = f"Field must have selections (field '{each.name}' returns {bare(known.type)})"
            yield _error(said, "selectionMismatch", path, each)
        elif each.selected and not is_object:
            said = f"Selections can't be made on scalars (field '{each.name}')"
            yield _error(said, "selectionMismatch", path, each)
        elif is_object:
            yield from self.selections(bare(known.type), each.selected, path)

    def _arguments(
        self, where: str, what: str, known: Mapping[str, str], given: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        for name, value in given.items():
            if name not in known:
                yield f"{where} doesn't accept argument '{name}'", "argumentNotAccepted"
            else:
                yield from self._value(where, name, known[name], value)
        for name in known.keys() - given.keys():
            if known[name].endswith("!"):
                yield f"{where} is missing required arguments: {name}", "missingRequiredArguments"

    def _value(self, where: str, name: str, type: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, Variable):
            self.used.add(value.name)
            own = self.operation.variables.get(value.name)
            if own is None:
                yield f"Variable ${value.name} is used but not declared", "variableNotDefined"
            elif own not in (type, f"{type}!"):
                said = f"Type mismatch on variable ${value.name} and argument {name}"
                yield f"{said} ({own} / {type})", "variableMismatch"
        elif isinstance(value, dict) and bare(type) in INPUTS:
            inside = f"InputObject '{bare(type)}'"
            yield from self._arguments(inside, "InputObject", INPUTS[bare(type)], value)
        elif not _is_literal(value, type):
            said = f"Argument '{name}' on {where} has an invalid value. Expected type '{type}'."
            yield said, "argumentLiteralsIncompatible"


def _is_literal(value: Any, type: str) -> bool:
    if bare(type) in ENUMS:
        return isinstance(value, Word) and value.name in ENUMS[bare(type)]
    return not isinstance(value, Word) and _is_value(value, type)


def _is_value(value: Any, type: str) -> bool:
    if value is None:
        return not type.endswith("!")
    name = bare(type)
    if name in INPUTS:
        known = INPUTS[name]
        is_known = isinstance(value, dict) and value.keys() <= known.keys()
        return is_known and all(_is_value(value.get(each), known[each]) for each in known)
    if name in ENUMS:
        return isinstance(value, str) and value in ENUMS[name]
    if name == "GitObjectID":
        return isinstance(value, str) and _SHA.fullmatch(value) is not None
    if name == "Boolean":
        return isinstance(value, bool)
    if name == "ID":
        return isinstance(value, str | int) and not isinstance(value, bool)
    return name == "String" and isinstance(value, str)


def _error(said: str, kind: str, path: list[str], each: Selected | None = None) -> Error:
    error: Error = {"message": said, "path": path, "extensions": {"code": kind}}
    if each is not None:
        error["locations"] = [{"line": each.line, "column": each.column}]
    return error
