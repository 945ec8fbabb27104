"""Claude Code and Codex by their own programs, as these were seen to speak."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.agents.journal import read_events
from bot.agents.model import Turn
from bot.agents.program import ProgramAgent
from bot.agents.session import Speaks
from bot.runs.ports import Told
from bot.sandbox.bubblewrap import Bubblewrap

CLAUDE = """
import json, sys
def say(**message): print(json.dumps(message), flush=True)
def hear(): return json.loads(sys.stdin.readline())
if "--resume" in sys.argv and "gone" in sys.argv:
    say(type="result", subtype="error_during_execution", is_error=True, session_id="gone",
        errors=["No conversation found with session ID: gone"])
    sys.exit(1)
text = hear()["message"]["content"][0]["text"]
say(type="system", subtype="init", session_id="s1")
say(type="user", isReplay=True, message={}, session_id="s1")
given = {"file_path": text, "content": "x"}
use = {"type": "tool_use", "id": "t1", "name": "Write", "input": given}
say(type="assistant", message={"content": [use]}, session_id="s1")
say(type="control_request", request_id="r1",
    request={"subtype": "can_use_tool", "tool_name": "Write", "input": use["input"]})
answer = hear()["response"]["response"]
bad = answer["behavior"] != "allow"
back = {"type": "tool_result", "tool_use_id": "t1", "is_error": bad}
say(type="user", message={"content": [back]})
if text.startswith("wait"):
    told = hear()
    if told["type"] == "control_request":
        say(type="result", subtype="error_during_execution", is_error=True,
            terminal_reason="aborted_tools", usage={})
        sys.exit(1)
    say(type="user", isReplay=True, message={})
    text += " and " + told["message"]["content"][0]["text"]
special = {"login": "Invalid API key · Please run /login", "limit": ""}
words = special.get(text, answer["behavior"] + " " + text)
say(type="assistant", message={"content": [{"type": "text", "text": words}]})
subtype = "error_max_turns" if text == "limit" else "success"
say(type="result", subtype=subtype, is_error=text in ("login", "limit"), result=words,
    usage={"input_tokens": 7, "output_tokens": 2}, total_cost_usd=0.25)
"""

CODEX = """
import json, sys, time
def say(**message): print(json.dumps(message), flush=True)
resumed = "resume" in sys.argv
if "gone" in sys.argv:
    print("Error: thread/resume failed: no rollout found for thread id gone", file=sys.stderr)
    sys.exit(1)
text = sys.stdin.read()
say(type="thread.started", thread_id="th1")
say(type="turn.started")
if text == "hang": time.sleep(60)
if text == "401":
    say(type="error", message="unexpected status 401 Unauthorized")
    say(type="turn.failed", error={"message": "unexpected status 401 Unauthorized"})
    sys.exit(1)
items = [{"text": "look", "completed": True}, {"text": "mend", "completed": False}]
say(type="item.started", item={"id": "i0", "type": "todo_list", "items": items})
for status in ("in_progress", "completed"):
    item = {"id": "i1", "type": "command_execution", "command": "ls", "status": status}
    say(type="item.started", item=item)
say(type="item.completed", item={"id": "i2", "type": "file_change", "status": "completed",
    "changes": [{"path": "a.txt", "kind": "add"}]})
words = ("again " if resumed else "") + text
say(type="item.completed", item={"id": "i3", "type": "agent_message", "text": words})
say(type="turn.completed", usage={"input_tokens": 20 if resumed else 10, "output_tokens": 3})
"""

Make = Callable[..., ProgramAgent]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An agent that is a program in Python."""

    def made(speaks: Speaks, text: str) -> ProgramAgent:
        folder = tmp_path / "tool"
        folder.mkdir(exist_ok=True)
        (folder / "program.py").write_text(text)
        argv = ("/usr/bin/python3", "-I", str(folder / "program.py"))
        return ProgramAgent(
            name=speaks, argv=argv, speaks=speaks, sandbox=Bubblewrap(), readable=(folder,)
        )

    return made


@pytest.fixture
def turn(tmp_path: Path) -> Callable[..., Turn]:
    (tmp_path / "work").mkdir()

    def made(prompt: str, **changes: Any) -> Turn:
        given: dict[str, Any] = {
            "number": 1,
            "prompt": prompt,
            "workspace": tmp_path / "work",
            "home": tmp_path / "home",
            "log": tmp_path / "logs" / "turn-1.log",
            "seconds": 20.0,
            "output_bytes": 1_000_000,
        }
        return Turn(**{**given, **changes})

    return made


@dataclass
class Voices:
    told: asyncio.Queue[Told] = field(default_factory=asyncio.Queue)
    heard: list[str] = field(default_factory=list)

    async def next(self) -> Told:
        return await self.told.get()

    async def ack(self, told: Told) -> None:
        self.heard.append(told.id)


def kinds(turn: Turn) -> list[str]:
    assert turn.log is not None
    return [each["event"] for each in read_events(turn.log)]


async def test_claude_asks_and_is_answered(make: Make, turn: Callable[..., Turn]) -> None:
    given = turn("src/a.py")
    ended = await make("claude", CLAUDE).turn(given)
    assert (ended.outcome, ended.session, ended.summary) == ("ended", "s1", "allow src/a.py"), ended
    assert kinds(given) == ["tool_call", "permission", "tool_call", "message", "usage"]


