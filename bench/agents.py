"""What containing agents costs: `python -m bench.agents [--json]`.

All with the scripted agent of the tests, which needs nothing but Python and speaks the Agent Client
Protocol, in the sandbox that this machine's settings choose:

- a job that does nothing, beside the same program started bare, in turn;
- an event of an agent, from its line to the record, as the difference of a turn with many events
  and one with none;
- a comment on a warm repository, from its POST at the hub until the agent has the prompt;
- the bot's own memory (private and proportional, neither the agents' nor the model's) with many
  agents at once, each with a visit at the gateway and a request under way through it: the most
  that it takes from their start until all of them wait.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.measure import Target, at_most, conclude
from bot.agents.model import Turn, TurnEnded
from bot.agents.program import ProgramAgent
from bot.sandbox.gateway import Allowance, Gateway, Pass, Prices
from bot.sandbox.model import Job, Sandbox
from bot.sandbox.probe import choose
from bot.serve import configure_logging
from bot.settings import load
from tests.support.model import Step, script
from tests.support.world import Repo, make_world

AGENT = Path(__file__).resolve().parent.parent / "tests" / "support" / "acp_agent.py"
PYTHON = "/usr/bin/python3"

ROUNDS = 21
"""Of a job and of the bare program; odd, so that the median is one of them."""
EVENTS = 2_000
COMMENTS = 15
AGENTS = 50
KEY = "sk-bench-0123456789"
HANG_SECONDS = 3.0
"""How long the model lets each agent wait for one answer, so that many wait at once."""
SAMPLE_SECONDS = 0.1
PATIENCE_SECONDS = 240.0
"""For all agents to start: each needs a tenth of a second of a processor, the last one waits."""

START_OVER_BARE_MS = 30.0
EVENT_MS = 2.0
COMMENT_MS = 300.0
AGENT_MB = 5.0

_AT = re.compile(r"at (\d+\.\d+)")
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


class Place:
    """A folder with a workspace and a home for each job, and a copy of the agent."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.tool = folder / "tool"
        self.tool.mkdir()
        shutil.copy(AGENT, self.tool / "agent.py")
        folder.chmod(0o755)

    def job(self, *argv: str) -> Job:
        """A job that writes nothing."""
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        home = self.folder / "home"
        return Job(argv=argv, workspace=work, home=home, seconds=60, output_bytes=100_000)

    def turn(self, name: str, *steps: dict[str, Any]) -> Turn:
        """A turn in a workspace of its own."""
        work = self.folder / f"work-{name}"
        work.mkdir(exist_ok=True)
        return Turn(
            number=1,
            prompt=script(*steps),
            workspace=work,
            home=self.folder / f"home-{name}",
            log=self.folder / "logs" / f"{name}.log",
            seconds=2 * PATIENCE_SECONDS,
            output_bytes=100_000_000,
        )

    def agent(self) -> ProgramAgent:
        """The scripted agent."""
        argv = (PYTHON, "-I", "-S", str(self.tool / "agent.py"))
        return ProgramAgent(
            name="scripted",
            argv=argv,
            speaks="acp",
            sandbox=self.sandbox,
            readable=(self.tool,),
        )


async def _starts(place: Place, rounds: int) -> tuple[float, float]:
    """The medians of a job that does nothing, and of the same program started bare."""
    contained, bare = [], []
    for number in range(rounds + 1):
        begun = time.perf_counter()
        ended = await place.sandbox.run(place.job("/bin/true"))
        middle = time.perf_counter()
        await asyncio.to_thread(subprocess.run, ["/bin/true"], check=True)
        assert ended.code == 0, ended
        if number:  # the first warms up
            contained.append((middle - begun) * 1e3)
            bare.append((time.perf_counter() - middle) * 1e3)
    return statistics.median(contained), statistics.median(bare)


async def _event(place: Place, events: int) -> float:
    """Milliseconds of one event, by turns with many and with none."""
    spent: dict[str, list[float]] = {}
    for name, steps in (("none", ()), ("many", ({"events": events},))):
        for number in range(3):
            turn = place.turn(f"{name}-{number}", *steps, {"say": "Done."})
            begun = time.perf_counter()
            ended = await place.agent().turn(turn)
            assert ended.outcome == "ended", ended
            spent.setdefault(name, []).append(time.perf_counter() - begun)
    many, none = statistics.median(spent["many"]), statistics.median(spent["none"])
    return (many - none) * 1e3 / events


