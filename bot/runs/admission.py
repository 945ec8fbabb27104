"""Who works next, where more runs want to than may: pure, from who waits and who works.

People's commands come before schedules. Among equals the installation, then the repository with
the fewest runs at work comes first, then whoever has waited longest; so a repository that asks for
much waits behind its own. Whoever has waited for `AGED_SECONDS` comes before all who have not, the
oldest first: nobody waits for ever, since what works ends some time.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

PEOPLE, SCHEDULES = 0, 1
"""The ranks: what a person asked for, and what begins by itself."""

AGED_SECONDS = 900.0
"""How long others may be preferred: a quarter of an hour is a nuisance, more would be neglect."""

LOCAL = 0
"""The installation of repositories on this machine: there is nobody to leave room for."""

NO_AGENTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A segment that wants to work, or does. `asked` counts seconds since the epoch."""

    run: str
    installation: int
    repository: int
    agent: str
    rank: int
    asked: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How many runs may work at a time; None where only the server's own number limits them."""

    server: int
    installation: int | None = None
    repository: int | None = None
    agents: Mapping[str, int] = field(default_factory=lambda: NO_AGENTS)


class _Counts:
    """How many work, by what they are counted by."""

    def __init__(self, working: Iterable[Wanted]) -> None:
        self.server = 0
        self.installations: Counter[int] = Counter()
        self.repositories: Counter[int] = Counter()
        self.agents: Counter[str] = Counter()
        for each in working:
            self.add(each)

    def add(self, one: Wanted) -> None:
        self.server += 1
        self.installations[one.installation] += 1
        self.repositories[one.repository] += 1
        self.agents[one.agent] += 1

    def allow(self, one: Wanted, limits: Limits) -> bool:
        """Say whether one more may work; that the server has room is looked at elsewhere."""
        agent = limits.agents.get(one.agent)
        if agent is not None and self.agents[one.agent] >= agent:
            return False
        if one.installation == LOCAL:
            return True
        here = (
            (limits.installation, self.installations[one.installation]),
            (limits.repository, self.repositories[one.repository]),
        )
        return all(most is None or now < most for most, now in here)

    def key(self, one: Wanted, now: float) -> tuple[float, ...]:
        """What is compared: the least goes first. While others are admitted it only grows."""
        if now - one.asked >= AGED_SECONDS:
            return (-1, one.asked)
        here = self.installations[one.installation], self.repositories[one.repository]
        return (one.rank, *here, one.asked)


def admit(
    waiting: Sequence[Wanted], working: Sequence[Wanted], limits: Limits, now: float
) -> list[Wanted]:
    """Return who of those `waiting` begins now beside those `working`, in this order."""
    counts = _Counts(working)
    chosen: list[Wanted] = []
    walk = _walk(waiting, counts, now, lambda one: counts.allow(one, limits))
    while counts.server < limits.server and (one := next(walk, None)) is not None:
        chosen.append(one)
    return chosen


def places(waiting: Sequence[Wanted], working: Sequence[Wanted], now: float) -> list[str]:
    """Return the runs that wait in the order in which they would go if each had room in turn."""
    return [each.run for each in _walk(waiting, _Counts(working), now, lambda _: True)]


def _walk(
    waiting: Sequence[Wanted], counts: _Counts, now: float, allowed: Callable[[Wanted], bool]
) -> Iterator[Wanted]:
    """Give who goes next, again and again, and count it as working.

    In a lane everybody has the same standing, so only its first has to be looked at; and since
    keys only grow, an old one on the heap is put right when it comes up.
    """
    lanes: dict[tuple[int, int, int, str], list[Wanted]] = {}
    for each in sorted(waiting, key=lambda one: (one.asked, one.run), reverse=True):
        kind = (each.rank, each.installation, each.repository, each.agent)
        lanes.setdefault(kind, []).append(each)
    heap = [(counts.key(lane[-1], now), lane[-1].run, lane) for lane in lanes.values()]
    heapq.heapify(heap)
    while heap:
        key, run, lane = heapq.heappop(heap)
        present = counts.key(lane[-1], now)
        if present != key:
            heapq.heappush(heap, (present, run, lane))
            continue
        if not allowed(lane[-1]):
            continue  # The counts only grow, so nobody in this lane has room.
        one = lane.pop()
        counts.add(one)
        yield one
        if lane:
            heapq.heappush(heap, (counts.key(lane[-1], now), lane[-1].run, lane))
