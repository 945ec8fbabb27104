"""Whether the product stays as it is under load: `python -m bench.soak --minutes 10 [--json]`.

Runs of every kind (`tests/support/stories.py`) are carried out one after the other, a few at a
time, in a town (`bench/town.py`) to which nothing happens, and each process is looked at all the
while: memory, open files and threads. A straight line is laid through what was seen after the
first third, in which pools and caches fill: connections, threads, the mirror that each of those has
open. What fills more slowly is within the limits: each story has a repository of its own, whose
tokens the net for secrets knows by 36 KB each until 200 of them are known, 7 MB. The line's slope
times the time it was laid through is `growth`, with twice its standard error as `tolerance`. A
process is flat whose growth is no more than its tolerance and what `LIMITS` allows.

    {"minutes", "runs", "processes": [{"name", "memory_mb": {"mean", "growth", "tolerance",
     "an_hour"}, "handles": {…}, "threads": {…}}], "flat"}
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import math
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Target, at_most, conclude
from bench.town import Place, Town, town
from bot.serve import configure_logging
from tests.support.cluster import cluster
from tests.support.killable import nursery
from tests.support.stories import KINDS

LOOK_SECONDS = 2.0
"""How often each process is looked at."""

STORIES = 4
"""Runs at a time: so many that two cores are busy."""

STORY_SECONDS = 600.0

LIMITS = {"memory_mb": 8.0, "handles": 4.0, "threads": 3.0}
"""What may be added while it is looked, beside what is within the tolerance: the next page of an
allocator, a connection of a pool, a thread of one."""

WARM = 1 / 3


@dataclass(slots=True)
class Seen:
    """What was seen of one process: seconds, and what it had then."""

    at: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in LIMITS})

    def look(self, pid: int, now: float) -> None:
        """Look at a process once more."""
        folder = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        found = {
            "memory_mb": int(status["VmRSS"].split()[0]) / 1024,
            "handles": float(len(list((folder / "fd").iterdir()))),
            "threads": float(status["Threads"]),
        }
        self.at.append(now)
        for name, value in found.items():
            self.values[name].append(value)

    def told(self) -> dict[str, dict[str, float]]:
        """Lay the lines."""
        first = int(len(self.at) * WARM)
        return {name: line(self.at[first:], seen[first:]) for name, seen in self.values.items()}


def line(at: Sequence[float], seen: Sequence[float]) -> dict[str, float]:
    """Lay a line by least squares; say what it grows by in the time, and how sure that is."""
    count = len(at)
    assert count > 2, "that was too short to say anything"
    middle, mean = sum(at) / count, sum(seen) / count
    spread = sum((x - middle) ** 2 for x in at)
    slope = sum((x - middle) * (y - mean) for x, y in zip(at, seen, strict=True)) / spread
    off = sum((y - mean - slope * (x - middle)) ** 2 for x, y in zip(at, seen, strict=True))
    error = math.sqrt(off / (count - 2) / spread)
    seconds = at[-1] - at[0]
    return {
        "mean": round(mean, 1),
        "growth": round(slope * seconds, 2),
        "tolerance": round(2 * error * seconds, 2),
        "an_hour": round(slope * 3600, 2),
    }


async def _load(town: Town, kinds: Any, until: float, done: list[str]) -> None:
    """Carry out one run after the other."""
    while time.monotonic() < until:
        kind = next(kinds)
        scene = await town.scene(kind)
        async with asyncio.timeout(STORY_SECONDS):
            await KINDS[kind](scene)
        done.append(kind)


async def _watch(places: Sequence[tuple[Place, Seen]]) -> None:
    while True:
        now = time.monotonic()
        for place, seen in places:
            assert place.life
            seen.look(place.life.pid, now)
        await asyncio.sleep(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def _town(database: str, folder: Path) -> AsyncIterator[Town]:
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(cluster(sync=True)) if database == "postgresql" else None
        async with nursery() as bots, town(folder, bots, random.Random(1), found) as made:
            yield made


async def soak(database: str, minutes: float, folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Load a town for so long; return how many runs that were, and what was seen."""
    async with _town(database, folder) as made:
        places = [(place, Seen()) for place in made.places]
        watching = asyncio.create_task(_watch(places))
        until, done, kinds = time.monotonic() + minutes * 60, list[str](), itertools.cycle(KINDS)
        try:
            await asyncio.gather(*(_load(made, kinds, until, done) for _ in range(STORIES)))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        assert not made.kills, f"processes ended: {made.kills}"
        assert all(place.lives == 1 for place in made.places), "a process ended"
        told = [
            {"name": f"{database}: {place.role} {number}", **seen.told()}
            for number, (place, seen) in enumerate(places)
        ]
    return len(done), told


def targets(processes: Sequence[dict[str, Any]]) -> list[Target]:
    """Say of each process whether it is flat."""
    return [
        at_most(
            f"{each['name']}: growth of {name}",
            round(max(limit, each[name]["tolerance"]), 2),
            each[name]["growth"],
        )
        for each in processes
        for name, limit in LIMITS.items()
    ]


def main() -> int:
    """Measure, and print a line each or, with `--json`, one object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    both = ["postgresql", "sqlite"]
    parser.add_argument("--json", action="store_true", help="print one JSON object, last")
    parser.add_argument("--minutes", type=float, default=10.0, help="of load, for each database")
    parser.add_argument("--database", action="append", choices=both, help="only this one")
    given = parser.parse_args()
    configure_logging(quiet=True)
    runs, processes = 0, list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as place:
        Path(place).chmod(0o755)  # jobs are another user
        for database in given.database or both:
            done, seen = asyncio.run(soak(database, given.minutes, Path(place) / database))
            runs += done
            processes += seen
    held = targets(processes)
    flat = all(each.holds for each in held)
    told = {"minutes": given.minutes, "runs": runs, "processes": processes, "flat": flat}
    return conclude(told, held, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
