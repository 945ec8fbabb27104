"""Kill -9 at any instant of a run: on return nothing is lost and nothing doubled.

The test finds the instants itself: it lets a whole run happen once and notes where it passes by.
Then runs happen whose bot is killed again and again, in each life at the next instant of its share.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.hub import Credentials, Hub, seed, serve
from bot.hub.seed import new_key
from tests.support.killable import Life, Nursery, Order, nursery
from tests.support.ports import own_port
from tests.support.stories import (
    LOOK_SECONDS,
    Scene,
    difference,
    files_of,
    flaws,
    merged,
    portrait,
    unmount,
)

PATIENCE_SECONDS = 180.0
"""How long a run may take without a kill: many times what it takes on a loaded machine …"""

KILL_SECONDS = 30.0
"""… and so much more for each kill."""

DEATH_SECONDS = 10.0
"""How long what a killed bot had started in a sandbox may take to be gone: a moment, many times as
long on a loaded machine."""

RECOVERY_MINUTES = 0.01
"""How often the bot looks for deliveries that failed while it was dead."""

NEVER_MINUTES = 60.0
"""The same in a bot's first life, which has lost none: so its instants are the run's own."""

GATHER_SECONDS = 0.05
"""How long changes are gathered before they are drawn: so little that every state is drawn."""

LONG = os.environ.get("ORCHESTRATE_TEST_LONG") == "all"
"""Whether what a run does many times, such as a drawing, is killed three times and not once."""

SHARES = 8 if LONG else 4
"""Runs among which the instants are shared out, each on a worker of the tests."""

STEPS = ("Store.append", "Store.rest", "begun")
"""What is killed at each time in any case: the boundaries of steps."""

MET = 0.6
"""How many of its instants a run meets at least: what was gathered in one drawing, or done before
a kill, does not come again."""

RANDOM_KILLS = 12 if LONG else 6

TURN_SECONDS = 0.5
"""How long the agent works where the kills come at random."""

BETWEEN_SECONDS = 1.0
"""How long a bot that is ready lives at the most before the next of them: less than its run takes,
so that each run meets several."""

REPO = "acme/widgets"


@dataclass(slots=True)
class Story:
    """One run on a hub of its own, with a bot that is killed."""

    folder: Path
    scene: Scene
    credentials: Credentials
    nursery: Nursery
    port: int
    left: list[tuple[int, str]] = field(default_factory=list)
    passed: Sequence[str] = ()
    at: int = -1
    lives: int = 0
    cut_short: set[int] = field(default_factory=set)
    life: Life | None = None
    keeping: asyncio.Task[None] | None = None

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
        """The instants of the newest life."""
        path = self.folder / f"trace-{self.lives}"
        return path.read_text().splitlines() if path.exists() else []

    async def begin_life(self) -> Life:
        """Start the bot, whose life ends at the first of the instants that are left."""
        self.lives += 1
        settings = {
            "data_dir": str(self.data),
            "github_api_url": self.scene.hub.api_url,
            "app_id": str(self.credentials.app_id),
            "private_key": self.credentials.private_key,
            "webhook_secret": self.credentials.webhook_secret,
            "write_spacing_seconds": 0.0,
            "gather_seconds": GATHER_SECONDS,
            "git_workers": 1,  # a second one is a second's work in each life
            "reconcile_minutes": RECOVERY_MINUTES if self.lives > 1 else NEVER_MINUTES,
        }
        order = Order(
            settings,
            self.port,
            str(self.folder / f"trace-{self.lives}"),
            str(self.folder / "log"),
            [self._now(index, kind) for index, kind in self.left],
        )
        self.life = await self.nursery.bear(order)
        return self.life

    def _now(self, index: int, kind: str) -> str:
        """Name an instant of the whole run as a bot counts it that begins after the last kill."""
        before = self.passed[self.at + 1 : index + 1] if index > self.at else ()
        count = max(1, sum(each.partition(" #")[0] == kind for each in before))
        return f"{kind} #{count}"

    async def keep_alive(self) -> None:
        """Start the bot again whenever it was killed."""
        while True:
            assert self.life
            await asyncio.shield(self.life.ended)
            await self.nothing_works()
            self.cut_short |= open_turn(self.data)
            self._was_met()
            await self.begin_life()

    def _was_met(self) -> None:
        """Forget the instant at which it was killed."""
        last = self.trace[-1] if self.trace else ""
        for each in self.left:
            if self._now(*each) == last:
                self.left.remove(each)
                self.at = max(self.at, each[0])
                return

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
                    address = f"http://127.0.0.1:{self.port}/readyz"
                    if (await self.scene.people.get(address)).status_code == 200:
                        return
                await asyncio.sleep(LOOK_SECONDS / 4)


@contextlib.asynccontextmanager
async def told(
    folder: Path,
    bots: Nursery,
    key: str,
    *,
    instants: Sequence[tuple[int, str]] = (),
    passed: Sequence[str] = (),
    pause: str = "",
) -> AsyncIterator[Story]:
    """A fresh hub, and a bot that begins its first life."""
    folder.mkdir(parents=True)  # noqa: ASYNC240  a test's own folder
    port = own_port()
    hub = Hub(folder / "hub", hourly_limit=1_000_000)
    files = files_of("merged", f"marker-{port}-{folder.name}", pause)
    credentials = await seed(
        hub, webhook_url=f"http://127.0.0.1:{port}/webhook", private_key=key, files=files
    )
    for each in tuple(hub.state.deliveries):  # the App was installed long ago
        hub.state.deliveries.drop(each.id)
    async with serve(hub):
        scene = Scene(hub, REPO)
        story = Story(folder, scene, credentials, bots, port, list(instants), passed)
        await story.begin_life()
        story.keeping = asyncio.create_task(story.keep_alive())
        try:
            yield story
        finally:
            story.keeping.cancel()
            await asyncio.gather(story.keeping, return_exceptions=True)
            await scene.people.aclose()
            assert story.life
            story.life.kill()
            await story.life.ended
            unmount(folder)


async def carry_out(story: Story, kills: int = 0) -> Counter[str]:
    """Ask for a run, approve it when it is ready, and see it to its end; what GitHub shows then."""
    async with asyncio.timeout(PATIENCE_SECONDS + kills * KILL_SECONDS):
        await story.ready()
        telling = asyncio.create_task(merged(story.scene))
        assert story.keeping
        done, _ = await asyncio.wait({telling, story.keeping}, return_when="FIRST_COMPLETED")
        for each in done:
            await each
        # Another process clears up.
        while left_over(story.data):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
    assert await flaws(story.scene) == []
    await turns_are_whole(story)
    assert left_over(story.data) == []
    assert not mounts_below(story.folder)
    return await portrait(story.scene)


async def turns_are_whole(story: Story) -> None:
    """What each turn left was merged, in order, and nothing else; those cut short are known."""
    events = story.scene.record()
    turns = [each["data"] for each in events if each["type"] == "turn_ended"]
    changed = [each for each in turns if each.get("tree")]
    lines = story.scene.git("show", "main:notes.txt").splitlines()
    assert lines == ["first", *[story.marker] * len(changed)]
    outcomes = Counter(each["outcome"] for each in turns)
    assert outcomes == Counter(ended=1, interrupted=len(story.cut_short))


def mounts_below(folder: Path) -> bool:
    """Whether a workspace is still mounted."""
    return str(folder) in Path("/proc/mounts").read_text()


def left_over(data: Path) -> list[Path]:
    """Workspaces and half-made things in a bot's folder, after all runs have ended."""
    kept = {"home", "check-home", "logs"}
    inside = [each for run in data.glob("runs/*") for each in _entries(run)]
    half = [
        Path(folder, name)
        for folder, folders, files in os.walk(data)  # what goes away meanwhile is passed over
        for name in (*folders, *files)
        if name.endswith((".making", ".removing"))
        or (name.endswith(".lock") and data / "mirrors" in Path(folder).parents)
    ]
    return [*half, *(each for each in inside if each.name not in kept)]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # it went away, or is a file
        return []


