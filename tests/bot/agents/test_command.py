from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.agents.command import SUMMARY_LINES, CommandAgent
from bot.agents.model import Turn
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.model import Sandbox
from bot.sandbox.none import NoSandbox

EVIL = '\'; touch escaped; "$(touch escaped)" `touch escaped` {prompt_file} \\ $HOME\nsecond\n-x'

MakeTurn = Callable[..., Turn]


@pytest.fixture(params=[Bubblewrap(), NoSandbox()], ids=lambda sandbox: str(sandbox.name))
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    chosen: Sandbox = request.param
    return chosen


@pytest.fixture
def make_turn(tmp_path: Path) -> MakeTurn:
    (tmp_path / "it's a workspace").mkdir()

    def make(prompt: str = "mend it", **changes: Any) -> Turn:
        given: dict[str, Any] = {
            "number": 1,
            "prompt": prompt,
            "workspace": tmp_path / "it's a workspace",
            "home": tmp_path / "a home; touch escaped",
            "log": tmp_path / "log",
            "seconds": 20.0,
            "output_bytes": 100_000,
        }
        return Turn(**{**given, **changes})

    return make


def agent(sandbox: Sandbox, command: str, **changes: Any) -> CommandAgent:
    return CommandAgent(name="tool", command=command, sandbox=sandbox, **changes)


@pytest.mark.parametrize(
    "command", ["cat > said", 'cp "$ORCHESTRATE_PROMPT_FILE" said', "cat {prompt_file} > said"]
)
async def test_the_prompt_arrives_as_data(
    sandbox: Sandbox, make_turn: MakeTurn, command: str
) -> None:
    turn = make_turn(EVIL)
    ended = await agent(sandbox, command).turn(turn)
    assert (ended.outcome, ended.code) == ("ended", 0), ended.summary
    assert (turn.workspace / "said").read_text() == EVIL
    assert [path.name for path in turn.workspace.iterdir()] == ["said"]


async def test_the_prompt_file_does_not_outlive_the_turn(
    sandbox: Sandbox, make_turn: MakeTurn
) -> None:
    turn = make_turn()
    await agent(sandbox, "touch ~/session").turn(turn)
    assert [path.name for path in turn.home.iterdir()] == ["session"]


async def test_a_home_full_of_links_does_not_lead_the_prompt_astray(
    sandbox: Sandbox, make_turn: MakeTurn, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("mine")
    turn = make_turn()
    plant = agent(sandbox, f'ln -sf {tmp_path}/victim ~/prompt.md; rm "$ORCHESTRATE_PROMPT_FILE"')
    for _ in range(2):
        assert (await plant.turn(turn)).outcome == "ended"
    assert (tmp_path / "victim").read_text() == "mine"


async def test_a_prompt_that_is_no_clean_text_is_still_delivered(
    sandbox: Sandbox, make_turn: MakeTurn
) -> None:
    turn = make_turn("half a pair: \ud800")
    await agent(sandbox, "cat > said").turn(turn)
    assert (turn.workspace / "said").read_text() == "half a pair: ?"


async def test_the_turn_and_the_given_variables_are_told(
    sandbox: Sandbox, make_turn: MakeTurn
) -> None:
    command = 'echo "$ORCHESTRATE_TURN $MODEL"'
    ended = await agent(sandbox, command, env={"MODEL": "small"}).turn(make_turn(number=7))
    assert ended.summary == "7 small"


async def test_a_failure_keeps_its_code_and_last_words(
    sandbox: Sandbox, make_turn: MakeTurn
) -> None:
    ended = await agent(sandbox, "seq 100; echo; exit 4").turn(make_turn())
    assert (ended.outcome, ended.code) == ("failed", 4)
    assert ended.summary.splitlines() == [str(n) for n in range(101 - SUMMARY_LINES, 101)]


async def test_a_missing_program_is_named_with_its_remedy(
    sandbox: Sandbox, make_turn: MakeTurn
) -> None:
    ended = await agent(sandbox, "no-such-agent --fix").turn(make_turn())
    assert (ended.outcome, ended.code) == ("failed", 127)
    assert "`no-such-agent`" in ended.summary
    assert "ORCHESTRATE_TOOLS" in ended.summary


async def test_limits_and_stop_are_outcomes(sandbox: Sandbox, make_turn: MakeTurn) -> None:
    sleeper = agent(sandbox, "sleep 30")
    assert (await sleeper.turn(make_turn(seconds=0.1))).outcome == "timed_out"
    stop = asyncio.Event()
    stop.set()
    assert (await sleeper.turn(make_turn(), stop=stop)).outcome == "stopped"
    flood = await agent(sandbox, "yes").turn(make_turn())
    assert (flood.outcome, flood.code) == ("too_much_output", None)


async def test_progress_is_heard_line_by_line(sandbox: Sandbox, make_turn: MakeTurn) -> None:
    heard: list[str] = []
    await agent(sandbox, "echo one; echo two").turn(make_turn(), on_output=heard.append)
    assert heard == ["one", "two"]
