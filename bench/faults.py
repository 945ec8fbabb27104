"""Whether anything is lost or doubled, whatever goes wrong: `python -m bench.faults [--json]`.

Runs of every kind (`tests/support/stories.py`) are carried out undisturbed first, on PostgreSQL by
web, workers and a clock, and on SQLite by the one process that there is. What the hub shows of each
in the end is what it must show of all the others, which meet:

- kill -9 of a process at every boundary that the undisturbed runs passed by, and at random
  instants;
- kill -9 of web and of PostgreSQL, SIGSTOP and SIGCONT of a worker, which must end itself;
- a cut to GitHub, 502s, answers that are lost or time out after the effect happened, secondary
  limits; dropped, doubled, late and shuffled deliveries.

`lost` counts what an undisturbed run shows and a disturbed one does not, `doubled` what is there
too often; each is told in `wrong` with its story. A takeover is the time from the death of a worker
until nothing that it had is in its name.

    {"kills", "faults", "lost", "doubled", "takeover_s_p50", "takeover_s_max"}
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import structlog

from bench.measure import Target as Figure
from bench.measure import at_least, at_most, conclude
from bench.town import PATIENCE_SECONDS, Target, Town, town
from bench.wire import STORMS
from bot.git import ledger
from bot.git.repository import Mirror
from bot.hub.faults import WebhookFault
from bot.serve import configure_logging
from bot.shared import Role
from tests.support.cluster import Cluster, cluster
from tests.support.killable import nursery
from tests.support.stories import KINDS, Scene, difference, flaws, portrait

log = structlog.get_logger()

TAKEOVER_SECONDS = 10.0

STORY_SECONDS, STORY_TIMES = 180.0, 15.0
"""How long a disturbed run may take: many times what all the faults of its round take, and on a
slow machine so many times what the undisturbed ones took."""

SETTLE_SECONDS = 15.0
"""How long after its end a run may be drawn anew: GitHub may have asked for patience."""

STORM_SECONDS = 3.0
LIFE_SECONDS = 6.0
"""How long a process has to come by the boundary where it is to die."""

SQLITE_SHARE = 5
"""On SQLite there is one process, whose kills `tests/test_kill.py` has at length: a fifth."""

DATABASE_SECONDS = 0.5
STILL_SECONDS = 8.0
"""Longer than a lease."""

PARTS = ("days", "boundaries", "random")
"""Bad days at GitHub and of the machines, kills at boundaries, and kills at random instants."""

DELIVERIES: tuple[WebhookFault, ...] = ("drop", "duplicate", "delay", "shuffle")

SCHEDULED = {
    "schedule": [{"name": "often", "cron": "* * * * *", "request": "add a note"}],
    "limits": {"turns": 20, "runs_per_issue": 10},
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: stories at a time, kills in a round, and how many at random."""

    stories: int
    kills: int
    random: int
    boundaries: bool
    storms: int
    seconds: float


SHORT = Size(6, 8, 0, boundaries=False, storms=0, seconds=0)
ORDINARY = Size(12, 24, 100, boundaries=True, storms=1, seconds=480)
LONG = Size(12, 24, 1_000, boundaries=True, storms=20, seconds=float("inf"))


