"""What the command line shows of a run while it is at work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bot.redact import Redactor
from bot.settings import load
from tests.bot.test_local import ORCHESTRATE, PATIENCE, Place, end, place
from tests.support.model import Model, script, serve_model

__all__ = ["place"]

KEY = "sk-ant-api03-Zq8Yw5tR1uLx0PnB7vKcE2sDfG4hJmA9iOoT6rWQ"


WAITS = 'while [ ! -e "$HOME/go" ]; do sleep 0.1; done'
"""Shell that waits for `let_go`."""


def at_work(place: Place, agent: str) -> tuple[subprocess.Popen[str], str]:
    """Start a run in a process of its own; come back when its agent has begun."""
    run = place.begin(
        "run", "Say it", "--agent-command", agent, "--check", "true", "--base", "main"
    )
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for log in place.settings.data_dir.glob("local/*/runs/*/logs/turn-1.log"):
            if log.read_text():
                return run, log.parent.parent.name
        time.sleep(0.05)
    end(run)
    raise AssertionError("the agent never began")


def let_go(place: Place, run: str) -> None:
    """Let an agent that waits end its turn: its home is a folder of ours."""
    (home,) = place.settings.data_dir.glob(f"local/*/runs/{run}/home")
    (home / "go").write_text("")


def test_logs_are_followed_while_another_process_works_and_end_when_the_run_waits(
    place: Place,
) -> None:
    agent = "cat > /dev/null; printf '\\033[31mhello\\033[0m\\n'; sleep 2; echo bye; echo x > b.txt"
    running, run = at_work(place, agent)
    try:
        code, out, err = place.orchestrate("logs", run, "-f")
    finally:
        running.communicate(timeout=PATIENCE)

    assert code == 0, err
    assert running.returncode == 0
    lines = out.splitlines()
    assert lines[0] == "── turn-1, the prompt"
    assert "Say it" in lines
    # What a program prints does not steer the terminal of who reads it.
    assert "\x1b" not in out
    assert lines.index("── turn-1, the prompt") < lines.index("── turn-1") < lines.index("hello")
    assert lines.index("hello") < lines.index("bye")


def test_a_turn_is_shown_by_itself_and_its_files_are_named(place: Place) -> None:
    agent = "cat > /dev/null; echo turn $ORCHESTRATE_TURN; echo x >> b.txt"
    args = ("--agent-command", agent, "--check", "test $(wc -l < b.txt) = 2", "--base", "main")
    _, made = place.json("run", "Twice", *args)

    assert [each["turn"] for each in made["checkpoints"]] == [1, 2]
    _, out, _ = place.orchestrate("logs", made["run"], "--turn", "2")
    assert "turn 2" in out.splitlines()
    assert "turn 1" not in out.splitlines()
    code, shown = place.json("logs", made["run"], "--turn", "1")
    assert code == 0
    assert [each["name"] for each in shown["logs"]] == ["turn-1.prompt.md", "turn-1.log"]
    assert "checkpoint 1" in place.orchestrate("show", made["run"])[1]
    assert ", turn 2)" in place.orchestrate("show", made["run"])[1]


def test_the_agent_of_another_process_is_told(place: Place) -> None:
    agent = f"cat > p$ORCHESTRATE_TURN.txt; echo hello; {WAITS}"
    running, run = at_work(place, agent)
    try:
        code, told = place.json("tell", run, "use --tabs, please")
    finally:
        let_go(place, run)
        out, _ = running.communicate(timeout=PATIENCE)

    assert code == 0
    assert told["message"]["text"] == "use --tabs, please"
    assert running.returncode == 0, out
    _, shown = place.json("show", run)
    assert [each["turn"] for each in shown["messages"]] == [2]
    branch = shown["branch"]
    assert "use --tabs, please" in place.git("show", f"{branch}:p2.txt")
    assert "use --tabs" not in place.git("show", f"{branch}:p1.txt")


def test_a_key_of_the_server_is_written_nowhere(place: Place) -> None:
    """The agent runs without a sandbox, with all that the bot has, and prints it every way."""
    environ = {**os.environ, "ANTHROPIC_API_KEY": KEY, "ORCHESTRATE_SANDBOX": "none"}
    environ["ORCHESTRATE_DATA_DIR"] = str(place.settings.data_dir)
    hidden = place.folder.parent / "key"
    hidden.write_text(KEY)
    says = f"cat {hidden}; base64 {hidden}; od -An -tx1 {hidden}; rev {hidden}; cat > /dev/null"
    command = [
        *(str(ORCHESTRATE), "run", f"The key is {KEY}", "--base", "main", "--json"),
        *("--agent-command", f"({says}); echo x > b.txt"),
        *("--check", f"({says}); false"),
    ]
    done = subprocess.run(
        command,
        cwd=place.folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["state"] == "blocked", done.stderr

    for name in ("turn-1.log", "check-1-cat.log"):  # plain and base64 stand side by side there
        (log,) = place.settings.data_dir.rglob(name)
        assert log.read_text().count("[secret]") == 3
    written = [path for path in place.settings.data_dir.rglob("*") if path.is_file()]
    texts = [path.read_bytes() for path in written if not path.is_symlink()]
    ledger = place.git("log", "-p", "--format=%B", f"refs/orchestrate/{found['run']}")
    texts += [done.stdout.encode(), done.stderr.encode(), ledger.encode()]
    redactor = Redactor([KEY])
    assert [text for text in texts if redactor.find(text)] == []
    assert "[secret]" in ledger


AGENT = Path(__file__).parents[1] / "support" / "acp_agent.py"


@pytest.fixture
async def model(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Model]:
    """A model, with a key for it, and an agent of the operator's that speaks ACP and asks it."""
    mine = {
        "command": f"{sys.base_prefix}/bin/python3 {AGENT}",
        "speaks": "acp",
        "models": ["anthropic"],
    }
    async with serve_model() as made:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", made.url)
        monkeypatch.setenv("ORCHESTRATE_AGENTS", json.dumps({"mine": mine}))
        monkeypatch.setenv("ORCHESTRATE_TOOLS", f"{sys.base_prefix}:{AGENT.parent}")
        monkeypatch.setattr(place, "settings", load(data_dir=place.settings.data_dir))
        yield made


