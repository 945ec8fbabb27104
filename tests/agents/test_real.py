"""Real agent programs, contained, against a model of ours: a run each, as a person starts it.

Each is driven by the command line, in the sandbox, through the gateway. What the bot reports as
used is held against what the model served.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.agents.conftest import INSTALLED
from tests.support.model import Model, Step, script, serve_model

ORCHESTRATE = Path(sys.executable).with_name("orchestrate")

AGENTS = (
    "claude-acp", "codex-acp", "gemini-acp", "copilot-acp", "opencode-acp", "claude-cli",
    "codex-cli",
)  # fmt: skip

ASKS_NOTHING = ("codex-acp", "codex-cli")
"""Agents that ask for no leave: what they may not change is refused when the host has seen it."""

PATIENCE_SECONDS = 150.0
"""For one command: OpenCode and Gemini take half a minute to start on a busy machine."""

SECRET = "sk-real-0123456789abcdefghijklmnopqrstuvwxyz"
HELLO = {"write": "/workspace/hello.txt", "text": "hello\n"}

pytestmark = pytest.mark.parametrize("agent", AGENTS)
every = pytest.mark.all_agents


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    async with serve_model() as served:
        yield served


@dataclass
class Person:
    """Somebody with a repository, the programs, and a key."""

    folder: Path
    model: Model
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        url, repository = self.model.url, self.folder / "repository"
        plain = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.env = {
            **plain,
            "HOME": str(self.folder),
            "ORCHESTRATE_DATA_DIR": str(self.folder / "data"),
            "ORCHESTRATE_TOOLS": INSTALLED,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": SECRET,
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": SECRET,
            "GOOGLE_GEMINI_BASE_URL": url,
            "GEMINI_API_KEY": SECRET,
        }
        repository.mkdir()
        (repository / "notes.txt").write_text("first\n")
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.email", "ada@example.org")
        self.git("config", "user.name", "ada")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "first")

    @property
    def repository(self) -> Path:
        """The person's repository."""
        return self.folder / "repository"

    def git(self, *args: str) -> str:
        """Ask git."""
        command = ["git", "-C", str(self.repository), *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    async def begin(self, *args: str) -> asyncio.subprocess.Process:
        """Start the command."""
        return await asyncio.create_subprocess_exec(
            str(ORCHESTRATE), *args, cwd=self.repository, env=self.env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    async def ended(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        """Wait for the command's end; what it says of the run."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        told = err.decode()
        assert SECRET not in told + out.decode()
        assert out.strip(), told
        return {**json.loads(out.splitlines()[-1]), "told": told}

    async def run(self, agent: str, *steps: Step) -> dict[str, Any]:
        """Start a run, and see it to where it rests."""
        return await self.ended(await self.begin(*self.request(agent, *steps)))

    async def say(self, *args: str) -> dict[str, Any]:
        """Give a command about a run."""
        return await self.ended(await self.begin(*args, "--json"))

    def request(self, agent: str, *steps: Step) -> tuple[str, ...]:
        """The arguments that start a run."""
        words = f"Please do this. {script(*steps)}"
        return ("run", words, "--agent", agent, "--check", "true", "--json")

    async def until_it_hangs(self) -> None:
        """Wait until the model lets an agent wait."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any("hang" in each.step for each in self.model.asked):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    def logs(self) -> dict[str, str]:
        """What is kept of the turns, by file."""
        found = (self.folder / "data").rglob("logs/*")
        return {path.name: path.read_text(errors="replace") for path in found if path.is_file()}

    def events(self) -> list[dict[str, Any]]:
        """What the agent told in its turns."""
        logs = sorted(self.logs().items())
        texts = [text for name, text in logs if name.endswith(".events.jsonl")]
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def holds(self, commit: str, path: str) -> bool:
        """Whether a commit has a file."""
        return bool(self.git("ls-tree", "--name-only", "-r", commit, "--", path).strip())


@pytest.fixture
def person(tmp_path: Path, model: Model) -> Iterator[Person]:
    made = Person(tmp_path, model)
    yield made
    for left in mounts(made):  # of a test that failed
        subprocess.run(["umount", "-l", left], check=False)


def alive(person: Person) -> list[str]:
    """The programs that run on this machine and see something of the person's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            sees = str(person.folder) in (process / "mountinfo").read_text()
            if INSTALLED.encode() in words and sees:
                state = (process / "stat").read_text().rpartition(")")[2].split()[:2]
                found.append(f"{process.name} {state} {words.decode(errors='replace')[:200]}")
    return found


def mounts(person: Person) -> list[str]:
    """What is mounted below the person's folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if str(person.folder) in line.split()[4]]


def served(model: Model) -> dict[str, int]:
    """What the model served, in the gateway's words: what came out of a cache is apart."""
    told = model.served
    return {
        "requests": told.requests,
        "input_tokens": told.input_tokens - told.cached_tokens,
        "output_tokens": told.output_tokens,
        "cached_tokens": told.cached_tokens,
    }


def same_usage(run: dict[str, Any], model: Model) -> bool:
    """Whether a run reports what was served."""
    told = served(model)
    return {name: run["usage"][name] for name in told} == told


async def test_an_edit_becomes_a_checkpoint_and_what_it_took_is_known(
    person: Person, model: Model, agent: str
) -> None:
    show = {"run": "cat /workspace/hello.txt; env | grep -c KEY"}
    run = await person.run(agent, {"plan": ["greet"]}, HELLO, show, {"say": "It greets."})
    assert run["state"] == "awaiting_review", run["told"]
    assert [each["kind"] for each in run["checkpoints"]] == ["agent"]
    assert person.git("show", f"{run['head']}:hello.txt") == "hello\n"
    assert same_usage(run, model), (run["usage"], served(model))
    assert {each.key for each in model.asked} == {SECRET}
    assert "It greets." in run["told"]
    assert SECRET not in "".join(person.logs().values())
    assert {"tool_call", "message"} <= {each["event"] for each in person.events()}
    assert not alive(person)


@every
async def test_a_cancelled_run_ends_at_once(person: Person, model: Model, agent: str) -> None:
    working = await person.begin(*person.request(agent, HELLO, {"say": "Done.", "hang": 600}))
    await person.until_it_hangs()
    (run,) = (await person.say("runs"))["runs"]
    begun = asyncio.get_running_loop().time()
    assert (await person.say("cancel", run["run"]))["state"] == "cancelled"
    ended = await person.ended(working)
    assert asyncio.get_running_loop().time() - begun < 20
    assert ended["state"] == "cancelled"
    assert not alive(person)


@every
async def test_a_run_goes_on_after_the_bot_was_killed(
    person: Person, model: Model, agent: str
) -> None:
    again = {"write": "/workspace/again.txt", "text": "again\n", "hang": 600}
    begun = await person.begin(*person.request(agent, HELLO, again))
    await person.until_it_hangs()
    os.killpg(begun.pid, signal.SIGKILL)
    await begun.wait()
    for _ in range(100):  # ten seconds: hundreds of megabytes are freed
        if not alive(person):
            break
        await asyncio.sleep(0.1)
    assert not alive(person)
    (run,) = (await person.say("runs"))["runs"]
    resumed = await person.say("resume", run["run"])
    assert resumed["state"] == "awaiting_review", resumed["told"]
    assert person.holds(resumed["head"], "hello.txt")
    assert person.holds(resumed["head"], "again.txt")
    assert "could not be resumed" not in resumed["told"]
    assert not mounts(person)


@every
async def test_a_forbidden_path_is_denied(person: Person, model: Model, agent: str) -> None:
    forbidden = "CODEOWNERS"
    outside = {"write": "/etc/orchestrate-evil", "text": "x"}
    steps = ({"write": f"/workspace/{forbidden}", "text": "* @evil\n"}, outside, {"say": "Done."})
    run = await person.run(agent, *steps)
    assert run["state"] == "blocked", run["told"]
    assert not person.git("log", "--all", "--format=%H", "--", forbidden)
    assert not Path("/etc/orchestrate-evil").exists()  # noqa: ASYNC240
    denied = [e for e in person.events() if e["event"] == "permission" and not e["allowed"]]
    if agent in ASKS_NOTHING:
        assert forbidden in run["reason"]
    else:
        assert any(forbidden in each["reason"] for each in denied), person.events()
