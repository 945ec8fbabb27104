"""Runs without GitHub: the command line, on real repositories, with real sandboxes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.errors import OperatorError, UserError
from bot.events import Event, Type
from bot.git.local import base_of, open_repository
from bot.git.program import git
from bot.local import Local, find_run, open_local
from bot.runs.fold import new_run
from bot.runs.model import Repository, Run
from bot.runs.transitions import State
from bot.settings import Settings
from bot.terminal import spoken
from tests.support.commands import Command, python

ORCHESTRATE = Path(sys.executable).with_name("orchestrate")
ADD_X = "echo x >> a.txt"
HAS_X = "grep -q x a.txt"
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Seconds until something that should happen at once counts as not happening."""


@dataclass
class Place:
    """A repository of a person, whose work tree is dirty, and a data folder."""

    folder: Path
    settings: Settings

    def git(self, *args: str) -> str:
        """Run the person's git there."""
        done = subprocess.run(
            ["git", "-C", str(self.folder), *args], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def state(self) -> dict[str, bytes]:
        """Read all that is the person's: the work tree, the index, what is checked out."""
        files = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and ".git" not in path.relative_to(self.folder).parts
        }
        inside = {name: (self.folder / ".git" / name).read_bytes() for name in ("HEAD", "index")}
        return {**files, **inside, "current": self.git("rev-parse", "HEAD").encode()}

    def begin(self, *args: str) -> subprocess.Popen[str]:
        """Start the command as somebody in a terminal of their own."""
        return Command(
            args,
            cwd=self.folder,
            env={**os.environ, "ORCHESTRATE_DATA_DIR": str(self.settings.data_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def orchestrate(self, *args: str) -> tuple[int, str, str]:
        """Run the command to its end; return its exit code and what it printed."""
        process = self.begin(*args)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            end(process)
        return process.returncode, out, err

    def json(self, *args: str) -> tuple[int, Any]:
        """Run the command with `--json`; return its exit code and the object on its output."""
        code, out, err = self.orchestrate(*args, "--json")
        assert len(out.splitlines()) == 1, (out, err)
        return code, json.loads(out)


def end(process: subprocess.Popen[str]) -> None:
    """End a command that did not end by itself, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


Scenario = Callable[[Place], Coroutine[Any, Any, None]]
SCENARIOS: dict[str, Scenario] = {}


def alone(scenario: Scenario) -> Callable[[Place], None]:
    """Run a test in a process of its own: the engine is one in each, and here the world has it."""
    name = scenario.__name__
    SCENARIOS[name] = scenario

    def test(place: Place) -> None:
        where = (str(place.folder), str(place.settings.data_dir))
        done = python("tests.bot.test_local", name, *where, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr

    test.__name__ = name
    return test


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A repository on branch `topic`, begun from `main`, with dirty and untracked files."""
    made = Place(tmp_path / "tool", Settings(data_dir=tmp_path / "data"))
    made.folder.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "user.name", "Ada")
    made.git("config", "user.email", "ada@example.com")
    (made.folder / "a.txt").write_text("one\n")
    made.git("add", ".")
    made.git("commit", "--quiet", "--message=first")
    made.git("checkout", "--quiet", "-b", "topic")
    (made.folder / "a.txt").write_text("dirty\n")
    (made.folder / "untracked").write_text("mine\n")
    return made


def options(agent: str = ADD_X, *checks: str, base: str = "main") -> dict[str, Any]:
    """Give what `orchestrate run` is called with."""
    return {"agent_command": agent, "checks": list(checks) or [HAS_X], "base": base}


async def started(local: Local, **given: Any) -> Run:
    """Start a run and follow it to its first wait."""
    run = await local.start_run("Add x to a", given or options())
    return await local.rested(run.id)


async def ordered(local: Local, run: Run, verb: str, rest: str = "") -> Run:
    """Give a command about the run as it is, and follow it to its next wait."""
    await local.order(await local.bot.store.load(run.id), verb, rest)
    return await local.rested(run.id)


@alone
async def test_a_run_is_steered_and_merged_and_the_work_tree_is_never_touched(
    place: Place,
) -> None:
    before = place.state()
    async with open_local(place.settings, place.folder) as local:
        run = await started(local)
        assert (run.state, run.base) == (State.AWAITING_REVIEW, "main")
        assert place.git("show", f"{run.branch}:a.txt") == "one\nx"

        rolled = await ordered(local, run, "rollback", "base")
        assert rolled.state is State.BLOCKED
        assert place.git("rev-parse", f"{run.branch}^{{tree}}") == run.base_tree

        undone = await ordered(local, run, "undo")
        assert undone.state is State.AWAITING_REVIEW
        assert place.git("rev-parse", f"{run.branch}^{{tree}}") == run.tree

        changed = await ordered(local, run, "reject", "-- one more")
        assert place.git("show", f"{run.branch}:a.txt") == "one\nx\nx"
        assert [each.kind for each in changed.checkpoints] == ["agent", "rollback", "undo", "agent"]

        done = await ordered(local, run, "approve")
        assert done.state is State.DONE
        assert place.git("rev-parse", "main") == changed.head
    assert place.state() == before


@alone
async def test_a_base_that_is_checked_out_is_merged_by_the_person(place: Place) -> None:
    place.git("checkout", "--quiet", "--force", "main")
    async with open_local(place.settings, place.folder) as local:
        run = await started(local)
        blocked = await ordered(local, run, "approve")
        assert blocked.state is State.BLOCKED
        assert f"git merge {run.branch}" in blocked.next_step
        place.git("merge", "--quiet", run.branch)
        done = await ordered(local, run, "approve")
        assert (done.state, done.merge_sha) == (State.DONE, run.head)


@alone
async def test_a_base_that_moved_is_merged_where_nothing_conflicts(place: Place) -> None:
    async with open_local(place.settings, place.folder) as local:
        first = await started(local)
        beside = await started(local, **options("echo b > b.txt", "true"))
        against = await started(local, **options("echo other >> a.txt", "true"))
        await ordered(local, first, "approve")

        merged = await ordered(local, beside, "approve")
        assert place.git("rev-parse", "main^1", "main^2") == f"{first.head}\n{beside.head}"
        assert place.git("show", "main:a.txt", "main:b.txt") == "one\nx\nb"

        blocked = await ordered(local, against, "approve")
        assert blocked.state is State.BLOCKED
        assert "conflicts with this run in 1 file" in blocked.reason
        assert "`a.txt`: both changed the same lines" in blocked.reason
        assert place.git("rev-parse", "main") == merged.merge_sha


BLOCKED = (
    ("true", HAS_X, "changed nothing", "`/resume`"),
    ("exit 3", HAS_X, "exit code 3", "`/resume`"),
    ("no-such-program", HAS_X, "no-such-program was not found", "`/resume`"),
    ("mkdir -p .github/workflows; touch .github/workflows/x.yml", "true", "x.yml", "`/resume`"),
    (ADD_X, "false", "`false` fails", "`/retry`"),
    (ADD_X, "no-such-check", "`no-such-check` fails", "`/retry`"),
    (ADD_X, "'unterminated", "`unterminated` fails", "`/retry`"),
)


@alone
async def test_a_run_that_cannot_go_on_says_why_and_what_to_do(place: Place) -> None:
    before = place.state()
    async with open_local(place.settings, place.folder) as local:
        # All at once: they do not disturb one another.
        begun = [
            (await local.start_run("Do", options(agent, check)), reason, next_step)
            for agent, check, reason, next_step in BLOCKED
        ]
        for run, reason, next_step in begun:
            ended = await local.rested(run.id)
            assert ended.state is State.BLOCKED, ended
            assert reason in ended.reason
            assert next_step in ended.next_step
    assert place.state() == before


WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    (" ", options(), "request is empty"),
    ("Do", options(base="nope"), "no branch `nope`; the branches are: `main`, `topic`"),
    ("Do", {"agent": "nope", "base": "main"}, "`--agent-command CMD`"),
    ("Do", {"base": "main"}, "`--agent-command CMD`"),
    ("Do", {**options(), "base": None}, "`--base`"),
)


@alone
async def test_a_wrong_request_starts_nothing(place: Place) -> None:
    place.git("checkout", "--quiet", "--detach")
    async with open_local(place.settings, place.folder) as local:
        for request, given, sentence in WRONG:
            with pytest.raises(UserError, match=sentence):
                await local.start_run(request, given)
        assert await local.bot.store.all() == []
        # With all that it needs it starts, also where no branch is checked out.
        assert (await started(local)).state is State.AWAITING_REVIEW


async def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no git repository"):
        await open_repository(tmp_path)
    await git("init", "--quiet", "--initial-branch=main", str(tmp_path))
    with pytest.raises(UserError, match="no commit yet"):
        await base_of(await open_repository(tmp_path), "")


async def test_a_data_folder_that_cannot_be_written_is_named(place: Place) -> None:
    place.settings.data_dir.write_text("a file")
    with pytest.raises(OperatorError, match="ORCHESTRATE_DATA_DIR"):
        async with open_local(place.settings, place.folder):
            pass


@alone
async def test_a_run_is_found_by_the_beginning_of_its_id(place: Place) -> None:
    async with open_local(place.settings, place.folder) as local:
        first, second = await started(local), await started(local)
    assert (await find_run(place.settings, first.id[:9].upper()))[0].id == first.id
    with pytest.raises(UserError, match="2 runs begin with ``") as refused:
        await find_run(place.settings, "")
    assert second.id in str(refused.value)
    with pytest.raises(UserError, match="There is no run `-`"):
        await find_run(place.settings, "-")


def test_slash_commands_are_spoken_as_they_are_typed_in_a_terminal() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    local = Repository(id=1, owner="local", name="tool", installation=0)
    data = {"source": {"kind": "cli", "key": "1"}, "request": "Do"}
    run = new_run(Event(id="1", at=at, actor="Ada", type=Type.REQUESTED, data=data), local)
    text = "`/resume --agent NAME`, `/orchestrate …` or `a/b`"
    typed = f"`orchestrate resume {run.id} --agent NAME`, `orchestrate run …` or `a/b`"
    assert spoken(text, run) == typed
    on_github = local.model_copy(update={"installation": 1})
    assert spoken(text, run.model_copy(update={"repository": on_github})) == text


def test_the_command_line_tells_of_a_run(place: Place) -> None:
    given = ("--base", "main", "--agent-command", f"{ADD_X}; echo hello", "--check", HAS_X)
    code, run = place.json("run", "Add x to a", *given)
    assert (code, run["state"], run["merged"]) == (0, "awaiting_review", False)
    assert run["repository_dir"] == str(place.folder)
    made = run["checkpoints"][0]
    assert made["tree"] == place.git("rev-parse", f"{run['branch']}^{{tree}}")
    assert {(each["name"], each["conclusion"]) for each in run["check_runs"]} == {
        ("grep", "success"),
        ("rules", "success"),
    }
    assert place.json("runs")[1]["runs"][0]["run"] == run["run"]
    assert place.json("show", run["run"])[1]["events"][0]["type"] == "requested"
    assert "hello\n" in place.orchestrate("logs", run["run"])[1]
    assert "\n+x\n" in place.orchestrate("diff", run["run"])[1]
    assert place.orchestrate("diff", run["run"], "--stat")[1] == "+1 −0        a.txt\n"
    assert place.orchestrate("diff", run["run"], "--names")[1] == "modified   a.txt\n"
    code, verified = place.json("verify", run["run"])
    assert (code, verified["ok"], verified["problems"]) == (0, True, [])
    assert verified["events"] == verified["published"] > 0


def commit_to_main(place: Place, path: str) -> str:
    """Commit a file to `main`, in a worktree beside the person's own; return the commit."""
    other = place.folder.with_name("beside")
    place.git("worktree", "add", "--quiet", str(other), "main")
    (other / path).write_text(f"{path}\n")
    place.git("-C", str(other), "add", path)
    place.git("-C", str(other), "commit", "--quiet", f"--message={path}")
    place.git("worktree", "remove", str(other))
    return place.git("rev-parse", "main")


def test_a_run_goes_back_in_part_and_takes_its_base_in(place: Place) -> None:
    commit_to_main(place, "b.txt")
    work = f"{ADD_X}; mv b.txt c.txt; echo new > 'new file.txt'"
    given = ("--base", "main", "--agent-command", work, "--check", HAS_X)
    code, run = place.json("run", "Add x to a", *given)
    assert code == 0
    code, back = place.json(
        "rollback", run["run"], "base", "--paths", "new file.txt", "--paths", "[bc].txt"
    )
    assert (code, [each["kind"] for each in back["checkpoints"]]) == (0, ["agent", "rollback"])
    code, shown = place.json("diff", run["run"], "--names")
    assert shown["files"] == [{"path": "a.txt", "status": "modified"}]
    code, shown = place.json("diff", run["run"], "1", "--stat")
    (renamed,) = [each for each in shown["files"] if "old_path" in each]
    assert (renamed["old_path"], renamed["path"]) == ("b.txt", "c.txt")
    code, _, err = place.orchestrate("rollback", run["run"], "base", "--paths", "no/**")
    assert code == 1
    assert "Nothing that `no/**` means differs" in err
    code, _, err = place.orchestrate("diff", run["run"], "--names", "--stat")
    assert (code, len(err.splitlines())) == (1, 1)

    code, _, err = place.orchestrate("update", run["run"])
    assert code == 0
    assert "`main` has nothing that this run does not have" in err
    tip = commit_to_main(place, "d.txt")
    code, updated = place.json("update", run["run"])
    assert (code, updated["state"]) == (0, "awaiting_review")
    assert updated["checkpoints"][-1]["kind"] == "update"
    assert place.git("log", "-1", "--format=%P", run["branch"]).split()[1] == tip


def test_what_passes_of_a_refused_turn_is_kept_from_the_command_line(place: Place) -> None:
    work = f"{ADD_X}; echo evil > AGENTS.md"
    code, run = place.json("run", "Add x", "--base=main", f"--agent-command={work}")
    assert (code, run["state"]) == (1, "blocked")
    assert f"`orchestrate rollback {run['run']} --only-violations`" in run["next_step"]
    code, _, err = place.orchestrate("rollback", run["run"], "--only-violations")
    assert code == 0, err
    assert "`AGENTS.md`" in err
    assert place.orchestrate("diff", run["run"], "--names")[1] == "modified   a.txt\n"


def test_what_goes_wrong_is_one_sentence_and_exit_code_1(place: Place) -> None:
    code, out, err = place.orchestrate("show", "zzzzzz")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    code, run = place.json("run", "Do", "--base=main", "--agent-command=true")
    assert (code, run["state"]) == (1, "blocked")
    assert f"`orchestrate resume {run['run']}`" in run["next_step"]
    code, out, err = place.orchestrate("undo", run["run"])
    assert (code, out, len(err.splitlines())) == (1, "", 1)


def until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Wait for a condition while a process works on it; return what it came to."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def logged(place: Place, line: str) -> str:
    """Return the id of the run whose agent or check printed `line`; empty while none did."""
    for log in place.settings.data_dir.glob("local/*/runs/*/logs/*.log"):
        if line in log.read_text():
            return log.parent.parent.name
    return ""


@contextmanager
def sleeping(place: Place, agent: str, check: str = HAS_X) -> Iterator[tuple[Any, str]]:
    """Start a run whose agent or check says `asleep` and sleeps; give the process and the id."""
    given = ("--base", "main", "--agent-command", agent, "--check", check, "--json")
    process = place.begin("run", "Add x to a", *given)
    try:
        yield process, until(lambda: logged(place, "asleep"), process)
    finally:
        end(process)


SLEEPS = f"{ADD_X}; echo asleep; sleep 300"
SLEEPS_ONCE = f"{ADD_X}; echo asleep; [ -e $HOME/been ] || {{ touch $HOME/been; sleep 300; }}"


@pytest.mark.slow
def test_a_run_is_paused_and_cancelled_from_another_terminal(place: Place) -> None:
    before = place.state()
    with sleeping(place, SLEEPS) as (process, run):
        code, paused = place.json("pause", run)
        assert (code, paused["state"]) == (0, "paused")
        out, err = process.communicate(timeout=PATIENCE)
        assert json.loads(out)["state"] == "paused", err
        assert process.returncode == 1
        # What the agent did until then is kept.
        assert [each["kind"] for each in paused["checkpoints"]] == ["interrupted"]
    code, cancelled = place.json("cancel", run)
    assert (code, cancelled["state"]) == (0, "cancelled")
    assert place.json("verify", run)[0] == 0
    assert place.state() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "check", "kinds"),
    [
        (SLEEPS_ONCE, HAS_X, ["interrupted", "agent"]),
        (ADD_X, "echo asleep; [ -e $HOME/been ] || { touch $HOME/been; sleep 300; }", ["agent"]),
    ],
    ids=["in the agent's turn", "in a check"],
)
def test_a_killed_run_goes_on_with_the_next_command(
    place: Place, agent: str, check: str, kinds: list[str]
) -> None:
    before = place.state()
    with sleeping(place, agent, check) as (process, run):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        code, resumed = place.json("resume", run)
    assert (code, resumed["state"]) == (0, "awaiting_review")
    assert [each["kind"] for each in resumed["checkpoints"]] == kinds
    assert resumed["head"] == place.git("rev-parse", resumed["branch"])
    assert place.git("rev-list", "--count", f"main..{resumed['branch']}") == str(len(kinds))
    assert place.state() == before


