"""The reference of `.github/orchestrate.yml` as Markdown, made from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from policies.config import PATH
from policies.paths import (
    AGENT_INSTRUCTIONS,
    ALWAYS_PROTECTED,
    DOT_FOLDERS,
    LOCK_FILES,
    PIPELINES,
    TOOL_SETTINGS,
)
from policies.schema import schema
from policies.who import COMMANDS_DEFAULT

_GROUPS = (
    ("Never open to agents", ALWAYS_PROTECTED),
    ("Folders at the top that begin with a dot", DOT_FOLDERS),
    ("Instructions to agents", AGENT_INSTRUCTIONS),
    ("Other builders' pipelines", PIPELINES),
    ("Settings of git and of package managers", TOOL_SETTINGS),
    ("Lock files", LOCK_FILES),
)


def markdown() -> str:
    """Return the reference: every setting with its kind, its default and its reason."""
    lines = [f"# `{PATH}`", "", *_intro(), *_settings(), *_roles(), *_protected()]
    return "\n".join(lines).rstrip() + "\n"


def setting_lines(setting: str) -> Iterator[str]:
    """Tell a setting by its dotted name, and what is in it, as the reference does."""
    root = schema()
    name, _, inner = setting.partition(".")
    section = _section(root["properties"][name], root)
    if section is None and not inner:
        field = root["properties"][name]
        yield f"- `{name}: …`: {field['description']} {_kind(field, root)}"
        return
    if section is None:
        raise KeyError(setting)
    properties = section["properties"]
    only = {key: properties[key] for key in ([inner] if inner else properties)}
    for line in _keys({**section, "properties": only}, root):
        yield line.replace("- `", f"- `{name}: ", 1) if line.startswith("- `") else line


def _intro() -> list[str]:
    return [
        "Read from the default branch only. Without the file, or with an empty one, every"
        " setting has its default.",
        "",
    ]


def _settings() -> Iterator[str]:
    root = schema()
    for name, field in root["properties"].items():
        yield f"## `{name}`"
        yield ""
        section = _section(field, root)
        if "$ref" not in field:
            yield f"{field['description']} {_kind(field, root)}"
            yield ""
        if section is not None:
            yield section["description"]
            yield ""
            yield from _keys(section, root)
            yield ""


def _keys(section: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    required = section.get("required", [])
    for name, field in section["properties"].items():
        must = " Required." if name in required else ""
        yield f"- `{name}`: {field['description']}{must} {_kind(field, root)}"
        inner = _section(field, root)
        if inner is not None:
            yield from (f"  {line}" for line in _keys(inner, root))


def _section(field: dict[str, Any], root: dict[str, Any]) -> dict[str, Any] | None:
    """The model that a setting holds, itself or as its items."""
    if "$ref" in field:
        found: dict[str, Any] = root["$defs"][field["$ref"].rpartition("/")[2]]
        return found if "properties" in found else None
    inner = [*field.get("anyOf", ()), *field.get("oneOf", ())]
    inner += [field[key] for key in ("items", "additionalProperties") if key in field]
    sections = (_section(part, root) for part in inner if isinstance(part, dict))
    return next((section for section in sections if section is not None), None)


def _kind(field: dict[str, Any], root: dict[str, Any]) -> str:
    parts = [_type(field, root)]
    if "minimum" in field:
        parts.append(f"from {field['minimum']:,} to {field['maximum']:,}")
    if field.get("default") is not None:
        parts.append(f"default `{json.dumps(field['default'], ensure_ascii=False)}`")
    return f"*({', '.join(parts)})*"


_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "keys with values",
}


def _type(field: dict[str, Any], root: dict[str, Any]) -> str:
    if "$ref" in field:
        return _type(root["$defs"][field["$ref"].rpartition("/")[2]], root)
    if "enum" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    choices = [*field.get("anyOf", ()), *field.get("oneOf", ())]
    kinds = [_type(choice, root) for choice in choices if choice.get("type") != "null"]
    return " or ".join(kinds) if kinds else _TYPES[field["type"]]


def _roles() -> list[str]:
    return [
        "## Commands and the roles they need by default",
        "",
        *(f"- `/{command}`: {role}" for command, role in COMMANDS_DEFAULT.items()),
        "",
    ]


def _protected() -> Iterator[str]:
    yield "## Paths protected by default"
    yield ""
    for title, globs in _GROUPS:
        names = ", ".join(f"`{glob}`" for glob in globs)
        yield f"- {title}: {names}"
