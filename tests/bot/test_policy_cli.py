"""What holds and why, whether it does what it is to do, and who decided what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot.cli import app
from bot.errors import UserError

CASES = """
cases:
  - {name: lock files are closed, changes: [uv.lock], expect: refused}
  - {name: the law is closed, changes: [law/a], expect: refused, says: law/a}
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github" / "orchestrate.yml").write_text("extends: [solo]\nlimits: {files: 9}\n")
    (tmp_path / "cases.yml").write_text(CASES)
    return tmp_path


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_configuration_is_explained(repo: Path) -> None:
    done = call("config", "explain", "--repo", repo, "--json")
    told = {each["setting"]: each for each in json.loads(done.stdout)["settings"]}
    assert told["limits.files"] == {"setting": "limits.files", "value": 9, "from": "line 2"}
    assert told["approval.requester"]["from"] == "preset solo"
    shown = call("config", "explain", "--repo", repo).stdout.splitlines()
    assert any(line.split() == ["limits.files", "9", "(line", "2)"] for line in shown)


def test_a_wrong_configuration_is_told_on_its_line(repo: Path) -> None:
    (repo / ".github" / "orchestrate.yml").write_text("limit: {}\n")
    done = call("config", "explain", "--repo", repo)
    assert isinstance(done.exception, UserError)
    assert "orchestrate.yml:1:1: `limit` is not known here; did you mean" in str(done.exception)


def test_cases_that_fail_are_shown_with_the_verdict(repo: Path) -> None:
    done = call("policy", "test", repo / "cases.yml", "--repo", repo)
    assert done.exit_code == 1
    assert "ok      lock files are closed" in done.stdout
    assert "FAILED  the law is closed" in done.stdout
    assert "allowed  paths: No protected path was touched." in done.stdout
    told = json.loads(call("policy", "test", repo / "cases.yml", "--repo", repo, "--json").stdout)
    assert [each["holds"] for each in told["cases"]] == [True, False]
    assert told["ok"] is False


def test_cases_that_hold_end_well(repo: Path) -> None:
    (repo / ".github" / "orchestrate.yml").write_text("paths: {protected: [/law/]}\n")
    assert call("policy", "test", repo / "cases.yml", "--repo", repo).exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [("cases: [{name: x}]", "cases.yml:1:"), ("- a", "cases.yml:1:1:")],
)
def test_wrong_cases_are_told_on_their_line(repo: Path, text: str, said: str) -> None:
    (repo / "cases.yml").write_text(text)
    done = call("policy", "test", repo / "cases.yml", "--repo", repo)
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)


def test_without_a_run_there_is_nothing_to_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATE_DATA_DIR", str(tmp_path))
    assert json.loads(call("audit", "--json").stdout) == {"decisions": [], "unread": []}
    done = call("audit", "--since", "yesterday")
    assert "write it as in 2026-11-01" in str(done.exception)
