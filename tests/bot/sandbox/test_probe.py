from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import OperatorError
from bot.sandbox import launcher
from bot.sandbox.probe import choose, findings
from bot.sandbox.protections import TABLE
from bot.sandbox.shell import missing_module, missing_program


async def test_the_sandbox_that_works_is_chosen() -> None:
    sandbox = await choose("bubblewrap")
    assert sandbox.name == "bubblewrap"
    assert (await choose("auto")).name == "bubblewrap"
    first, *protections = await findings("auto")
    assert first.ok
    assert "The host's files cannot be read: mount namespace." in [
        each.sentence for each in protections
    ]
    assert len(protections) == len(TABLE)


async def test_landlock_takes_the_place_of_bubblewrap_and_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if launcher.version() == 0:
        pytest.skip("this kernel has no Landlock")
    assert (await choose("landlock")).name == "landlock"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (await choose("auto")).name == "landlock"
    first, *protections = await findings("auto")
    assert first.ok
    assert "bubblewrap does not work here (The program `bwrap` is missing" in first.sentence
    assert not all(each.ok for each in protections)


async def test_none_is_chosen_only_by_name_and_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (await choose("none")).name == "none"
    first, *protections = await findings("none")
    assert not first.ok
    assert "bot's own rights" in first.sentence
    assert [each.ok for each in protections].count(True) < len(TABLE) / 2
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(launcher, "version", lambda: 0)
    with pytest.raises(OperatorError, match="this kernel has no Landlock"):
        await choose("auto")


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