async def test_claude_is_denied_what_it_may_not(make: Make, turn: Callable[..., Turn]) -> None:
    ended = await make("claude", CLAUDE).turn(turn("/etc/passwd"))
    assert ended.summary == "deny /etc/passwd"


async def test_claude_hears_a_message_at_once(make: Make, turn: Callable[..., Turn]) -> None:
    voices = Voices()
    await voices.told.put(Told("m1", "ada", "be quick"))

    class Later(Voices):
        async def next(self) -> Told:
            await asyncio.sleep(0.5)
            return await voices.told.get()

    later = Later()
    ended = await make("claude", CLAUDE).turn(turn("wait", steer=later))
    assert ended.outcome == "ended"
    assert ended.summary.startswith("allow wait and A message from ada")
    assert later.heard == ["m1"]


async def test_claude_is_interrupted(make: Make, turn: Callable[..., Turn]) -> None:
    stop, heard = asyncio.Event(), list[str]()
    agent = make("claude", CLAUDE)
    working = asyncio.create_task(agent.turn(turn("wait"), stop=stop, on_output=heard.append))
    async with asyncio.timeout(10):
        while not any("allowed" in each for each in heard):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    stop.set()
    ended = await working
    assert (ended.outcome, ended.session) == ("stopped", "s1")


@pytest.mark.parametrize(("prompt", "outcome"), [("login", "login"), ("limit", "failed")])
async def test_claude_fails(
    make: Make, turn: Callable[..., Turn], prompt: str, outcome: str
) -> None:
    ended = await make("claude", CLAUDE).turn(turn(prompt))
    assert ended.outcome == outcome
    assert ended.detail


@pytest.mark.parametrize(
    ("speaks", "text", "name"), [("claude", CLAUDE, "s1"), ("codex", CODEX, "th1")]
)
async def test_a_session_that_is_gone_is_a_new_one(
    make: Make, turn: Callable[..., Turn], speaks: Speaks, text: str, name: str
) -> None:
    ended = await make(speaks, text).turn(turn("x", session="gone"))
    assert (ended.outcome, ended.session) == ("ended", name), ended


async def test_codex_is_heard(make: Make, turn: Callable[..., Turn]) -> None:
    given = turn("do it")
    ended = await make("codex", CODEX).turn(given)
    assert (ended.outcome, ended.session, ended.summary) == ("ended", "th1", "do it"), ended
    assert kinds(given) == [
        "plan", "tool_call", "tool_call", "tool_call", "diff", "message", "usage",
    ]  # fmt: skip


async def test_codex_goes_on_with_what_it_is_told(make: Make, turn: Callable[..., Turn]) -> None:
    voices = Voices()
    await voices.told.put(Told("m1", "ada", "more"))
    given = turn("first", steer=voices)
    ended = await make("codex", CODEX).turn(given)
    assert ended.summary.startswith("again A message from ada")
    assert voices.heard == ["m1"]
    assert given.log is not None
    used = [each["input"] for each in read_events(given.log) if each["event"] == "usage"]
    assert used == [10, 10]


async def test_codex_fails_and_is_ended(make: Make, turn: Callable[..., Turn]) -> None:
    failed = await make("codex", CODEX).turn(turn("401"))
    assert (failed.outcome, failed.detail) == ("failed", "unexpected status 401 Unauthorized")
    stop = asyncio.Event()
    working = asyncio.create_task(make("codex", CODEX).turn(turn("hang"), stop=stop))
    await asyncio.sleep(1)
    stop.set()
    ended = await working
    assert (ended.outcome, ended.session) == ("stopped", "th1")


JUNK = [
    '{"type": "assistant", "message": {"content": ["x", 7, null]}}',
    '{"type": "assistant", "message": []}',
    '{"type": "control_request", "request": [1]}',
    '{"type": "control_request", "request": {"subtype": "can_use_tool", "input": "x"}}',
    '{"type": "result", "usage": {"input_tokens": "many"}}',
    '{"type": "item.completed", "item": ["x"]}',
    '{"type": "item.completed", "item": {"type": "todo_list", "items": 5}}',
    '{"type": "turn.completed", "usage": 9}',
    '{"type": {"a": 1}}',
    '{"type": "error", "message": {"a": "\\ud800"}}',
    "[" * 50_000,
    "null",
]


@pytest.mark.parametrize(("speaks", "text"), [("claude", CLAUDE), ("codex", CODEX)])
async def test_messages_that_make_no_sense_break_nothing(
    make: Make, turn: Callable[..., Turn], speaks: Speaks, text: str
) -> None:
    junk = f"import sys\nfor line in {JUNK!r}:\n    print(line)\nsys.stdout.flush()\n"
    ended = await make(speaks, junk + text).turn(turn("fine.txt"))
    assert ended.outcome == "ended", ended
    assert ended.summary.endswith("fine.txt")
    endless = 'import time\nwhile True:\n    print(\'{"type": "result", "usage": 1}\')\n'
    assert (await make(speaks, endless).turn(turn("x"))).outcome in ("garbled", "too_much_output")


async def test_a_name_that_is_none_is_not_kept(make: Make, turn: Callable[..., Turn]) -> None:
    ended = await make("codex", CODEX.replace('"th1"', '"--evil\\n"')).turn(turn("x"))
    assert (ended.outcome, ended.session) == ("ended", "")
