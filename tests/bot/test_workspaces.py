"""Runs in each kind of workspace, by the command line: the same files, the same checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import orchestrate

AGENT = "mkdir d && mv a.txt d/b.txt && echo new > c && chmod +x c && rm gone && ln -s d l"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("a.txt", "gone"):
        (folder / name).write_text("text\n")
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for args in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "First")):
        subprocess.run(["git", *args], cwd=folder, check=True)
    return folder


def _run(repository: Path, *args: str, **env: str) -> dict[str, Any]:
    done = orchestrate(
        *("run", "Do it", "--repo", str(repository), *args, "--json"),
        env={**os.environ, "ORCHESTRATE_DATA_DIR": str(repository.parent / "data"), **env},
        timeout=120,
    )
    assert done.stdout, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("overlay", marks=ROOT_ONLY), "checkout", pytest.param("auto")]
)
def test_a_run_is_the_same_in_each_kind_of_workspace(repository: Path, kind: str) -> None:
    check = "test -x c && test -h l && test ! -e gone && grep -q text l/b.txt"
    args = ("--agent-command", AGENT, "--check", check)
    summary = _run(repository, *args, ORCHESTRATE_WORKSPACES=kind)
    assert summary["state"] == "awaiting_review", summary["reason"]
    (made,) = summary["checkpoints"]
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--format=%(objectmode) %(path)", made["sha"]],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.splitlines() == ["100755 c", "100644 d/b.txt", "120000 l"]
    assert _mounts(repository.parent) == []
    home = next((repository.parent / "data" / "local").iterdir()) / "runs" / summary["run"]
    assert {each.name for each in home.iterdir()} == {"check-home", "home", "logs"}


@pytest.mark.slow
def test_a_run_that_fills_the_disk_is_stopped_and_says_so(repository: Path) -> None:
    agent = "head -c 3000000 /dev/urandom > large; sync large; sleep 60"
    summary = _run(repository, "--agent-command", agent, ORCHESTRATE_DISK_MEGABYTES="1")
    assert summary["state"] == "blocked"
    assert "of the disk, which is more than the server allows" in summary["reason"]
    assert summary["seconds"] < 40
    assert [each["kind"] for each in summary["checkpoints"]] == ["partial"]
