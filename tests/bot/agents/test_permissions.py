from __future__ import annotations

import pytest

from bot.agents.events import Kind
from bot.agents.permissions import Permissions
from policies.config import Config

PERMISSIONS = Permissions("/workspace", "/home/agent", Config())


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("edit", "src/a.py"),
        ("edit", "/workspace/src/a.py"),
        ("edit", "/home/agent/notes"),
        ("edit", "~/notes"),
        ("edit", "/tmp/x"),
        ("read", "/usr/include/stdio.h"),
        ("read", "/workspace/.github/workflows/ci.yml"),
        ("delete", "/workspace/src/../src/a.py"),
    ],
)
def test_what_lies_within_is_allowed(kind: Kind, path: str) -> None:
    assert PERMISSIONS.decide(kind, [path]).allowed


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("edit", "/etc/passwd"),
        ("edit", "/workspace/../etc/passwd"),
        ("edit", "../elsewhere"),
        ("edit", "/workspaces/other"),
        ("edit", "/usr/bin/python3"),
        ("read", "/home/other/.ssh/id_rsa"),
        ("read", "~/../other"),
        ("move", "/var/lib/x"),
        ("edit", "file:///etc/passwd"),
    ],
)
def test_what_lies_outside_is_denied(kind: Kind, path: str) -> None:
    decision = PERMISSIONS.decide(kind, ["src/fine.py", path])
    assert not decision.allowed
    assert "outside of the workspace" in decision.reason


@pytest.mark.parametrize(
    "path", [".github/workflows/ci.yml", "CLAUDE.md", "uv.lock", ".git/hooks/x"]
)
def test_a_protected_path_is_denied_with_the_rules_own_reason(path: str) -> None:
    decision = PERMISSIONS.decide("edit", [f"/workspace/{path}"])
    assert not decision.allowed
    assert path in decision.reason


def test_the_repository_decides_what_else_is_protected() -> None:
    config = Config.model_validate({"paths": {"protected": ["/migrations"]}})
    asked = Permissions("/workspace", "/home/agent", config)
    assert not asked.decide("edit", ["migrations/0001.sql"]).allowed
    assert asked.decide("edit", ["src/migrations.py"]).allowed


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("pytest -q 2>&1 | tail -5", True),
        ("python3 -c 'print(1)' > /dev/null", True),
        ("echo hi > notes.txt", True),
        ("/usr/bin/env python3 setup.py", True),
        ("echo x > CLAUDE.md", False),
        ("echo x >>.github/workflows/ci.yml", False),
        ("cat /home/other/.ssh/id_rsa", False),
        ("cat ../../secret", False),
        ("echo 'an open quote", True),
    ],
)
def test_a_command_is_judged_by_the_paths_that_it_names(command: str, allowed: bool) -> None:
    assert PERMISSIONS.decide("run", [], command).allowed is allowed
