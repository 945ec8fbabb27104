"""How many new dependencies one checkpoint may bring, by what manifests and lock files name.

What is named after the change and was not before, in the changed files of one ecosystem together: a
name that moves from one manifest to another is not new, and what a lock file adds counts with what
asked for it. Another version of the same is not new either.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from policies.config import Config
from policies.facts import Dependency
from policies.verdict import Verdict, counted, listed

RULE = "dependencies"

UNREADABLE = "(what this file names, which cannot be read)"
"""What stands for the names in a file that is no manifest any more: at least one may be new."""

# PEP 508: how a requirement begins. PEP 503: in which names are compared.
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_SAME = re.compile(r"[-_.]+")
_URL = re.compile(r"\s*(?:-e\s+|--editable[=\s]+)?((?:git\+|https?:|file:|\.{1,2}/)\S+)")
_GO = re.compile(r"^\s*(?:require\s+)?([a-z0-9][\w.~-]*\.[\w.~-]+/[^\s]+|[\w.~-]+/[^\s]+)\s+v[0-9]")
_YARN = re.compile(r'^"?(@?[^@\s",]+)@', re.MULTILINE)
_PNPM = re.compile(r"^ {2}['\"]?/?(@?[^@\s'\"():]+)@[^\s]", re.MULTILINE)


def _named(texts: Iterable[Any]) -> Iterator[str]:
    for text in texts:
        if isinstance(text, str) and (found := _REQUIREMENT.match(text)):
            yield _SAME.sub("-", found[1]).lower()


def _table(value: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _requirements(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if url := _URL.match(line):
            yield url[1]
        elif not line.lstrip().startswith(("#", "-")):
            yield from _named([line])


def _pyproject(text: str) -> Iterator[str]:
    made = tomllib.loads(text)
    project, poetry = _table(made, "project"), _table(made, "tool", "poetry")
    groups = [
        project.get("dependencies"),
        *_table(project, "optional-dependencies").values(),
        *_table(made, "dependency-groups").values(),
        _table(made, "build-system").get("requires"),
        *_table(made, "tool", "pdm", "dev-dependencies").values(),
    ]
    for group in groups:
        yield from _named(_list(group))
    yield from _named(_table(poetry, "dependencies"))
    yield from _named(_table(poetry, "dev-dependencies"))
    for each in _table(poetry, "group").values():
        yield from _named(_table(each, "dependencies"))


def _pipfile(text: str) -> Iterator[str]:
    made = tomllib.loads(text)
    for key in ("packages", "dev-packages"):
        yield from _named(_table(made, key))


def _packages(text: str) -> Iterator[str]:
    """Read the lock files that list packages in TOML: uv's, poetry's, pdm's and cargo's."""
    yield from _named(
        _table(each).get("name") for each in _list(tomllib.loads(text).get("package"))
    )


def _package_json(text: str) -> Iterator[str]:
    made = json.loads(text)
    for key in ("", "dev", "peer", "optional"):
        name = f"{key}Dependencies" if key else "dependencies"
        yield from _table(made, name)


def _package_lock(text: str) -> Iterator[str]:
    made = json.loads(text)
    yield from _table(made, "dependencies")
    yield from (path.rpartition("node_modules/")[2] for path in _table(made, "packages") if path)


def _cargo(text: str) -> Iterator[str]:
    made = tomllib.loads(text)
    targets = _table(made, "target").values()
    for place in (made, _table(made, "workspace"), *targets):
        for key in ("dependencies", "dev-dependencies", "build-dependencies"):
            yield from _named(_table(place, key))


def _go(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if found := _GO.match(line):
            yield found[1]


Reader = Callable[[str], Iterable[str]]
_READERS: Mapping[str, tuple[str, Reader]] = {
    "pyproject.toml": ("python", _pyproject),
    "requirements*.txt": ("python", _requirements),
    "*requirements.txt": ("python", _requirements),
    "Pipfile": ("python", _pipfile),
    "uv.lock": ("python", _packages),
    "poetry.lock": ("python", _packages),
    "pdm.lock": ("python", _packages),
    "package.json": ("npm", _package_json),
    "package-lock.json": ("npm", _package_lock),
    "npm-shrinkwrap.json": ("npm", _package_lock),
    "yarn.lock": ("npm", lambda text: _YARN.findall(text)),
    "pnpm-lock.yaml": ("npm", lambda text: _PNPM.findall(text)),
    "Cargo.toml": ("cargo", _cargo),
    "Cargo.lock": ("cargo", _packages),
    "go.mod": ("go", _go),
    "go.sum": ("go", _go),
}


def ecosystem_of(path: str) -> str | None:
    """Name the ecosystem of a manifest or lock file by its path; None for any other file."""
    found = _reader(path)
    return found[0] if found else None


def _reader(path: str) -> tuple[str, Reader] | None:
    name = PurePosixPath(path).name
    return next((it for glob, it in _READERS.items() if fnmatchcase(name, glob)), None)


def names_in(path: str, data: bytes) -> frozenset[str] | None:
    """Return what a manifest or lock file names; None where it cannot be read, or is none."""
    found = _reader(path)
    if found is None:
        return None
    try:
        return frozenset(found[1](data.decode()))
    except (ValueError, RecursionError, AttributeError):
        # Not UTF-8, not TOML, not JSON; nested without end; a list where a table belongs.
        return None


def new_dependencies(
    before: Mapping[str, bytes | None], after: Mapping[str, bytes | None]
) -> tuple[Dependency, ...]:
    """Return what the changed manifests and lock files name now and did not before.

    Both give the contents by path of those that were there then; None where one is too large.
    """
    known: dict[str, set[str]] = {}
    for path, data in before.items():
        names = names_in(path, data) if data is not None else None
        known.setdefault(ecosystem_of(path) or "", set()).update(names or ())
    found: dict[tuple[str, str], Dependency] = {}
    for path, data in sorted(after.items()):
        kind = ecosystem_of(path) or ""
        names = names_in(path, data) if data is not None else None
        for name in [UNREADABLE] if names is None else sorted(names - known.get(kind, set())):
            unique = path if names is None else name
            found.setdefault((kind, unique), Dependency(path, name))
    return tuple(sorted(found.values()))


def check_dependencies(found: Sequence[Dependency], config: Config) -> Verdict:
    """Judge the new dependencies by number."""
    most = config.limits.dependencies
    number = counted(len(found), "new dependency").replace("dependencys", "dependencies")
    if len(found) <= most:
        return Verdict(True, RULE, f"{number}, of at most {most:,}.")
    names = listed(f"{each.name} in {each.path}" for each in found)
    return Verdict(
        False,
        RULE,
        f"{number}, and one checkpoint may bring {most:,}: {names}. Ask for the work without them,"
        " or have a maintainer raise `limits: dependencies:`.",
    )