@pytest.mark.slow
def test_a_second_run_of_the_repository_waits_for_the_first(place: Place) -> None:
    agent = f"{ADD_X}; echo asleep; until [ -e $HOME/go ]; do sleep 0.1; done"
    touch = ("--base=main", "--agent-command=touch b", "--check=test -e b")
    with sleeping(place, agent) as (process, run):
        second = place.begin("run", "Touch b", *touch)
        try:
            assert second.stderr is not None
            assert "waiting for its end" in second.stderr.readline()
            (home,) = place.settings.data_dir.glob(f"local/*/runs/{run}/home")
            (home / "go").touch()
            second.communicate(timeout=PATIENCE)
            assert second.returncode == 0
        finally:
            end(second)
        assert process.wait(PATIENCE) == 0


def test_help_answers_without_loading_the_program() -> None:
    loaded = "import sys, bot.cli; print(*sorted(m for m in sys.modules if '.' not in m))"
    out = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    heavy = {"asyncio", "dbos", "githubkit", "pydantic", "pygit2", "sqlalchemy", "starlette"}
    assert heavy.isdisjoint(out.stdout.split())


if __name__ == "__main__":
    from tests.bot import test_local

    scenario, folder, data_dir = sys.argv[1:]
    asyncio.run(
        test_local.SCENARIOS[scenario](Place(Path(folder), Settings(data_dir=Path(data_dir))))
    )


