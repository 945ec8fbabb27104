"""What holds and why, whether it does what it is to do, and who decided what."""

from __future__ import annotations

import json
import subprocess
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


def git(folder: Path, *words: str | Path) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(
        ["git", "-C", folder, *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of a remote that has a pull request as GitHub keeps one."""
    remote, folder = tmp_path / "remote", tmp_path / "clone"
    git(tmp_path, "init", "-q", "-b", "main", remote)
    files = {
        ".github/orchestrate.yml": (
            "limits: {dependencies: 0}\napproval: {code_owners: true, teams: [ops]}\n"
        ),
        ".github/CODEOWNERS": "/src/ @ada\n",
        "package.json": "{}",
        "src/a.py": "a = 1\n",
    }
    for path, text in files.items():
        (remote / path).parent.mkdir(parents=True, exist_ok=True)
        (remote / path).write_text(text)
    git(remote, "add", ".")
    git(remote, "commit", "-qm", "First")
    git(tmp_path, "clone", "-q", remote, folder)
    git(remote, "checkout", "-q", "-b", "theirs")
    (remote / "package.json").write_text('{"dependencies": {"left": "1"}}')
    (remote / "src/a.py").write_text("a = 2\n")
    git(remote, "commit", "-qam", "Theirs")
    git(remote, "update-ref", "refs/pull/7/head", "HEAD")
    git(remote, "checkout", "-q", "main")
    return folder


def test_a_pull_request_is_judged_as_if_an_agent_had_made_it(clone: Path) -> None:
    shown = call("policy", "simulate", "--pull", "7", "--repo", clone)
    assert shown.exit_code == 1
    assert (
        "1 new dependency, and one checkpoint may bring 0: `left in package.json`" in shown.stdout
    )
    assert "allowed  paths" in shown.stdout
    assert "It needs 1 more approval" in shown.stdout
    owner = clone.parent.name.lower()
    assert f"Nobody of the team `@{owner}/ops` approved it yet" in shown.stdout
    assert "`src/a.py` needs one of its owners: `@ada`" in shown.stdout
    assert git(clone, "status", "--porcelain") == ""
    told = json.loads(call("policy", "simulate", "--pull", "7", "--repo", clone, "--json").stdout)
    assert (told["ok"], told["files"], told["conflicts"]) == (False, 2, [])
    assert [each["rule"] for each in told["rules"]["children"] if not each["allowed"]] == [
        "dependencies"
    ]


def test_what_does_not_merge_is_said_and_what_is_not_there(clone: Path) -> None:
    remote = clone.with_name("remote")
    (remote / ".github/orchestrate.yml").write_text("")
    (remote / "src/a.py").write_text("a = 3\n")
    git(remote, "commit", "-qam", "Ours")
    told = call("policy", "simulate", "--pull", "7", "--repo", clone)
    assert told.exit_code == 1
    assert "conflict  src/a.py" in told.stdout
    with pytest.raises(UserError, match="has no pull request #8"):
        CliRunner().invoke(
            app, ["policy", "simulate", "--pull", "8", "--repo", str(clone)],
            catch_exceptions=False,
        )  # fmt: skip
