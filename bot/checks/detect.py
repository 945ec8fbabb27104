"""Find the checks of a repository that names none, from its files alone.

| check | found by |
|---|---|
| pytest | pytest's own configuration, or `test_*.py` below `tests` or `test` |
| npm-test | a `test` script in package.json that is not npm's placeholder |
| make-test | a target `test` in the Makefile that does not only call one of the others |
| cargo-test | Cargo.toml |
| go-test | go.mod |
| pre-commit | .pre-commit-config.yaml |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Final

from bot.checks.model import REPORT, CheckSpec

Read = Callable[[str], bytes | None]

# Configuration files in which pytest looks for its section, and how that section begins.
_PYTEST: Final = (
    ("pytest.ini", rb"(?m)^\[pytest\]"),
    (".pytest.ini", rb"(?m)^\[pytest\]"),
    ("pyproject.toml", rb"(?m)^\[tool\.pytest\b"),
    ("tox.ini", rb"(?m)^\[pytest\]"),
    ("setup.cfg", rb"(?m)^\[tool:pytest\]"),
)
_MAKEFILES: Final = ("GNUmakefile", "makefile", "Makefile")  # the order in which GNU make looks

# The files that `detect` may read.
READS: Final = frozenset({"package.json", *_MAKEFILES, *(name for name, _ in _PYTEST)})

# The older JUnit family names the file of each test. The cache stays out of the repository.
PYTEST: Final = CheckSpec(
    "pytest",
    f"python3 -m pytest -q --junitxml={REPORT} -o junit_family=xunit1 -o cache_dir=/tmp/pytest",
    report=REPORT,
)
_TEST_FILE: Final = re.compile(r"tests?/(?:.*/)?(?:test_[^/]*|[^/]*_test)\.py\Z")
_MAKE_TEST: Final = re.compile(rb"(?m)^test[ \t]*::?(?!=)[^\n]*\n((?:\t[^\n]*(?:\n|\Z)|[ \t]*\n)*)")
_CALLED: Final = {
    "pytest": rb"pytest",
    "npm-test": rb"npm (?:run )?test",
    "cargo-test": rb"cargo test",
    "go-test": rb"go test",
}


def detect(paths: Collection[str], read: Read) -> tuple[CheckSpec, ...]:
    """Find the checks among a repository's files.

    `paths` are all its files, relative to its root; `read` gives a file's bytes, or None.
    """
    present = set(paths)

    def content(path: str) -> bytes:
        return (read(path) or b"") if path in present else b""

    found = []
    if _has_pytest(present, content):
        found.append(PYTEST)
    if _has_npm_test(content("package.json")):
        found.append(CheckSpec("npm-test", "npm test"))
    if "Cargo.toml" in present:
        found.append(CheckSpec("cargo-test", "cargo test"))
    if "go.mod" in present:
        found.append(CheckSpec("go-test", "go test ./..."))
    if _has_make_test(content, {spec.name for spec in found}):
        found.append(CheckSpec("make-test", "make test"))
    if ".pre-commit-config.yaml" in present:
        found.append(CheckSpec("pre-commit", "pre-commit run --all-files"))
    return tuple(found)


def _has_pytest(present: set[str], content: Callable[[str], bytes]) -> bool:
    if {"pytest.ini", ".pytest.ini"} & present:
        return True  # pytest takes these even when they are empty
    configured = any(re.search(section, content(name)) for name, section in _PYTEST)
    return configured or any(_TEST_FILE.match(path) for path in present)


def _has_npm_test(package: bytes) -> bool:
    try:
        script = json.loads(package)["scripts"]["test"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return isinstance(script, str) and bool(script.strip()) and "no test specified" not in script


def _has_make_test(content: Callable[[str], bytes], others: set[str]) -> bool:
    makefile = next((text for name in _MAKEFILES if (text := content(name))), b"")
    target = _MAKE_TEST.search(makefile + b"\n")
    if target is None:
        return False
    return not any(name in others and re.search(call, target[1]) for name, call in _CALLED.items())
