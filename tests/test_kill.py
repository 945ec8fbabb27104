"""Kill -9 at any instant of a run: on return nothing is lost and nothing doubled.

The test finds the instants itself: it lets a whole run happen once and notes where it passes by.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.git import ledger
from bot.git.repository import Mirror
from bot.git.verify import verify
from bot.hub import Credentials, Hub, seed, serve
from bot.hub.seed import new_key
from tests.support.killable import Life, Nursery, Order, nursery
from tests.support.world import yaml_of

PATIENCE_SECONDS = 90.0
"""How long a run may take, killed once: many times what it takes on a loaded machine."""

DEATH_SECONDS = 2.0
"""How long what a killed bot had started in a sandbox may take to be gone."""

RECOVERY_MINUTES = 0.01
"""How often the bot looks for deliveries that failed while it was dead."""

NEVER_MINUTES = 60.0
"""The same in a bot's first life, which has lost none: so its instants are the run's own."""

LOOK_SECONDS = 0.1
"""How often people look at the hub."""

GATHER_SECONDS = 0.05
"""How long changes are gathered before they are drawn: so little that every state is drawn."""

LANES = 1
"""Runs at a time in one process of the tests, of which there are several."""

SLICES = 4
"""Parts of the whole, so that several workers share it."""

LONG = os.environ.get("ORCHESTRATE_TEST_LONG") == "all"
"""Whether what a run does many times, such as a drawing, is killed three times and not once."""

STEPS = ("Segments.", "Store.append", "enqueued")
"""What is killed at each time in any case: the boundaries of steps."""

RANDOM_KILLS = 12 if LONG else 6

TURN_SECONDS = 0.5
"""How long the agent works where the kills come at random."""

RUN_SECONDS = 3.5
"""How long that run takes from the bot's start: the kills fall within."""

TLS = ssl.create_default_context()
"""Made once: it reads every certificate of the machine, which takes 20 ms."""

BOT = "orchestrate[bot]"
REPO = "acme/widgets"


