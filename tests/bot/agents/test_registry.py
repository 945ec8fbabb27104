from __future__ import annotations

from pathlib import Path

import pytest

from bot.agents.registry import KNOWN, find, installed, needs_network, require_network
from bot.errors import OperatorError, UserError


@pytest.fixture
def tools(tmp_path: Path) -> tuple[Path, ...]:
    """A folder with the program of every known agent."""
    (tmp_path / "bin").mkdir()
    for known in KNOWN.values():
        program = tmp_path / "bin" / known.program
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return (tmp_path,)


def test_a_configured_command_wins(tools: tuple[Path, ...]) -> None:
    assert find("claude", {"claude": "my-claude"}, tools=tools) == "my-claude"


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_known_agent_is_found_where_it_is_installed(name: str, tools: tuple[Path, ...]) -> None:
    assert f"{KNOWN[name].program} " in find(name, {}, tools=tools)
    assert name in installed(tools)


def test_an_unknown_agent_is_answered_with_what_there_is() -> None:
    with pytest.raises(UserError, match=r"no agent `nobody` here; there is .*`ruff`"):
        find("nobody", {"ruff": "ruff check --fix"})


def test_a_known_agent_that_is_not_installed_names_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.sandbox.tools.SYSTEM_PATH", ("/nowhere",))
    with pytest.raises(UserError, match=r"@openai/codex.*none is configured or installed"):
        find("codex", {})


def test_a_name_cannot_break_out_of_the_answer() -> None:
    with pytest.raises(UserError, match="`x @everyone`"):
        find("x` @everyone", {"ruff": "ruff"})


def test_only_known_agents_need_a_network() -> None:
    assert needs_network("claude", {})
    assert not needs_network("claude", {"claude": "my-claude"})
    assert not needs_network("ruff", {"ruff": "ruff"})


def test_an_agent_that_needs_a_network_is_refused_in_the_sandbox() -> None:
    with pytest.raises(OperatorError, match="ORCHESTRATE_SANDBOX=none"):
        require_network("claude", {}, sandbox="bubblewrap")
    require_network("claude", {}, sandbox="none")
    require_network("ruff", {"ruff": "ruff"}, sandbox="bubblewrap")