async def _comments(folder: Path, comments: int) -> float:
    """Milliseconds from a comment to the agent's prompt, at the median, on a warm base."""
    command = f"exec {PYTHON} -I -S {AGENT}"
    tools = ":".join(map(str, (*load().tools, AGENT.parent)))
    own = {"scripted": {"command": command, "speaks": "acp", "models": ["anthropic"]}}
    # So that each turn has its visit at the gateway, though nobody asks this model for anything.
    os.environ |= {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": KEY}
    # As often as a server draws, not as a test does: what people see need not come first.
    drawn = load().gather_seconds
    async with make_world(
        folder, agents=own, tools=tools, agent="scripted", gather_seconds=drawn
    ) as world:
        repo = await world.repository({"checks": []})
        waited = [await _comment(repo) for _ in range(comments + 1)]
    return statistics.median(waited[1:]) * 1e3


async def _comment(repo: Repo) -> float:
    writer = repo.person("writer")
    issue = await writer.issue("Do it")
    await repo.world.settled()
    begun = time.time()
    words = script({"time": ""}, {"write": "made.txt", "text": f"{issue}\n"})
    await writer.comment(issue, f"/orchestrate do it {words} --agent scripted")
    run = await repo.until(issue, lambda run: not run.active)
    place = repo.world.server.bot.ports.git.place(run)
    found = _AT.search((place.logs / "turn-1.log").read_text())
    assert found, run.reason
    return float(found[1]) - begun


async def _memory(place: Place, agents: int) -> float:
    """Megabytes of the bot for each of many agents, at the most, while they ask a model."""
    with _model() as url:
        keys = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY}
        gateway = Gateway(keys, Prices.load())
        async with _visiting(place, gateway, "warm", asyncio.Event()) as ended:
            await ended
        gc.collect()
        before = _pss()
        stop, begun = asyncio.Event(), asyncio.Queue[str]()
        async with contextlib.AsyncExitStack() as stack:
            working = [
                await stack.enter_async_context(
                    _visiting(place, gateway, f"m{number}", stop, begun=begun, wait=True)
                )
                for number in range(agents)
            ]
            most = await _most(begun, agents)
            stop.set()
            for told in await asyncio.gather(*working):
                assert told.outcome == "stopped", told
    return (most - before) / agents


@contextlib.contextmanager
def _model() -> Iterator[str]:
    """Run a model in a process of its own, whose memory is not the bot's; its address."""
    command = (sys.executable, "-m", "tests.support.model")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        try:
            yield serving.stdout.readline().strip()
        finally:
            serving.kill()


@contextlib.asynccontextmanager
async def _visiting(
    place: Place,
    gateway: Gateway,
    name: str,
    stop: asyncio.Event,
    *,
    begun: asyncio.Queue[str] | None = None,
    wait: bool = False,
) -> AsyncIterator[asyncio.Task[TurnEnded]]:
    """Give an agent a turn in which it asks the model, with a visit at the gateway."""
    asks: list[Step] = [{"say": "Yes."}, {"hang": HANG_SECONDS if wait else 0.0, "say": name}]
    steps: list[Step] = [{"model": script(each)} for each in asks]
    steps += [{"think": "-"}, {"say": "Here.\n"}, {"think": "-"}]
    steps += [{"wait": PATIENCE_SECONDS}] if wait else []
    passed = Pass(makers=frozenset({"anthropic"}), allowance=Allowance(usd=5.0))
    async with gateway.open(passed) as visit:
        turn = replace(
            place.turn(name, *steps),
            env=visit.env,
            doors=visit.doors,
            secrets=visit.secrets,
            watched=visit,
        )
        hear = _hearing(begun) if begun is not None else None
        working = asyncio.create_task(place.agent().turn(turn, stop=stop, on_output=hear))
        yield working
        assert visit.usage.requests == len(asks), visit.failures


async def _most(begun: asyncio.Queue[str], agents: int) -> float:
    """The most memory that is taken until all agents have begun to wait."""
    most, there = 0.0, 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while there < agents:
            await asyncio.sleep(SAMPLE_SECONDS)
            most = max(most, _pss())
            there += begun.qsize()
            while not begun.empty():
                begun.get_nowait()
    return max(most, _pss())


def _hearing(begun: asyncio.Queue[str]) -> Callable[[str], None]:
    def hear(line: str) -> None:
        if line == "Here.":
            begun.put_nowait(line)

    return hear


def _pss() -> float:
    found = _PSS.search(Path("/proc/self/smaps_rollup").read_text())
    assert found, "the kernel tells of memory"
    return int(found[1]) / 1024


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and return the object that is printed."""
    settings = load()
    sandbox = await choose(settings.sandbox)
    with tempfile.TemporaryDirectory(prefix="bench-agents-") as made:
        folder = Path(made)
        place = Place(folder, sandbox)
        contained, bare = await _starts(place, given.rounds)
        memory = await _memory(place, given.agents)  # before much else has come and gone
        event = await _event(place, given.events)
        comment = await _comments(folder / "world", given.comments)
    found = {
        "sandbox_start_ms": contained,
        "sandbox_over_bare_ms": contained - bare,
        "event_overhead_ms": event,
        "comment_to_prompt_ms_p50": comment,
        "bot_mb_per_agent": memory,
    }
    return {**{name: round(value, 3) for name, value in found.items()}, "agents": given.agents}


def _targets(found: dict[str, Any]) -> list[Target]:
    limits = {
        "sandbox_over_bare_ms": START_OVER_BARE_MS,
        "event_overhead_ms": EVENT_MS,
        "comment_to_prompt_ms_p50": COMMENT_MS,
        "bot_mb_per_agent": AGENT_MB,
    }
    return [at_most(name, limit, found[name]) for name, limit in limits.items()]


def main() -> int:
    """Measure, and print a line each or, with `--json`, one object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, last")
    parser.add_argument("--agents", type=int, default=AGENTS, help="how many at once")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how many jobs that do nothing")
    parser.add_argument("--events", type=int, default=EVENTS, help="of a turn with many")
    parser.add_argument("--comments", type=int, default=COMMENTS, help="that start a run")
    given = parser.parse_args()
    configure_logging(quiet=True)
    found = asyncio.run(measure(given))
    return conclude(found, _targets(found), as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