def test_bounds_of_the_server_hold_whatever_the_repository_says(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "bounds.yml"
    file.write_text("paths: {protected: [a.txt]}\n")
    monkeypatch.setenv("ORCHESTRATE_POLICY_FILE", str(file))
    code, run = place.json("run", "Add x", "--agent-command", ADD_X)
    assert (code, run["state"]) == (1, "blocked")
    assert "Protected paths were touched: `a.txt`" in run["reason"]
    file.write_text("limits:\n  file: 3\n")
    code, _, err = place.orchestrate("run", "Add x", "--agent-command", ADD_X)
    assert code == 1
    assert "bounds.yml, line 2: `file` is not known here; did you mean `files`?" in err


def test_whoever_has_a_clone_runs_the_checks_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    (tools / "bin").mkdir(parents=True)
    (tools / "bin" / "has-x").write_text(f"#!/bin/sh\n{HAS_X}\n")
    (tools / "bin" / "has-x").chmod(0o755)
    monkeypatch.setenv("ORCHESTRATE_TOOLS", str(tools))
    given = ("--base", "main", "--agent-command", ADD_X, "--check", "has-x", "--check", HAS_X)
    run = place.json("run", "Add x to a", *given)[1]
    clone = tmp_path / "clone"
    place.git("clone", "--quiet", str(place.folder), str(clone))

    # Of the server's data nothing is needed, and nothing of it is looked at.
    there = Place(clone, Settings(data_dir=tmp_path / "elsewhere"))
    asked = ("verify", run["run"], "--repo", str(clone))
    code, found = there.json(*asked, "--replay")
    assert (code, found["ok"], found["problems"]) == (0, True, [])
    assert found["replay"]["sha"] == run["checkpoints"][0]["sha"]
    shown = {each["name"]: (each["recorded"], each["now"]) for each in found["replay"]["checks"]}
    assert shown == {"has-x": ("success", "success"), "grep": ("success", "success")}
    assert not (tmp_path / "elsewhere").exists()

    # Where what it takes is not there, the difference is named check by check.
    monkeypatch.delenv("ORCHESTRATE_TOOLS")
    code, out, _ = place.orchestrate("verify", run["run"], "--replay")
    assert code == 1
    assert "The check `has-x` of checkpoint 1 is failure here, and was success" in out
    assert "grep: success, as recorded." in out
