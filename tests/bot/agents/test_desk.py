"""What a run asks of agents, with a gateway and a model: which one, its key, its budget."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bot.agents.desk import AgentDesk, Choices
from bot.agents.registry import Registry
from bot.errors import UserError
from bot.runs.ports import Allowed, Place, Sealed, TurnOrder, TurnReport
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.gateway import Gateway, Prices
from bot.sandbox.model import Sandbox
from bot.sandbox.none import NoSandbox
from policies.config import Agent, Config
from tests.support.model import Model, script, serve_model

AGENT = Path(__file__).parents[2] / "support" / "acp_agent.py"
SECRET = "sk-real-0123456789abcdefghijklmnop"

MakeDesk = Callable[..., AgentDesk]
Give = Callable[..., Any]


@pytest.fixture(params=[Bubblewrap(), NoSandbox()], ids=lambda sandbox: str(sandbox.name))
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    chosen: Sandbox = request.param
    return chosen


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    async with serve_model() as served:
        yield served


@pytest.fixture
def make_desk(sandbox: Sandbox, model: Model, tmp_path: Path) -> MakeDesk:
    """A desk with the scripted agent under the name `mine`, which may use Anthropic's models."""
    tool = tmp_path / "tool"
    tool.mkdir()
    shutil.copy(AGENT, tool / "agent.py")
    command = f"/usr/bin/python3 -I {tool}/agent.py"
    commands = {"mine": Agent(command=command, speaks="acp"), "other": Agent(command="true")}

    def make(
        environ: dict[str, str] | None = None, prices: Prices | None = None, **changes: Any
    ) -> AgentDesk:
        keys = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": SECRET}
        given: dict[str, Any] = {"commands": commands, "makers": {"mine": ("anthropic",)}}
        return AgentDesk(
            sandbox,
            registry=Registry(sandbox, tools=(tool,)),
            choices=Choices(**{**given, **changes}),
            output_bytes=1_000_000,
            gateway=Gateway(keys if environ is None else environ, prices or Prices.load()),
            own="command",
        )

    return make


@pytest.fixture
def give(tmp_path: Path) -> Give:
    """Gives a desk a turn, as a run does."""

    async def do(desk: AgentDesk, *steps: Any, **changes: Any) -> TurnReport:
        for name in ("work", "home", "logs"):
            (tmp_path / name).mkdir(exist_ok=True)
        place = Place(tmp_path / "work", tmp_path / "home", tmp_path / "logs")
        given: dict[str, Any] = {
            "number": 1,
            "agent": "mine",
            "prompt": script(*steps),
            "place": place,
            "seconds": 30.0,
            "log": place.logs / "turn-1.log",
            "config": Config(),
        }
        order = TurnOrder(**{**given, **changes})
        return await desk.turn(order, stop=asyncio.Event(), output=lambda _: None)

    return do


def asks(text: str) -> dict[str, Any]:
    """A step with which the agent asks the model."""
    return {"model": script({"say": text})}


async def test_what_a_turn_used_is_what_the_model_served(
    make_desk: MakeDesk, give: Give, model: Model, tmp_path: Path
) -> None:
    seen: list[Any] = []

    class Watching:
        def session(self, session: str) -> None:
            seen.append(session)

        def usage(self, usage: Any) -> None:
            seen.append(usage)

    steps = (asks("one"), asks("two"), {"run": "echo key: $ANTHROPIC_API_KEY"})
    report = await give(make_desk(), *steps, progress=Watching())
    assert (report.outcome, report.reason) == ("ended", "")
    served = model.served
    assert report.usage["requests"] == served.requests == 2
    assert report.usage["input_tokens"] == served.input_tokens - served.cached_tokens
    assert report.usage["output_tokens"] == served.output_tokens
    assert report.usage["cached_tokens"] == served.cached_tokens
    assert report.usage["usd"] > 0
    assert {each.key for each in model.asked} == {SECRET}
    assert seen[0] == report.session
    assert seen[-1] == report.usage
    kept = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    assert "key: sk-orchestrate-" in kept
    assert SECRET not in kept


