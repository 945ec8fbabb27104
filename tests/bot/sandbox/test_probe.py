from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import OperatorError
from bot.sandbox.probe import choose, findings
from bot.sandbox.shell import missing_module, missing_program


async def test_the_sandbox_that_works_is_chosen() -> None:
    sandbox = await choose("bubblewrap")
    assert sandbox.name == "bubblewrap"
    assert [finding.ok for finding in await findings("bubblewrap")] == [True]


async def test_none_is_chosen_only_by_name_and_reported() -> None:
    assert (await choose("none")).name == "none"
    (finding,) = await findings("none")
    assert not finding.ok
    assert "bot's own rights" in finding.sentence


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperatorError, match="package `bubblewrap`") as caught:
        await choose("bubblewrap")
    assert "ORCHESTRATE_SANDBOX=none" in str(caught.value)
    assert [finding.ok for finding in await findings("bubblewrap")] == [False]


async def test_a_sandbox_that_does_not_start_is_never_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "bwrap"
    program.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OperatorError, match="No permissions to create new namespace"):
        await choose("bubblewrap")


@pytest.mark.parametrize(
    ("said", "program"),
    [
        ("/bin/sh: 1: ruff: not found", "ruff"),
        ("sh: line 1: npm: command not found", "npm"),
        ("env: ‘node’: No such file or directory", "node"),
        ("all is well", None),
        ("", None),
    ],
)
def test_the_missing_program_is_read_from_what_a_shell_says(said: str, program: str | None) -> None:
    assert missing_program(f"first\n{said}") == program


def test_the_missing_module_is_read_from_what_python_says() -> None:
    assert missing_module("/usr/bin/python3: No module named pytest") == "pytest"
    assert missing_module("ModuleNotFoundError: No module named 'widgets'") is None