def processes_with(words: str) -> list[str]:
    """The command lines of the processes that hold these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words in line:
                found.append(line)
    return found


def open_turn(data: Path) -> set[int]:
    """The number of the turn that a dead bot's record says has begun and not ended, if one has."""
    query = "SELECT json_extract(body, '$.type') FROM events"
    try:
        with contextlib.closing(sqlite3.connect(data / "orchestrate.db")) as database:
            kinds = [kind for (kind,) in database.execute(query)]
    except sqlite3.OperationalError:  # it died before it made its folder, or its tables
        return set()
    begun = kinds.count("turn_started")
    return {begun} if begun > kinds.count("turn_ended") else set()


def chosen(passed: Sequence[str]) -> list[tuple[int, str]]:
    """Of instants of the same kind the first, and at length one in the middle and the last.

    The boundaries of steps are all chosen. Each comes with its place in the whole.
    """
    kinds: dict[str, list[int]] = {}
    for index, each in enumerate(passed):
        kinds.setdefault(each.partition(" #")[0], []).append(index)
    some = {each[0] for each in kinds.values()}
    if LONG:
        some |= {each[at] for each in kinds.values() for at in (len(each) // 2, -1)}
    some |= {index for index, each in enumerate(passed) if each.startswith(STEPS)}
    return [(index, passed[index].partition(" #")[0]) for index in sorted(some)]


@dataclass(frozen=True, slots=True)
class Whole:
    """What one whole run passes by, in order, and what GitHub shows of it."""

    passed: list[str]
    shown: Counter[str]


@pytest.fixture(scope="module")
async def bots() -> AsyncIterator[Nursery]:
    async with nursery() as made:
        yield made


@pytest.fixture(scope="module")
def key() -> str:
    return new_key()


@pytest.fixture(scope="module")
async def whole(bots: Nursery, key: str, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    async with told(tmp_path_factory.mktemp("whole") / "0", bots, key) as story:
        shown = await carry_out(story)
        assert story.lives == 1
        return Whole(story.trace, shown)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
async def test_kills_at_any_instant_of_a_run_lose_and_double_nothing(
    share: int, whole: Whole, bots: Nursery, key: str, tmp_path: Path
) -> None:
    mine = chosen(whole.passed)[share::SHARES]
    given: dict[str, Any] = {"instants": mine, "passed": whole.passed}
    async with told(tmp_path / "0", bots, key, **given) as story:
        shown = await carry_out(story, len(mine))
        assert difference(whole.shown, shown) == ([], [])
        assert story.lives > MET * len(mine), f"not met: {story.left}"
    shutil.rmtree(tmp_path / "0")


@pytest.mark.slow
async def test_kills_at_random_moments_of_slow_turns_lose_and_double_nothing(
    whole: Whole, bots: Nursery, key: str, tmp_path: Path
) -> None:
    chance = random.Random(20)
    moments = [chance.uniform(0.0, BETWEEN_SECONDS) for _ in range(RANDOM_KILLS)]

    async def kill(story: Story) -> None:
        for number, moment in enumerate(moments):
            lives = story.lives
            if number % 3:  # a third of them may come while it begins
                await story.ready()
            await asyncio.sleep(moment)
            assert story.life
            story.life.kill()
            while story.lives == lives:  # noqa: ASYNC110  it is begun again
                await asyncio.sleep(0.01)

    async with told(tmp_path / "0", bots, key, pause=f"sleep {TURN_SECONDS}; ") as story:
        killing = asyncio.create_task(kill(story))
        shown = await carry_out(story, RANDOM_KILLS)
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        assert difference(whole.shown, shown) == ([], [])
        assert story.lives > 2
    shutil.rmtree(tmp_path / "0")