async def test_its_session_goes_on_and_another_agents_does_not(
    make_desk: MakeDesk, give: Give, tmp_path: Path
) -> None:
    first = await give(make_desk(), {"say": "x"})
    assert first.session.startswith("acp:")
    again = await give(make_desk(), {"say": "x"}, session=first.session)
    assert again.session == first.session
    other = await give(make_desk(), {"say": "x"}, session="cli:" + first.session[4:])
    assert other.session not in ("", first.session)


async def test_the_allowance_ends_a_turn(make_desk: MakeDesk, give: Give, model: Model) -> None:
    steps = (asks("one"), asks("two"), {"wait": 30})
    report = await give(make_desk(), *steps, allowance_tokens=1_000)
    assert report.outcome == "budget"
    assert report.reason
    assert model.served.requests == 1


async def test_what_people_give_a_turn_lets_it_go_on(
    make_desk: MakeDesk, give: Give, model: Model
) -> None:
    given = asyncio.Event()

    class Once(Sealed):
        """Gives more as soon as the first request has used it all up."""

        async def changed(self) -> Allowed:
            if given.is_set():
                return await super().changed()
            while not model.served.requests:  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.01)
            given.set()
            return Allowed(None, 1_000_000)

    steps = (asks("one"), {"wait": 1}, asks("two"))
    report = await give(make_desk(), *steps, allowance_tokens=1_000, purse=Once())
    assert (report.outcome, report.usage["requests"]) == ("ended", 2)


async def test_a_model_without_a_price_is_no_want_of_money(
    make_desk: MakeDesk, give: Give, model: Model
) -> None:
    desk = make_desk(prices=Prices(by_name={}))
    report = await give(desk, asks("one"), {"wait": 30}, allowance_usd=5.0)
    assert report.outcome == "failed"
    assert "No price is known here for the model claude-sonnet-4-5" in report.reason
    assert "ORCHESTRATE_PRICES" in report.reason
    assert model.served.requests == 0


async def test_a_key_that_is_refused_says_which(make_desk: MakeDesk, give: Give) -> None:
    refused = {"model": script({"status": 401})}
    report = await give(make_desk(), refused, {"wait": 30})
    assert report.outcome == "failed"
    assert "was not let in by its model's server" in report.reason
    assert "ANTHROPIC_API_KEY" in report.reason


async def test_a_host_that_was_refused_is_told(make_desk: MakeDesk, give: Give) -> None:
    command = (
        "python3 -c 'import os, urllib.request as u; u.urlopen(\"http://example.org\", timeout=5)'"
    )
    report = await give(make_desk(), {"run": command})
    assert [(each["host"], each["port"]) for each in report.blocked] == [("example.org", 80)]


async def test_a_command_without_models_gets_none(
    make_desk: MakeDesk, give: Give, model: Model, sandbox: Sandbox
) -> None:
    config = Config.model_validate({"agents": {"plain": {"command": "env | sort; false"}}})
    report = await give(make_desk(), agent="plain", config=config)
    assert report.outcome == "failed"
    assert "ANTHROPIC" not in report.summary
    assert report.usage == {}


async def test_the_persons_own_command_may_use_every_key(
    make_desk: MakeDesk, give: Give, model: Model
) -> None:
    config = Config.model_validate({"agents": {"command": {"command": "env | sort; false"}}})
    report = await give(make_desk(), agent="command", config=config)
    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:" in report.summary
    assert "ANTHROPIC_API_KEY=sk-orchestrate-" in report.summary


def test_the_one_that_is_named_works(make_desk: MakeDesk) -> None:
    config = Config.model_validate({"agents": {"third": {"command": "true"}}, "agent": "third"})
    assert make_desk().choose("", config) == "third"
    assert make_desk().choose("mine", config) == "mine"
    assert make_desk(default="other").choose("", Config()) == "other"
    with pytest.raises(UserError, match="Say which agent works"):
        make_desk().choose("", Config())
    with pytest.raises(UserError, match="There is no agent `nobody` here"):
        make_desk().choose("nobody", config)


def test_an_agent_without_a_key_says_which_variable_to_set(
    make_desk: MakeDesk, tmp_path: Path
) -> None:
    program = tmp_path / "tool" / "codex"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match=r"`codex` has no key .* set OPENAI_API_KEY"):
        make_desk().choose("codex", Config())
    assert make_desk({"OPENAI_API_KEY": SECRET}).choose("codex-cli", Config()) == "codex-cli"