@dataclass(slots=True)
class Story:
    """One run on a hub of its own, with a bot that may be killed."""

    folder: Path
    hub: Hub
    credentials: Credentials
    nursery: Nursery
    port: int
    kill_at: str = ""
    lives: int = 0
    cut_short: int = 0
    life: Life | None = None
    people: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(verify=TLS))

    @property
    def marker(self) -> str:
        """What the agent writes, and what tells its processes from all others."""
        return f"marker-{self.port}-{self.folder.name}"

    @property
    def data(self) -> Path:
        """The bot's own folder."""
        return self.folder / "bot"

    @property
    def trace(self) -> list[str]:
        """The instants of the first life."""
        return (self.folder / "trace-1").read_text().splitlines()

    async def begin_life(self) -> Life:
        """Start the bot; only its first life ends at an instant."""
        self.lives += 1
        settings = {
            "data_dir": str(self.data),
            "github_api_url": self.hub.api_url,
            "app_id": str(self.credentials.app_id),
            "private_key": self.credentials.private_key,
            "webhook_secret": self.credentials.webhook_secret,
            "write_spacing_seconds": 0.0,
            "gather_seconds": GATHER_SECONDS,
            "reconcile_minutes": RECOVERY_MINUTES if self.lives > 1 else NEVER_MINUTES,
        }
        order = Order(
            settings,
            self.port,
            str(self.folder / f"trace-{self.lives}"),
            str(self.folder / "log"),
            self.kill_at if self.lives == 1 else "",
        )
        self.life = await self.nursery.bear(order)
        return self.life

    async def keep_alive(self) -> None:
        """Start the bot again whenever it was killed."""
        while True:
            assert self.life
            await asyncio.shield(self.life.ended)
            await self.nothing_works()
            self.cut_short += turn_is_open(self.data)
            await self.begin_life()

    async def nothing_works(self) -> None:
        """Nothing that agents or checks had started outlives a killed bot."""
        async with asyncio.timeout(DEATH_SECONDS):
            while processes_with(self.marker):  # noqa: ASYNC110  the kernel has no event
                await asyncio.sleep(0.01)

    async def ready(self) -> None:
        """Wait until the bot takes webhooks, or is dead."""
        assert self.life
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.life.ended.done():
                with contextlib.suppress(httpx.HTTPError):
                    answer = await self.people.get(f"http://127.0.0.1:{self.port}/readyz")
                    if answer.status_code == 200:
                        return
                await asyncio.sleep(LOOK_SECONDS / 4)

    # -- people

    async def ask(self, login: str, method: str, path: str, json: Any = None) -> Any:
        """Ask the hub as somebody."""
        url, headers = f"{self.hub.api_url}/repos/{REPO}", {"Authorization": f"Bearer user:{login}"}
        answer = await self.people.request(
            method, f"{url}{path}", json=json, headers=headers, timeout=30
        )
        answer.raise_for_status()
        return answer.json()

    async def read(self, path: str) -> Any:
        """Look at the hub as `reader`."""
        return await self.ask("reader", "GET", path)

    async def comments(self, number: int) -> list[str]:
        """What the bot wrote in a conversation."""
        found = await self.read(f"/issues/{number}/comments?per_page=100")
        return [each["body"] for each in found if each["user"]["login"] == BOT]

    async def until_shown(self, issue: int, pattern: str) -> re.Match[str]:
        """Wait until the status comment says so."""
        while True:
            for body in await self.comments(issue):
                if found := re.search(pattern, body):
                    return found
            await asyncio.sleep(LOOK_SECONDS)

    # -- what there is

    def git(self, *args: str) -> str:
        """Ask git about the hub's repository."""
        command = ["git", "--git-dir", str(self.git_dir), *args]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    @property
    def git_dir(self) -> Path:
        """The hub's repository."""
        found = self.hub.repository(REPO)
        assert found is not None
        return self.hub.bare(found).folder

    def record(self) -> list[dict[str, Any]]:
        """The run's record, as the hub has it."""
        refs = self.git("for-each-ref", "--format=%(refname)", "refs/orchestrate/").split()
        return ledger.read(Mirror(self.git_dir), refs[0].rpartition("/")[2]) if refs else []

    def is_over(self) -> bool:
        """Whether the record is published and the workspace is gone."""
        over = [each for each in self.record() if each["type"] == "merged"]
        return bool(over) and not left_over(self.data)


@contextlib.asynccontextmanager
async def told(
    folder: Path, bots: Nursery, key: str, kill_at: str = "", agent: str = ""
) -> AsyncIterator[Story]:
    """A fresh hub, and a bot that begins its first life."""
    folder.mkdir(parents=True)  # noqa: ASYNC240  a test's own folder
    port = free_port()
    hub = Hub(folder / "hub", hourly_limit=1_000_000)
    marker = f"marker-{port}-{folder.name}"
    files = {"notes.txt": "first\n", ".github/orchestrate.yml": config(marker, agent)}
    credentials = await seed(
        hub, webhook_url=f"http://127.0.0.1:{port}/webhook", private_key=key, files=files
    )
    for each in tuple(hub.state.deliveries):  # the App was installed long ago
        hub.state.deliveries.drop(each.id)
    async with serve(hub):
        story = Story(folder, hub, credentials, bots, port, kill_at)
        await story.begin_life()
        keeping = asyncio.create_task(story.keep_alive())
        try:
            yield story
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await story.people.aclose()
            assert story.life
            story.life.kill()
            await story.life.ended


def config(marker: str, pause: str) -> str:
    """One agent that says when it is at work, and one check."""
    agent = f"cat > /dev/null; echo begun; {pause}echo {marker} >> notes.txt; echo written"
    check = {"name": "notes", "run": f": {marker}; echo looking; test -s notes.txt"}
    return yaml_of({"agents": {"writer": {"command": agent}}, "checks": [check]})


