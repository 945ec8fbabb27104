from __future__ import annotations

import pytest

from policies.config import Config, parse
from policies.sections import Setup
from policies.setup import plan


@pytest.mark.parametrize(
    ("names", "command", "files", "kind"),
    [
        ("uv.lock pyproject.toml", "uv sync --frozen", ("uv.lock",), "pip"),
        ("poetry.lock pyproject.toml", "poetry install", ("poetry.lock",), "pip"),
        ("requirements.txt", "-m pip install -r requirements.txt", None, "pip"),
        ("package-lock.json package.json", "npm ci", ("package-lock.json",), "npm"),
        ("npm-shrinkwrap.json", "npm ci", ("npm-shrinkwrap.json",), "npm"),
        ("pnpm-lock.yaml", "pnpm install --frozen-lockfile", None, "npm"),
        ("Cargo.toml Cargo.lock", "cargo fetch --locked", ("Cargo.lock",), "cargo"),
        ("go.mod go.sum", "go mod download", ("go.sum",), "go"),
    ],
)
def test_dependencies_are_found_by_their_lock_files(
    names: str, command: str, files: tuple[str, ...] | None, kind: str
) -> None:
    found = plan(Setup(), names.split())
    assert found is not None
    assert command in found.commands[-1]
    assert found.kinds == (kind,)
    assert found.files == (files or (names,))


@pytest.mark.parametrize(
    "names", ["", "pyproject.toml setup.py", "package.json", "go.mod", "requirements-docs.txt"]
)
def test_without_a_lock_file_nothing_is_installed(names: str) -> None:
    assert plan(Setup(), names.split()) is None


def test_requirements_for_tests_come_with_the_others_in_one_go() -> None:
    names = ["requirements.txt", "requirements-dev.txt", "requirements", "requirements-py2.txt"]
    found = plan(Setup(), names)
    assert found is not None
    assert found.commands == (
        "python3 -m venv .venv",
        ".venv/bin/python -m pip install -r requirements-dev.txt -r requirements.txt",
    )
    assert found.files == ("requirements-dev.txt", "requirements.txt", "requirements")


def test_a_lock_file_goes_before_a_list_of_requirements() -> None:
    found = plan(Setup(), ["requirements.txt", "uv.lock"])
    assert found is not None
    assert found.files == ("uv.lock",)


def test_a_repository_of_two_languages_has_both() -> None:
    found = plan(Setup(), ["package-lock.json", "requirements.txt", ".nvmrc"])
    assert found is not None
    assert found.kinds == ("pip", "npm")
    assert found.files == ("requirements.txt", "package-lock.json", ".nvmrc")
    assert [each.split()[0] for each in found.commands] == ["python3", ".venv/bin/python", "npm"]


def test_what_a_repository_says_itself_goes_before_what_is_found() -> None:
    setup = Setup(run=("make deps",), network=("dl.example.org",), secrets=("TOKEN",), minutes=5)
    found = plan(setup, ["package-lock.json"])
    assert found is not None
    assert found.commands == ("make deps",)
    assert (found.kinds, found.asked) == (("npm",), ("dl.example.org",))
    assert found.files == ("package-lock.json",)
    assert (found.secrets, found.minutes) == (("TOKEN",), 5)


@pytest.mark.parametrize("run", ["none", ()])
def test_a_repository_can_ask_for_nothing(run: str) -> None:
    assert plan(Setup.model_validate({"run": run}), ["package-lock.json"]) is None


def test_the_configuration_reads_a_setup() -> None:
    read = parse(
        "setup:\n  run: [npm ci, npm run build]\n  network: ['*.example.org:8443']\n"
        "  secrets: [NPM_TOKEN]\n  files: [tools/versions.txt]\n"
    )
    assert read.problems == ()
    assert isinstance(read.config, Config)
    assert read.config.setup.run == ("npm ci", "npm run build")
    assert read.config.setup.network == ("*.example.org:8443",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run: always", "auto"),
        ("network: ['https://example.org']", "A host is written"),
        ("network: ['*']", "A host is written"),
        ("network: ['a b']", "A host is written"),
        ("secrets: ['A=B']", "name of an environment variable"),
        ("files: ['../x']", "relative to the root"),
        ("files: ['/etc/passwd']", "relative to the root"),
        ("minutes: 0", "1"),
    ],
)
def test_a_setup_that_is_wrong_is_told_with_its_line(line: str, said: str) -> None:
    read = parse(f"setup:\n  {line}\n")
    assert read.config is None
    assert read.problems[0].line == 2
    assert said in read.problems[0].message
