from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.dependencies import (
    UNREADABLE,
    check_dependencies,
    ecosystem_of,
    names_in,
    new_dependencies,
)
from policies.facts import Dependency
from policies.rules import judge, offenders
from policies.sections import Limits
from tests.policies.builders import change, config

PYPROJECT = """
[project]
dependencies = ["Requests>=2", "ruamel.yaml[jinja2]; python_version > '3.8'"]
optional-dependencies.web = ["starlette"]
[dependency-groups]
dev = ["pytest", {include-group = "x"}]
[build-system]
requires = ["hatchling"]
[tool.poetry.group.docs.dependencies]
mkdocs = "^1"
"""
PACKAGE_LOCK = '{"packages": {"": {}, "node_modules/a/node_modules/@x/b": {}}}'
YARN = '# yarn lockfile v1\n\n"@x/b@^1", "@x/b@^2":\n  version "1"\n  dependencies:\n    y "1"\n'
PNPM = "lockfileVersion: '9.0'\npackages:\n  '@x/b@1.0.0':\n    resolution: {}\n  left@2.0.0:\n"
GO = "module m\nrequire github.com/a/b v1.2.3\nrequire (\n\texample.org/c/d v0.1.0 // indirect\n)\n"
REQUIREMENTS = "# tools\nflask==2 \\\n    --hash=x\n-r other.txt\n-e git+https://e.org/x#egg=x\n\n"


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        ("pyproject.toml", PYPROJECT, "requests ruamel-yaml starlette pytest hatchling mkdocs"),
        ("a/requirements-dev.txt", REQUIREMENTS, "flask git+https://e.org/x#egg=x"),
        ("Pipfile", '[packages]\nflask = "*"', "flask"),
        ("uv.lock", '[[package]]\nname = "anyio"\n[[package]]\nname = "idna"', "anyio idna"),
        ("web/package.json", '{"dependencies": {"a": "1"}, "devDependencies": {"@x/b": "2"}}',
         "a @x/b"),
        ("package-lock.json", PACKAGE_LOCK, "@x/b"),
        ("yarn.lock", YARN, "@x/b"),
        ("pnpm-lock.yaml", PNPM, "@x/b left"),
        ("Cargo.toml", '[dependencies]\nserde = "1"\n[target."cfg(unix)".dependencies]\nnix = "1"',
         "serde nix"),
        ("Cargo.lock", '[[package]]\nname = "serde"', "serde"),
        ("go.mod", GO, "github.com/a/b example.org/c/d"),
        ("go.sum", "example.org/c/d v0.1.0/go.mod h1:x=\n", "example.org/c/d"),
        ("package.json", "[]", ""),
        ("pyproject.toml", "project = 1", ""),
    ],
)  # fmt: skip
def test_what_a_file_names(path: str, text: str, names: str) -> None:
    assert names_in(path, text.encode()) == frozenset(names.split())


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("package.json", b"{"),
        ("package.json", b"[" * 200_000),
        ("pyproject.toml", b"a = " + b"[" * 100_000),
        ("Cargo.toml", b"\xff"),
    ],
)
def test_what_cannot_be_read_counts_as_new(path: str, data: bytes) -> None:
    assert new_dependencies({path: b""}, {path: data}) == (Dependency(path, UNREADABLE),)
    assert new_dependencies({}, {path: None}) == (Dependency(path, UNREADABLE),)


def test_a_name_that_moves_or_changes_its_version_is_not_new() -> None:
    before = {"a/package.json": b'{"dependencies": {"left": "1", "pad": "1"}}'}
    after = {
        "a/package.json": b'{"dependencies": {"left": "2"}}',
        "b/package.json": b'{"dependencies": {"pad": "1", "new": "1"}}',
        "b/yarn.lock": b"new@^1:\n",
        # Of the same name, and something else.
        "pyproject.toml": b'[project]\ndependencies = ["pad"]',
    }
    found = new_dependencies(before, after)
    assert found == (Dependency("b/package.json", "new"), Dependency("pyproject.toml", "pad"))


def test_more_than_may_come_are_refused_by_name_and_can_be_left_out() -> None:
    found = [Dependency("package.json", each) for each in ("left", "pad")]
    verdict = judge([change("package.json")], (), (), config("limits: {dependencies: 1}"),
                    dependencies=found)  # fmt: skip
    assert "2 new dependencies, and one checkpoint may bring 1" in verdict.reason
    assert "`left in package.json`" in verdict.reason
    assert "`limits: dependencies:`" in verdict.reason
    changes = [change("package.json"), change("src/a.js")]
    few = config("limits: {dependencies: 1}")
    assert offenders(changes, (), (), few, dependencies=found) == frozenset({"package.json"})
    assert judge(changes, (), (), Config(), dependencies=found).allowed
    assert not judge(changes, (), (), config("extends: [strict]"), dependencies=found[:1]).allowed


FOUND = st.lists(st.builds(Dependency, st.sampled_from("ab"), st.text(max_size=3)), max_size=5)


@given(FOUND, st.integers(1, 6), st.randoms())
def test_neither_order_nor_a_lower_limit_allows_more(
    found: list[Dependency], most: int, chance: random.Random
) -> None:
    limits = Config(limits=Limits(dependencies=most))
    given_ = check_dependencies(found, limits)
    assert check_dependencies(chance.sample(found, len(found)), limits) == given_
    lower = Config(limits=Limits(dependencies=most - 1))
    assert given_.allowed or not check_dependencies(found, lower).allowed
    assert given_.allowed or not check_dependencies([*found, Dependency("c", "x")], limits).allowed


@given(st.sampled_from(["pyproject.toml", "x.lock", "yarn.lock", "go.mod"]), st.binary())
def test_any_content_has_an_answer(path: str, data: bytes) -> None:
    names = names_in(path, data)
    assert ecosystem_of(path) is not None or names is None
