"""How a repository's dependencies are installed: found from its files, or as it says itself.

Pure: from the names at its root to commands, and the files that decide whether what was installed
before is still right.

| found by | commands | what it makes |
|---|---|---|
| uv.lock | `uv sync --frozen` | .venv |
| poetry.lock | `poetry install` | .venv |
| requirements.txt, and those for development or tests | `pip install -r` into a new .venv | .venv |
| package-lock.json, npm-shrinkwrap.json | `npm ci` | node_modules |
| pnpm-lock.yaml | `pnpm install --frozen-lockfile` | node_modules |
| Cargo.lock | `cargo fetch --locked` | .orchestrate/cargo |
| go.sum | `go mod download` | .orchestrate/go |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from policies.sections import Setup

WORKSPACE: Final = "{workspace}"
"""In the values of variables: the folder of the repository, as the job sees it."""

PROGRAMS: Final = (".venv/bin", "venv/bin", "node_modules/.bin")
"""Folders of programs that come first on the path where an environment has them."""

# Where programs that come from the registry itself are put when the server has none: the home of
# the set-up, of which nothing is kept.
_TOOLS: Final = '"$HOME/tools"'
_REQUIREMENTS: Final = re.compile(
    r"requirements([-_.](dev|develop|development|test|tests|testing|ci))?\.txt\Z"
    r"|(dev|test|tests)[-_]requirements\.txt\Z"
)
# They say which version of the language is meant, or how packages are looked for.
_ALSO: Final = (".python-version", ".nvmrc", ".node-version", ".npmrc", "rust-toolchain.toml")


@dataclass(frozen=True, slots=True)
class Installation:
    """How the dependencies of a repository are installed.

    commands: shell commands, each run in the repository's root after the one before.
    asked: the hosts that the repository asks for.
    secrets: names of values that they are given.
    files: the files, or folders, by whose content it is known whether they must run again.
    env: variables for them and for everything that runs on what they made; `{workspace}` in a
        value is the root.
    kinds: the package managers whose files were found, which have registries to reach.
    minutes: how long they may take, together.
    """

    commands: tuple[str, ...]
    asked: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    kinds: tuple[str, ...] = ()
    minutes: int = 20


@dataclass(frozen=True, slots=True)
class _Found:
    """What one package manager's files ask for."""

    kind: str
    commands: tuple[str, ...]
    files: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


def plan(setup: Setup, names: Collection[str]) -> Installation | None:
    """Say how to install what a repository needs, or None where nothing is to be installed.

    `names` are the files and folders at its root.
    """
    if setup.run == "none" or setup.run == ():
        return None
    found = tuple(_detected(frozenset(names)))
    commands = setup.run if setup.run != "auto" else _all(each.commands for each in found)
    if not commands:
        return None
    kinds = tuple(each.kind for each in found)
    also = (name for name in _ALSO if name in names)
    return Installation(
        commands=commands,
        asked=_once(setup.network),
        secrets=setup.secrets,
        files=_once((*_all(each.files for each in found), *also, *setup.files)),
        env=tuple(pair for each in found for pair in each.env),
        kinds=kinds,
        minutes=setup.minutes,
    )


def _detected(names: frozenset[str]) -> Iterator[_Found]:
    for look in _LOOKS:
        if (found := look(names)) is not None:
            yield found


def _python(names: frozenset[str]) -> _Found | None:
    """The first that there is: a lock file says more than a list of requirements."""
    if "uv.lock" in names:
        command = _by("uv", _PIP, "uv sync --frozen")
        return _Found("pip", (command,), ("uv.lock",))
    if "poetry.lock" in names:
        env = (("POETRY_VIRTUALENVS_IN_PROJECT", "true"), ("POETRY_VIRTUALENVS_CREATE", "true"))
        command = _by("poetry", _PIP, "poetry install --no-interaction --no-ansi")
        return _Found("pip", (command,), ("poetry.lock",), env)
    listed = sorted(name for name in names if _REQUIREMENTS.match(name))
    if not listed:
        return None
    # The requirements of development often name others, which lie in a folder of this name.
    files = (*listed, *(["requirements"] if "requirements" in names else []))
    asked = " ".join(f"-r {name}" for name in listed)
    commands = ("python3 -m venv .venv", f".venv/bin/python -m pip install {asked}")
    return _Found("pip", commands, files)


def _node(names: frozenset[str]) -> _Found | None:
    if "pnpm-lock.yaml" in names:
        command = _by("pnpm", _NPM, "pnpm install --frozen-lockfile")
        return _Found("npm", (command,), ("pnpm-lock.yaml",))
    for lock in ("npm-shrinkwrap.json", "package-lock.json"):
        if lock in names:
            return _Found("npm", ("npm ci --no-audit --no-fund",), (lock,))
    return None


def _rust(names: frozenset[str]) -> _Found | None:
    if "Cargo.lock" not in names:
        return None
    env = (("CARGO_HOME", f"{WORKSPACE}/.orchestrate/cargo"),)
    return _Found("cargo", ("cargo fetch --locked",), ("Cargo.lock",), env)


def _go(names: frozenset[str]) -> _Found | None:
    if "go.sum" not in names:
        return None
    # The compiler that is there, and no other one from the network.
    env = (("GOMODCACHE", f"{WORKSPACE}/.orchestrate/go"), ("GOTOOLCHAIN", "local"))
    return _Found("go", ("go mod download",), ("go.sum",), env)


_LOOKS: Final[tuple[Callable[[frozenset[str]], _Found | None], ...]] = (_python, _node, _rust, _go)

_PIP: Final = f"python3 -m venv {_TOOLS} && {_TOOLS}/bin/python -m pip install"
_NPM: Final = f"npm install --no-audit --no-fund --global --prefix {_TOOLS}"


def _by(program: str, install: str, command: str) -> str:
    """Run a command by a program that the server may have, and the registry has."""
    there = f"command -v {program} >/dev/null || {{ {install} {program}; }}"
    return f'{there} && PATH="$PATH:$HOME/tools/bin" {command}'


def _all(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(chain.from_iterable(groups))


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