@dataclass(slots=True)
class Tally:
    """What came out."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    runs: int = 0
    known: set[tuple[str, ...]] = field(default_factory=set)
    met: set[tuple[str, ...]] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    cut_short: bool = False

    def add(self, town: Town) -> None:
        """Take over what a town counted."""
        self.kills += town.kills
        self.faults += town.wire.met
        self.takeovers += town.takeovers
        name = "postgresql" if town.cluster else "sqlite"
        self.met |= {(name, *each) for each in town.met}


class Trial:
    """Rounds of stories in one town, compared with undisturbed ones."""

    def __init__(
        self,
        town: Town,
        size: Size,
        chance: random.Random,
        tally: Tally,
        parts: Sequence[str] = PARTS,
    ) -> None:
        self._town, self._size, self._chance, self._tally = town, size, chance, tally
        self._parts = parts
        self._whole: dict[str, Counter[str]] = {}
        self.name = "postgresql" if town.cluster else "sqlite"
        self._patience = STORY_SECONDS
        self._over = asyncio.Event()

    async def undisturbed(self) -> None:
        """Carry out one run of each kind; what they passed by is where processes die later."""
        begun = time.monotonic()
        self._patience = PATIENCE_SECONDS
        told = await asyncio.gather(*(self._tell(kind) for kind in KINDS))
        self._patience = max(STORY_SECONDS, STORY_TIMES * (time.monotonic() - begun))
        for kind, scene in zip(KINDS, told, strict=True):
            assert scene is not None, f"{kind} does not end, undisturbed: {self._tally.lost}"
            self._whole[kind] = await portrait(scene)
            assert not (wrong := await flaws(scene)), wrong

    async def round(self, chaos: Awaitable[None], name: str) -> None:
        """Carry out runs of every kind while something befalls the town."""
        log.info("round", befalls=name, town=self.name)
        kinds = [*KINDS] * (self._size.stories // len(KINDS) + 1)
        stories = [self._compared(kind, name) for kind in kinds[: self._size.stories]]
        self._over.clear()
        befalling = asyncio.ensure_future(chaos)
        await asyncio.gather(*stories)
        self._over.set()
        await befalling  # what is dead or stopped is to be there again

    async def _compared(self, kind: str, name: str) -> None:
        scene = await self._tell(kind, name)
        if scene is None:
            return
        whole, deadline = self._whole[kind], time.monotonic() + SETTLE_SECONDS
        while True:
            left, wrong = await portrait(scene), await flaws(scene)
            lost, doubled = difference(whole, left)
            if not (lost or doubled or wrong) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)  # the last drawing is not there yet
        where = f"{self.name}, {name}, {scene.repo}"
        self._tally.lost += [f"{where}: {each}" for each in lost]
        self._tally.doubled += [f"{where}: {each}" for each in (*doubled, *wrong)]

    async def _tell(self, kind: str, name: str = "undisturbed") -> Scene | None:
        scene = await self._town.scene(kind)
        self._tally.runs += 1
        try:
            async with asyncio.timeout(self._patience):
                await KINDS[kind](scene)
        except (TimeoutError, AssertionError, ValueError, httpx.HTTPError) as error:
            said = await scene.comments(1)
            self._tally.lost.append(
                f"{self.name}, {name}, {scene.repo}: {type(error).__name__} {error}; {said}"
            )
            return None
        return scene

    # -- what befalls

    async def boundaries(self) -> None:
        """Kill processes at boundaries, one life after the other, as long as this lasts."""
        town = self._town
        town.shots = self._size.kills
        try:
            while not self._over.is_set():
                await asyncio.sleep(0.1)
                for place in town.of("worker", "serve", "web"):
                    is_old = time.monotonic() - place.begun > LIFE_SECONDS
                    wanted = any(each.role == place.role for each in town.targets)
                    # One that does not come by its boundary, or has none, makes room.
                    if town.shots > 0 and is_old and (place.target or wanted):
                        town.kill(place)
                        place.begun = time.monotonic()
        finally:
            town.shots = 0

    async def at_random(self, count: int) -> None:
        """Kill workers and web at random instants."""
        for number in range(count):
            await asyncio.sleep(self._chance.uniform(0.2, 1.6))
            if self._over.is_set():
                return
            role: Role = "web" if number % 5 == 4 else "worker"
            if places := self._town.of(role, "serve"):
                self._town.kill(self._chance.choice(places))

    async def storms(self) -> None:
        """Let GitHub have bad days."""
        for storm in STORMS:
            if self._over.is_set():
                return
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))
            with self._town.wire.weather(storm):
                await asyncio.sleep(STORM_SECONDS)

    async def cut(self) -> None:
        """Cut the way to GitHub."""
        await asyncio.sleep(self._chance.uniform(0.5, 1.5))
        await self._town.wire.cut(STORM_SECONDS)

    async def database(self) -> None:
        """Kill PostgreSQL."""
        await asyncio.sleep(self._chance.uniform(0.5, 2.5))
        await self._town.kill_database(DATABASE_SECONDS)

    async def zombie(self) -> None:
        """Let a worker stand still until its lease is over, and go on."""
        await asyncio.sleep(self._chance.uniform(0.5, 2.0))
        while not (places := self._town.of("worker")):  # noqa: ASYNC110  they begin anew
            await asyncio.sleep(0.05)
        place = self._chance.choice(places)
        if not await self._town.stand_still(place, STILL_SECONDS):
            self._tally.doubled.append("a worker whose lease was over went on")

    async def deliveries(self) -> None:
        """Have deliveries dropped, doubled, late and out of order, as long as this lasts."""
        faults = self._town.hub.faults
        try:
            while not self._over.is_set():
                for kind in self._chance.sample(DELIVERIES, len(DELIVERIES)):
                    faults.webhooks(kind, times=1, seconds=1.0)
                    self._tally.faults[kind] += 1
                    await asyncio.sleep(self._chance.uniform(0.1, 0.4))
        finally:
            # Those that nothing was sent for did not happen.
            self._tally.faults -= Counter(each.fault for each in faults.armed())
            faults.clear()

    # -- all of it

    async def rounds(self, until: float) -> None:
        """Do all that is to be done in this town, the rare things first; no kills after `until`."""
        town, size = self._town, self._size
        for name, chaos in self._bad_days() if "days" in self._parts else ():
            await self.round(chaos(), name)
        at_boundaries = size.boundaries and "boundaries" in self._parts
        passed = [each for each in town.passed() if each[0] != "clock"] if at_boundaries else []
        town.targets.extend(Target(*each) for each in passed)
        self._tally.known |= {(self.name, *each) for each in passed}
        while town.targets and time.monotonic() < until:
            await self.round(self.boundaries(), "boundaries")
        count = size.random if town.cluster else size.random // SQLITE_SHARE
        count = count if "random" in self._parts else 0
        while count > 0 and time.monotonic() < until:
            before = town.kills.total()
            await self.round(self.at_random(min(count, size.kills)), f"random kills, {count} left")
            count -= max(1, town.kills.total() - before)
        self._tally.cut_short |= bool(town.targets or count > 0)

    def _bad_days(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        town, size = self._town, self._size
        if size.storms == 0:
            found = [("bad days at GitHub", self._github), ("bad days here", self._here)]
            return found if town.cluster else found[:1]
        days: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("deliveries", self.deliveries),
            ("storms", self.storms),
            ("cut", self.cut),
            ("everything", self._everything),
        ]
        if town.cluster:
            days += [("postgresql killed", self.database), ("stopped worker", self.zombie)]
        return days * size.storms

    async def _github(self) -> None:
        await asyncio.gather(self.deliveries(), self._storms_and_cut())

    async def _storms_and_cut(self) -> None:
        await self.storms()
        await self.cut()

    async def _here(self) -> None:
        await self.zombie()
        await self.at_random(8)
        await self.database()

    async def _everything(self) -> None:
        await asyncio.gather(self.deliveries(), self.storms(), self.at_random(3))


@contextlib.asynccontextmanager
async def _clock(town: Town, tally: Tally) -> AsyncIterator[None]:
    """Meanwhile a run begins each minute, by the clock; in the end each was one."""
    scene = await town.scene("scheduled", **SCHEDULED)
    going = asyncio.create_task(scene.go_on_schedule())
    try:
        yield
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
    begun = [ledger.read(Mirror(scene.git_dir), run)[0] for run in scene.runs()]
    keys = Counter(each["data"]["source"]["key"] for each in begun)
    pulls = await scene.read("/pulls?state=all&per_page=100")
    landed = [each for each in pulls if each["merged_at"]]
    tally.runs += len(begun)
    tally.doubled += [f"scheduled: {key} x{count}" for key, count in keys.items() if count > 1]
    tally.doubled += [f"scheduled: {each}" for each in await flaws(scene)]
    if len(pulls) > len(begun):
        tally.doubled.append(f"scheduled: {len(pulls)} pull requests of {len(begun)} runs")
    # The newest may be under way.
    if len(landed) < len(begun) - 1:
        tally.lost.append(f"scheduled: {len(landed)} of {len(begun)} runs were merged")


async def measure(
    size: Size, databases: Sequence[str], parts: Sequence[str], seed: int, folder: Path
) -> Tally:
    """Do it in a town for each database, within the time that there is.

    At the same time: most of it is waiting for the leases of the dead.
    """
    tally = Tally()
    until = time.monotonic() + size.seconds

    async def one(database: str) -> None:
        with contextlib.ExitStack() as stack:
            found: Cluster | None = None
            if database == "postgresql":
                found = stack.enter_context(cluster(sync=True))
            chance = random.Random(seed)
            async with town(folder / database, bots, chance, found) as made:
                trial = Trial(made, size, chance, tally, parts)
                await trial.undisturbed()
                async with _clock(made, tally):
                    await trial.rounds(until)
            tally.add(made)

    async with nursery() as bots:
        await asyncio.gather(*(one(database) for database in databases))
    return tally


def main() -> int:
    """Measure, and print a line each or, with `--json`, one object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    both = ["postgresql", "sqlite"]
    parser.add_argument("--json", action="store_true", help="print one JSON object, last")
    parser.add_argument("--short", action="store_true", help="two minutes of it, for CI")
    parser.add_argument("--long", action="store_true", help="as much as it takes: an hour")
    parser.add_argument("--database", action="append", choices=both, help="only this one")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this of it")
    parser.add_argument("--seed", type=int, default=1, help="what decides by chance")
    given = parser.parse_args()
    configure_logging(quiet=given.json)
    size = SHORT if given.short else LONG if given.long else ORDINARY
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-faults-") as place:
        Path(place).chmod(0o755)  # jobs are another user
        # On SQLite the tests of kill -9 do in CI what this does.
        databases = given.database or (both[:1] if given.short else both)
        tally = asyncio.run(measure(size, databases, given.part or PARTS, given.seed, Path(place)))
    told = summary(tally) | {"seed": given.seed, "seconds": round(time.monotonic() - begun, 1)}
    return conclude(told, targets(told), as_json=given.json)


