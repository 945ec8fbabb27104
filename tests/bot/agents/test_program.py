"""Turns with an agent that speaks ACP, in each sandbox: what it does, and all that can go wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.agents.journal import RAW_SUFFIX, beside, read_events
from bot.agents.model import Turn, TurnEnded
from bot.agents.program import GRACE_SECONDS, ProgramAgent
from bot.runs.ports import Told
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.gateway import Failure
from bot.sandbox.model import Sandbox
from bot.sandbox.none import NoSandbox
from bot.usage import Usage
from tests.support.model import script

AGENT = Path(__file__).parents[2] / "support" / "acp_agent.py"
PYTHON = "/usr/bin/python3"

MakeTurn = Callable[..., Turn]


@pytest.fixture(params=[Bubblewrap(), NoSandbox()], ids=lambda sandbox: str(sandbox.name))
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    chosen: Sandbox = request.param
    return chosen


@pytest.fixture
def agent(sandbox: Sandbox, tmp_path: Path) -> Callable[..., ProgramAgent]:
    """The scripted agent, in a folder of its own."""
    folder = tmp_path / "tool"
    folder.mkdir()
    shutil.copy(AGENT, folder / "agent.py")

    def make(*flags: str, **changes: Any) -> ProgramAgent:
        given: dict[str, Any] = {
            "name": "scripted",
            "argv": (PYTHON, "-I", str(folder / "agent.py"), *flags),
            "speaks": "acp",
            "sandbox": sandbox,
            "readable": (folder,),
        }
        return ProgramAgent(**{**given, **changes})

    return make


@pytest.fixture
def make_turn(tmp_path: Path) -> MakeTurn:
    (tmp_path / "work").mkdir()

    def make(*steps: dict[str, Any], **changes: Any) -> Turn:
        given: dict[str, Any] = {
            "number": 1,
            "prompt": f"Please. {script(*steps)}",
            "workspace": tmp_path / "work",
            "home": tmp_path / "home",
            "log": tmp_path / "logs" / "turn-1.log",
            "seconds": 20.0,
            "output_bytes": 1_000_000,
        }
        return Turn(**{**given, **changes})

    return make


@dataclass
class Gate:
    """What the gateway would see."""

    usage: Usage = field(default_factory=Usage)
    failures: tuple[Failure, ...] = ()
    spent: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Voices:
    """People who speak when they are let."""

    told: asyncio.Queue[Told] = field(default_factory=asyncio.Queue)
    heard: list[str] = field(default_factory=list)

    async def next(self) -> Told:
        return await self.told.get()

    async def ack(self, told: Told) -> None:
        self.heard.append(told.id)


def events(turn: Turn, kind: str) -> list[dict[str, Any]]:
    assert turn.log is not None
    return [each for each in read_events(turn.log) if each["event"] == kind]


def running(word: str) -> list[bytes]:
    found = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    return [each for each in found if word.encode() in each]


async def until_said(heard: list[str], word: str) -> None:
    async with asyncio.timeout(15):
        while not any(word in each for each in heard):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_turn_is_told_as_it_happens(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    turn = make_turn(
        {"plan": ["look", "mend"]},
        {"write": "src/a.txt", "text": "new\n"},
        {"run": "cat src/a.txt"},
        {"say": "Mended it."},
    )
    heard: list[str] = []
    ended = await agent().turn(turn, on_output=heard.append)
    assert ended.outcome == "ended", ended
    assert ended.session
    assert ended.summary.splitlines()[-1].endswith("Mended it.")
    assert (turn.workspace / "src" / "a.txt").read_text() == "new\n"
    assert heard[0] == "plan: 0 of 2 done; look"
    assert "edit: src/a.txt +1 -0" in heard
    assert [each["status"] for each in events(turn, "tool_call")] == ["pending", "done"] * 2
    assert events(turn, "usage")[0]["input"] == 12
    raw = beside(turn.log, RAW_SUFFIX).read_text().splitlines()  # type: ignore[arg-type]
    assert json.loads(json.loads(raw[0])["to"])["method"] == "initialize"


async def test_what_it_may_not_is_denied_and_noted_and_the_turn_goes_on(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    turn = make_turn(
        {"write": "/etc/orchestrate-was-here", "text": "x"},
        {"write": ".github/workflows/ci.yml", "text": "x"},
        {"write": "fine.txt", "text": "x"},
    )
    assert (await agent().turn(turn)).outcome == "ended"
    assert [each["allowed"] for each in events(turn, "permission")] == [False, False, True]
    assert [path.name for path in turn.workspace.iterdir()] == ["fine.txt"]


async def test_a_session_goes_on_and_its_past_is_no_news(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    names: list[str] = []
    first = await agent().turn(make_turn({"say": "first"}, on_session=names.append))
    turn = make_turn({"say": "second"}, session=first.session)
    heard: list[str] = []
    second = await agent().turn(turn, on_output=heard.append)
    assert names == [first.session]
    assert (second.outcome, second.session) == ("ended", first.session)
    assert not [each for each in heard if "past" in each]
    assert second.summary == "second"


async def test_a_session_that_is_gone_is_a_new_one(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    ended = await agent("--no-load").turn(make_turn({"say": "anew"}, session="gone"))
    assert ended.outcome == "ended"
    assert ended.session not in ("", "gone")


async def test_a_message_reaches_it_with_its_next_prompt_and_is_acknowledged(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    voices, heard = Voices(), list[str]()
    turn = make_turn({"say": "begun\n"}, {"run": "true"}, {"wait": 0.5}, steer=voices)
    working = asyncio.create_task(agent().turn(turn, on_output=heard.append))
    await until_said(heard, "begun")
    await voices.told.put(Told("m1", "ada", script({"write": "told.txt", "text": "yes"})))
    ended = await working
    assert ended.outcome == "ended"
    assert voices.heard == ["m1"]
    assert (turn.workspace / "told.txt").read_text() == "yes"


async def test_who_stops_it_waits_for_a_moment_and_no_longer(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    loop = asyncio.get_running_loop()
    for step, most in (({"wait": 30}, GRACE_SECONDS), ({"hang": 30}, GRACE_SECONDS + 3)):
        stop, heard = asyncio.Event(), list[str]()
        turn = make_turn({"say": "begun\n"}, {"run": "true"}, step)
        working = asyncio.create_task(agent().turn(turn, stop=stop, on_output=heard.append))
        await until_said(heard, "begun")
        begun = loop.time()
        stop.set()
        ended = await working
        assert ended.outcome == "stopped"
        assert ended.session
        assert loop.time() - begun < most


@pytest.mark.parametrize(
    ("flags", "steps", "changes", "outcome", "detail"),
    [
        (["--mute"], [], {"silent": 0.5}, "silent", ""),
        ([], [{"hang": 30}], {"silent": 0.5}, "silent", ""),
        ([], [{"loop": 100}, {"wait": 30}], {}, "looped", "Read notes.txt"),
        ([], [{"die": 3}], {}, "died", "something broke"),
        ([], [{"garbage": 500}, {"wait": 30}], {}, "garbled", "no message"),
        (["--login"], [], {}, "login", "Authentication required"),
        ([], [{"wait": 0}], {}, "nothing", ""),
        ([], [{"flood": 100_000}], {}, "too_much_output", ""),
    ],
)
async def test_whatever_goes_wrong_has_an_outcome_in_time(
    agent: Callable[..., ProgramAgent],
    make_turn: MakeTurn,
    flags: list[str],
    steps: list[dict[str, Any]],
    changes: dict[str, Any],
    outcome: str,
    detail: str,
) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    ended = await agent(*flags, **changes).turn(make_turn(*steps))
    assert ended.outcome == outcome, ended
    assert detail in ended.detail
    assert loop.time() - begun < 15


async def test_its_time_ends(agent: Callable[..., ProgramAgent], make_turn: MakeTurn) -> None:
    assert (await agent().turn(make_turn({"hang": 30}, seconds=1.0))).outcome == "timed_out"


async def test_a_program_that_is_not_there_or_is_no_agent_is_told(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    gone = await agent(argv=("no-such-agent",)).turn(make_turn())
    assert (gone.outcome, gone.code) == ("died", 127)
    cat = await agent(argv=("/bin/cat",), silent=0.5).turn(make_turn())
    assert cat.outcome in ("garbled", "silent", "died")


async def test_the_gateway_ends_a_turn(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    async def ended_by(gate: Gate) -> TurnEnded:
        return await agent().turn(make_turn({"say": "x\n"}, {"wait": 30}, watched=gate))

    spent = Gate()
    spent.spent.set()
    assert (await ended_by(spent)).outcome == "budget"
    refused = await ended_by(Gate(failures=(Failure("anthropic", 401, "Set a key.", 0.0),)))
    assert (refused.outcome, refused.detail) == ("refused", "Set a key.")


async def test_files_are_written_in_its_home_and_never_through_a_link_to_elsewhere(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn, sandbox: Sandbox, tmp_path: Path
) -> None:
    turn = make_turn({"run": 'cat ~/.tool/config "$HOME/plain"'})
    files = {".tool/config": "a 'quoted' $HOME\n", "plain": "text"}
    heard: list[str] = []
    ended = await agent(files=files).turn(turn, on_output=heard.append)
    assert ended.outcome == "ended", ended
    assert "a 'quoted' $HOME" in heard
    assert (turn.home / ".tool" / "config").read_text() == files[".tool/config"]
    if sandbox.name == "none":
        return
    (tmp_path / "victim").write_text("mine")
    (turn.home / "plain").unlink()
    (turn.home / "plain").symlink_to(tmp_path / "victim")
    await agent(files=files).turn(turn)
    assert (tmp_path / "victim").read_text() == "mine"


async def test_half_a_character_is_replaced(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    ended = await agent().turn(make_turn({"say": "half \ud800 and whole \N{SNOWMAN}\U0001f600"}))
    assert ended.summary == "half ? and whole \N{SNOWMAN}\U0001f600"


async def test_no_process_outlives_a_turn(
    agent: Callable[..., ProgramAgent], make_turn: MakeTurn
) -> None:
    mark = "86399.25"
    command = f"setsid sleep {mark} >/dev/null 2>&1 & sleep {mark} >/dev/null 2>&1 &"
    turn = make_turn({"run": command}, {"say": "x"})
    assert (await agent().turn(turn)).outcome == "ended"
    assert not running(mark)