async def carry_out(story: Story) -> None:
    """Ask for a run, approve it when it is ready, and see it to its end."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await story.ready()
        issue = (await story.ask("writer", "POST", "/issues", {"title": "Notes"}))["number"]
        said = {"body": "/orchestrate add a note"}
        await story.ask("writer", "POST", f"/issues/{issue}/comments", said)
        shown = await story.until_shown(issue, r"\*\*Ready for review.* merges exactly \[?`(\w+)`")
        said = {"body": f"/approve {shown[1]}"}
        await story.ask("maintainer", "POST", f"/issues/{issue}/comments", said)
        await story.until_shown(issue, r"\*\*Done")
        while not story.is_over():  # noqa: ASYNC110  another process is at it
            await asyncio.sleep(LOOK_SECONDS)
    await nothing_lost_nothing_doubled(story, issue)


async def nothing_lost_nothing_doubled(story: Story, issue: int) -> None:
    """Compare what GitHub shows with the one run that there was."""
    [pull] = await story.read("/pulls?state=all")
    assert pull["merged_at"]
    await conversation_is_whole(story, issue, pull["number"])
    events = record_is_whole(story)
    await checkpoints_are_whole(story, events, pull)
    story_left_nothing(story)


async def conversation_is_whole(story: Story, issue: int, pull: int) -> None:
    """One status comment; people called at most once."""
    said = [*await story.comments(issue), *await story.comments(pull)]
    calls = [body for body in said if ":attention:" in body]
    assert len(said) - len(calls) == 1, said
    requests = {
        each.guid
        for each in story.hub.state.deliveries
        if each.event == "pull_request" and each.action == "review_requested"
    }
    assert len(calls) + len(requests) <= 1, (calls, requests)


def record_is_whole(story: Story) -> list[dict[str, Any]]:
    """The published record has each event once, in order, without a gap."""
    [ref] = story.git("for-each-ref", "--format=%(refname)", "refs/orchestrate/").split()
    assert verify(Mirror(story.git_dir), ref.rpartition("/")[2]) == []
    events = story.record()
    assert [each["seq"] for each in events] == list(range(1, len(events) + 1))
    assert all(count == 1 for count in Counter(each["id"] for each in events).values())
    kinds = Counter(each["type"] for each in events)
    once = ("requested", "started", "pull_request_opened", "approved", "merged")
    assert {kind: kinds[kind] for kind in once} == dict.fromkeys(once, 1), kinds
    assert kinds["turn_started"] == kinds["turn_ended"]
    assert kinds["blocked"] == kinds["failed"] == kinds["paused"] == 0
    return events


async def checkpoints_are_whole(
    story: Story, events: list[dict[str, Any]], pull: dict[str, Any]
) -> None:
    """Each turn that left something is one commit, checked where it was the whole, and merged."""
    made = [each["data"] for each in events if each["type"] == "checkpointed"]
    turns = [each["data"] for each in events if each["type"] == "turn_ended"]
    changed = [each for each in turns if each.get("tree")]
    assert [each["tree"] for each in changed] == [each["tree"] for each in made]
    base = next(each["data"]["base_sha"] for each in events if each["type"] == "started")
    tip = pull["head"]["sha"]
    listed = story.git("rev-list", "--reverse", "--parents", f"{base}..{tip}").splitlines()
    parents = [base, *(each["sha"] for each in made)]
    assert [line.split() for line in listed] == [
        [each["sha"], parent] for each, parent in zip(made, parents, strict=False)
    ]
    for number, each in enumerate(made, start=1):
        body = story.git("show", "--no-patch", "--format=%(trailers)", each["sha"])
        assert f"Orchestrate-Checkpoint: {number}" in body.splitlines(), body
        await checks_are_whole(story, each["sha"])
    assert set((await checks_are_whole(story, tip)).values()) == {"success"}
    landed = story.git("rev-list", "--first-parent", f"{base}..main").split()
    assert landed == [pull["merge_commit_sha"]]
    lines = story.git("show", "main:notes.txt").splitlines()
    assert lines == ["first", *[story.marker] * len(changed)]
    outcomes = Counter(each["outcome"] for each in turns)
    assert outcomes == Counter(ended=1, interrupted=story.cut_short)


async def checks_are_whole(story: Story, sha: str) -> dict[str, str]:
    """No check run stands twice on a commit, and none is left in progress."""
    found = (await story.read(f"/commits/{sha}/check-runs?filter=all&per_page=100"))["check_runs"]
    names = [each["external_id"] for each in found]
    assert len(set(names)) == len(names), names
    assert {each["status"] for each in found} <= {"completed"}, found
    return {each["name"]: each["conclusion"] for each in found}


def story_left_nothing(story: Story) -> None:
    """No process, no mount, no half-made folder."""
    assert left_over(story.data) == []
    assert str(story.folder) not in Path("/proc/mounts").read_text()


def left_over(data: Path) -> list[Path]:
    """Workspaces and half-made things in a bot's folder, after all runs have ended."""
    kept = {"home", "check-home", "logs"}
    inside = [each for run in data.glob("runs/*") for each in run.iterdir()]
    half = [
        *data.rglob("*.making"),
        *data.rglob("*.removing"),
        *data.glob("mirrors/*.git/**/*.lock"),
    ]
    return [*half, *(each for each in inside if each.name not in kept)]


