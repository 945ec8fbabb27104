"""`orchestrate agents` and what the doctor says of agents, as a person sees them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import commands


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with one agent's program."""
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '2.1.200 (Claude Code)'\n")
    program.chmod(0o755)
    return tmp_path


def orchestrate(tools: Path, *args: str, **env: str) -> tuple[int, str]:
    own = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tools),
        "ORCHESTRATE_DATA_DIR": str(tools / "data"),
        "ORCHESTRATE_TOOLS": str(tools),
        "ORCHESTRATE_SANDBOX": os.environ.get("ORCHESTRATE_SANDBOX", "auto"),
        "COLUMNS": "200",
        **env,
    }
    done = commands.orchestrate(*args, env=own, timeout=60)
    return done.returncode, done.stdout + (done.stderr if done.returncode else "")


def test_agents_are_listed_for_programs(tools: Path) -> None:
    code, out = orchestrate(tools, "agents", "--json", ANTHROPIC_API_KEY="sk-0123456789")
    assert code == 0, out
    listed = json.loads(out.splitlines()[-1])["agents"]
    by = {(each["agent"], each["by"]): each for each in listed}
    claude = by["claude", "cli"]
    assert (claude["version"], claude["key"], claude["chosen"]) == ("2.1.200", True, True)
    assert claude["path"] == str(tools / "bin" / "claude")
    assert not by["gemini", "acp"]["installed"]
    assert "sk-0123456789" not in out


def test_agents_are_listed_for_people(tools: Path) -> None:
    code, out = orchestrate(tools, "agents", ORCHESTRATE_AGENTS='{"lint": "ruff check --fix"}')
    assert code == 0, out
    assert "npm install -g @google/gemini-cli" in out
    assert "ruff check --fix" in out
    assert "ANTHROPIC_API_KEY" in out


def test_the_doctor_says_how_to_install_what_is_missing(tools: Path) -> None:
    _, out = orchestrate(tools, "doctor", "--json", OPENAI_API_KEY="sk-0123456789")
    found = {each["name"]: each for each in json.loads(out.splitlines()[-1])["findings"]}
    assert "has no key: set ANTHROPIC_API_KEY" in found["agent claude"]["sentence"]
    missing = found["agent codex"]
    assert not missing["ok"]
    assert not missing["needed"]
    assert "`npm install -g @openai/codex`" in missing["sentence"]


def test_an_agent_that_has_no_key_is_refused_before_anything_begins(tools: Path) -> None:
    repository = tools / "repository"
    for command in (
        ["git", "init", "-q", "-b", "main", str(repository)],
        ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c", "commit",
         "-q", "--allow-empty", "-m", "first"],
    ):  # fmt: skip
        subprocess.run(command, check=True)
    code, out = orchestrate(tools, "run", "do it", "--repo", str(repository), "--agent", "claude")
    assert code == 1
    assert "The agent `claude` has no key for its model here: set ANTHROPIC_API_KEY" in out
