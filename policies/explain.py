"""Turns what pydantic found into sentences on the lines they are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from policies.tree import Node, Problem, Scalar
from policies.verdict import code

# Sections that a later version reads.
LATER = frozenset(
    {
        "environment",
        "network",
        "review",
        "signing",
        "notify",
    }
)
# Nobody mends more at once.
MAX_PROBLEMS = 50

_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "`true` or `false`",
    "tuple": "a list",
    "list": "a list",
    "dict": "keys with values",
    "mapping": "keys with values",
    "model": "keys with values",
}


def explain(error: ValidationError, root: Node, model: type[BaseModel]) -> tuple[Problem, ...]:
    """Return every problem at its place, in the order of the file.

    `root` is the tree that was validated against `model`.
    """
    details = error.errors(include_url=False, include_input=False)
    found = {_problem(detail, root, model) for detail in details}
    return tuple(sorted(found))[:MAX_PROBLEMS]


def _problem(detail: ErrorDetails, root: Node, model: type[BaseModel]) -> Problem:
    steps = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return _unknown(steps, root, model)
    if steps and steps[-1] == "[key]":
        return _at_key(steps[:-1], root, _sentence(detail, "This name", None))
    node = root.find(steps)
    # Steps that name no place are kinds of value: nobody wrote them. A missing key is a place.
    named = steps[-1:] if detail["type"] == "missing" else root.there(steps)[-1:]
    name = code(named[0]) if named and isinstance(named[0], str) else "This"
    return Problem(node.line, node.column, _sentence(detail, name, node.value))


def _unknown(steps: tuple[str | int, ...], root: Node, model: type[BaseModel]) -> Problem:
    key = str(steps[-1])
    known = _keys_at(steps[:-1], model)
    if len(steps) == 1 and key in LATER:
        message = f"{code(key)} is not supported by this version; remove it."
    elif key == "sandbox":
        message = "`sandbox` is set by whoever runs the server, never by a repository; remove it."
    elif near := get_close_matches(key.lower(), known, n=1):
        message = f"{code(key)} is not known here; did you mean `{near[0]}`?"
    else:
        names = ", ".join(f"`{name}`" for name in known)
        message = f"{code(key)} is not known here; remove it, or use one of {names}."
    return _at_key(steps, root, message)


def _at_key(steps: tuple[str | int, ...], root: Node, message: str) -> Problem:
    node = root.find(steps[:-1])
    line, column = node.keys.get(str(steps[-1]), (node.line, node.column))
    return Problem(line, column, message)


def _keys_at(steps: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """The keys that a section takes, found by walking the models as the steps do."""
    for step in steps:
        if isinstance(step, str) and step in model.model_fields:
            inner = _model_in(model.model_fields[step].annotation)
            model = inner or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation, such as that of a list's items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(part) for part in get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _sentence(detail: ErrorDetails, name: str, value: object) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return f"{name} is missing here; add it."
    if kind in _SENTENCES:
        return _SENTENCES[kind](name, context)
    wanted = _KINDS.get(kind.removesuffix("_type").removesuffix("_parsing"))
    if wanted == "a list" and isinstance(value, str):
        return f"{name} must be a list, not text; write {code(f'[{value}]')}."
    if wanted is not None:
        return f"{name} must be {wanted}, not {_shown(value)}; change it."
    return f"{name} cannot be read ({detail['msg']}); look it up in the reference."


def _one_of(name: str, context: Mapping[str, Any]) -> str:
    names = str(context["expected"]).replace("'", "`").replace(" or ", ", ")
    return (
        f"{name} must be one of {names}; choose one."
        if "," in names
        else (f"{name} must be {names} or a list; write one of them.")
    )


_SENTENCES: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "literal_error": _one_of,
    "enum": _one_of,
    "greater_than_equal": lambda name, of: f"{name} must be at least {of['ge']}; raise it.",
    "less_than_equal": lambda name, of: f"{name} may be at most {of['le']}; lower it.",
    "string_too_long": lambda name, of: (
        f"{name} may have {of['max_length']} characters; make it shorter."
    ),
    "too_long": lambda name, of: f"{name} may have {of['max_length']} entries; remove some.",
}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list):
        return "a list"
    return _shown_scalar(value if isinstance(value, str | int | float | bool) else None)


def _shown_scalar(value: Scalar) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"the number {value}" if isinstance(value, int | float) else "text"