async def test_a_run_stops_at_its_budget_with_what_was_done_and_goes_on_with_more(
    place: Place, model: Model
) -> None:
    asks = [{"model": script({"say": f"answer {n}"})} for n in range(5)]
    request = script({"run": "echo turn >> b.txt"}, *asks)
    args = ("--agent", "mine", "--check", "true", "--base", "main", "--budget", "0.01")
    _, run = await asyncio.to_thread(place.json, "run", f"Spend {request}", *args)

    assert run["state"] == "blocked", run
    assert "of its $0.01" in run["reason"]
    assert f"orchestrate resume {run['run']} --budget +0.01" in run["next_step"]
    assert [each["kind"] for each in run["checkpoints"]] == ["partial"]
    served = model.served
    assert 0 < served.requests < len(asks)
    assert run["usage"]["requests"] == served.requests
    assert run["usage"]["output_tokens"] == served.output_tokens
    assert run["usage"]["input_tokens"] == served.input_tokens - served.cached_tokens
    assert 0.01 <= run["usage"]["usd"] < 0.02

    code, run = await asyncio.to_thread(place.json, "resume", run["run"], "--budget", "+5")
    assert (code, run["state"]) == (0, "awaiting_review"), run
    assert run["usage"]["requests"] == model.served.requests
    assert run["budget"]["usd"] > 5
    assert place.git("show", f"{run['branch']}:b.txt") == "turn\nturn"
    _, out, _ = await asyncio.to_thread(place.orchestrate, "show", run["run"])
    assert "used $0.0" in out
    assert "of $5.01" in out
    _, out, _ = await asyncio.to_thread(place.orchestrate, "logs", run["run"], "--turn", "2")
    assert "Done so far, and in the files already:" in out
    assert "answer 4" in out
    assert KEY not in out


async def test_what_a_turn_used_is_known_after_the_bot_was_killed(
    place: Place, model: Model
) -> None:
    request = script({"model": script({"say": "one"})}, {"run": "echo x > b.txt"}, {"wait": 120})
    args = ("--agent", "mine", "--check", "true", "--base", "main")
    running = await asyncio.to_thread(place.begin, "run", f"Spend {request}", *args)
    try:
        async with asyncio.timeout(PATIENCE):
            await until(lambda: model.served.requests)
        (logs,) = place.settings.data_dir.glob("local/*/runs/*/logs")
        run, store = logs.parent.name, logs.parents[2] / "orchestrate.db"
        async with asyncio.timeout(PATIENCE):
            await until(lambda: '"requests": 1' in kept(store))
    finally:
        end(running)
    code, ended = await asyncio.to_thread(place.json, "cancel", run)

    assert (code, ended["state"]) == (0, "cancelled"), ended
    assert ended["usage"]["requests"] == model.served.requests == 1
    assert ended["usage"]["output_tokens"] == model.served.output_tokens
    assert [each["kind"] for each in ended["checkpoints"]] == ["interrupted"]


async def until(holds: Callable[[], object]) -> None:
    """Look again and again, while other processes do what is waited for."""
    while not holds():  # noqa: ASYNC110  they tell nobody
        await asyncio.sleep(0.1)


def kept(store: Path) -> str:
    """What is kept of the turns under way."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return "".join(row[0] for row in connection.execute("select body from turns"))