def summary(tally: Tally) -> dict[str, Any]:
    """Say what came out."""
    taken = sorted(tally.takeovers)
    return {
        "kills": tally.kills.total(),
        "faults": tally.faults.total(),
        "lost": len(tally.lost),
        "doubled": len(tally.doubled),
        "takeover_s_p50": round(statistics.median(taken), 2) if taken else None,
        "takeover_s_max": round(taken[-1], 2) if taken else None,
        "takeovers": len(taken),
        "runs": tally.runs,
        "kills_by": dict(tally.kills),
        "faults_by": dict(tally.faults),
        "boundaries": {
            "known": len(tally.known),
            "killed_at": len(tally.met & tally.known),
            "not_reached": [": ".join(each) for each in sorted(tally.known - tally.met)],
        },
        "cut_short": tally.cut_short,
        "wrong": {"lost": tally.lost, "doubled": tally.doubled},
    }


def targets(told: dict[str, Any]) -> list[Figure]:
    """Compare with what was promised."""
    slowest = told["takeover_s_max"]
    return [
        at_least("kills", 1, told["kills"]),
        at_most("lost", 0, told["lost"]),
        at_most("doubled", 0, told["doubled"]),
        *(
            []
            if slowest is None
            else [at_most("slowest takeover", TAKEOVER_SECONDS, slowest, " s")]
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