def processes_with(words: str) -> list[str]:
    """The command lines of the processes that hold these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words in line:
                found.append(line)
    return found


def turn_is_open(data: Path) -> bool:
    """Whether a dead bot's record says that a turn has begun and not ended."""
    query = "SELECT json_extract(body, '$.type') FROM events"
    with contextlib.closing(sqlite3.connect(data / "orchestrate.db")) as database:
        try:
            kinds = [kind for (kind,) in database.execute(query)]
        except sqlite3.OperationalError:  # it died before it made its tables
            return False
    return kinds.count("turn_started") > kinds.count("turn_ended")


def free_port() -> int:
    """A port that nobody listens on: the bot's, in each of its lives."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def in_lanes(tell: Callable[[str], Any], names: Iterable[str]) -> list[str]:
    """Tell a story for each name, a few at a time; say what went wrong, for each that did."""
    left, wrong = list(names), list[str]()

    async def lane() -> None:
        while left:
            name = left.pop(0)
            try:
                await tell(name)
            except (AssertionError, TimeoutError, ValueError, httpx.HTTPError) as error:
                wrong.append(f"{name}: {type(error).__name__}: {error}")

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return wrong


def chosen(instants: list[str]) -> list[str]:
    """Of instants of the same kind the first, and at length one in the middle and the last.

    The boundaries of steps are all chosen.
    """
    kinds: dict[str, list[str]] = {}
    for each in instants:
        kinds.setdefault(each.partition(" #")[0], []).append(each)
    some = {each[0] for each in kinds.values()}
    if LONG:
        some |= {each[at] for each in kinds.values() for at in (len(each) // 2, -1)}
    return [each for each in instants if each in some or each.startswith(STEPS)]


@pytest.fixture(scope="module")
async def bots() -> AsyncIterator[Nursery]:
    async with nursery() as made:
        yield made


@pytest.fixture(scope="module")
def key() -> str:
    return new_key()


@pytest.fixture(scope="module")
async def instants(bots: Nursery, key: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What one whole run passes by, in order."""
    async with told(tmp_path_factory.mktemp("whole") / "0", bots, key) as story:
        await carry_out(story)
        assert story.lives == 1
        return story.trace


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
async def test_a_kill_at_any_instant_of_a_run_loses_and_doubles_nothing(
    part: int, instants: list[str], bots: Nursery, key: str, tmp_path: Path
) -> None:
    async def tell(instant: str) -> None:
        folder = tmp_path / f"{instants.index(instant)}"
        async with told(folder, bots, key, kill_at=instant) as story:
            await carry_out(story)
        shutil.rmtree(folder)

    mine = [each for each in chosen(instants) if zlib.crc32(each.encode()) % SLICES == part]
    wrong = await in_lanes(tell, mine)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
async def test_kills_at_random_moments_of_a_slow_turn_lose_and_double_nothing(
    bots: Nursery, key: str, tmp_path: Path
) -> None:
    chance = random.Random(20)
    moments = {f"{number}": chance.uniform(0.0, RUN_SECONDS) for number in range(RANDOM_KILLS)}

    async def tell(name: str) -> None:
        async with told(tmp_path / name, bots, key, agent=f"sleep {TURN_SECONDS}; ") as story:
            assert story.life
            asyncio.get_running_loop().call_later(moments[name], story.life.kill)
            await carry_out(story)
        shutil.rmtree(tmp_path / name)

    wrong = await in_lanes(tell, moments)
    assert not wrong, "\n\n".join(wrong)
