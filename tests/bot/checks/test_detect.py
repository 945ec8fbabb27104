from __future__ import annotations

import pytest

from bot.checks.detect import READS, detect

PLACEHOLDER = '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'

CASES: list[tuple[str, dict[str, str], list[str]]] = [
    ("nothing", {}, []),
    ("only code", {"widgets/core.py": "", "README.md": "pytest"}, []),
    ("a folder of tests", {"tests/unit/test_a.py": ""}, ["pytest"]),
    ("a folder named test", {"test/a_test.py": ""}, ["pytest"]),
    ("a helper in tests", {"tests/helper.py": ""}, []),
    ("an empty pytest.ini", {"pytest.ini": ""}, ["pytest"]),
    ("pyproject.toml", {"pyproject.toml": "[tool.pytest.ini_options]\n"}, ["pytest"]),
    ("pyproject.toml, other tool", {"pyproject.toml": "# [tool.pytest.x]\n[tool.ruff]\n"}, []),
    ("tox.ini", {"tox.ini": "[tox]\n[pytest]\n"}, ["pytest"]),
    ("setup.cfg", {"setup.cfg": "[tool:pytest]\n"}, ["pytest"]),
    ("npm", {"package.json": '{"scripts": {"test": "jest"}}'}, ["npm-test"]),
    ("npm's placeholder", {"package.json": PLACEHOLDER}, []),
    ("npm without scripts", {"package.json": "[]"}, []),
    ("npm, broken", {"package.json": "{"}, []),
    ("npm, too deep", {"package.json": "[" * 100_000}, []),
    ("npm below", {"web/package.json": '{"scripts": {"test": "jest"}}'}, []),
    ("make", {"Makefile": "all:\n\ttrue\ntest: all\n\t./run\n"}, ["make-test"]),
    ("make without test", {"Makefile": "test := 1\ntests:\n\ttrue\n"}, []),
    ("make, last line", {"Makefile": "test:"}, ["make-test"]),
    ("make calls pytest", {"Makefile": "test:\n\tpytest -q\n", "pytest.ini": ""}, ["pytest"]),
    ("make calls pytest alone", {"Makefile": "test:\n\tpytest -q\n"}, ["make-test"]),
    ("cargo", {"Cargo.toml": ""}, ["cargo-test"]),
    ("go", {"go.mod": ""}, ["go-test"]),
    ("pre-commit", {".pre-commit-config.yaml": ""}, ["pre-commit"]),
    ("several", {"go.mod": "", "pytest.ini": ""}, ["pytest", "go-test"]),
]


@pytest.mark.parametrize(
    ("files", "names"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_checks_are_found_by_files(files: dict[str, str], names: list[str]) -> None:
    def read(path: str) -> bytes | None:
        assert path in READS
        return files[path].encode() if path in files else None

    assert [spec.name for spec in detect(files, read)] == names


def test_a_file_that_cannot_be_read_is_no_configuration() -> None:
    assert detect(["package.json", "pyproject.toml", "Makefile"], lambda path: None) == ()


def test_pytest_reports_outside_the_repository() -> None:
    (spec,) = detect(["pytest.ini"], lambda path: b"")
    assert "--junitxml={report}" in spec.run
    assert spec.report == "{report}"
