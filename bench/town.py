"""The product as it is run, in many processes that may be killed, beside a hub and a database.

Its processes are forked from one that has imported the product (`tests.support.killable`), so that
a life begins in a moment; whoever dies is begun again, as systemd or Kubernetes does.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench.wire import Wire, wire
from bot.database import plain_url
from bot.hub import Credentials, Hub, add_repository, seed, serve
from bot.schema import upgrade
from bot.shared import Role
from tests.support.cluster import Cluster
from tests.support.killable import Life, Nursery, Order
from tests.support.stories import TLS, Scene, files_of, unmount
from tests.support.world import KEPT

PATIENCE_SECONDS = 300.0
"""How long anything may take that must happen: many times what it takes on a loaded machine."""

LOOK_SECONDS = 0.05

RECONCILE_MINUTES = 0.05
"""How often lost deliveries are looked for, so that nobody waits five minutes for one."""

TRIES = 2
"""How often it is tried again to kill a process at a boundary that it did not come by."""

SEGMENTS = 6
"""Runs worked on at once in one process."""

SHARED_ROLES: tuple[Role, ...] = ("web", "worker", "worker", "clock")


@dataclass(frozen=True, slots=True)
class Target:
    """A boundary at which a process is to be killed, and how often that was tried in vain."""

    role: Role
    instant: str
    tries: int = 0


@dataclass(slots=True)
class Place:
    """One process of the town, in all its lives."""

    role: Role
    port: int
    lives: int = 0
    life: Life | None = None
    begun: float = math.inf
    target: Target | None = None
    stands_still: bool = False


@dataclass(slots=True)
class Town:
    """A hub, a database, and the processes between them."""

    folder: Path
    hub: Hub
    wire: Wire
    credentials: Credentials
    nursery: Nursery
    database: str
    places: list[Place]
    cluster: Cluster | None = None
    kills: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    targets: deque[Target] = field(default_factory=deque)
    met: set[tuple[Role, str]] = field(default_factory=set)
    shots: int = 0
    _people: httpx.AsyncClient = field(
        default_factory=lambda: httpx.AsyncClient(verify=TLS, timeout=60, limits=KEPT)
    )
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _ending: bool = False
    _stories: int = 0

    # -- processes

    async def begin(self) -> None:
        """Start every process, and wait until webhooks are taken and runs are worked on."""
        for place in self.places:
            await self._bear(place)
            self._spawn(self._keep(place))
        await asyncio.gather(*(self._ready(place) for place in self.places))

    async def _bear(self, place: Place) -> None:
        place.lives += 1
        place.begun, place.target = math.inf, self._next_target(place.role)
        name = self._name(place)
        settings = {
            "database_url": self.database,
            "data_dir": str(self.folder / "data"),
            "github_api_url": self.wire.api_url,
            "app_id": str(self.credentials.app_id),
            "private_key": self.credentials.private_key,
            "webhook_secret": self.credentials.webhook_secret,
            "write_spacing_seconds": 0.0,
            "gather_seconds": 0.05,
            "reconcile_minutes": RECONCILE_MINUTES,
            "workers": SEGMENTS,
        }
        trace = str(self.folder / f"{name}.trace")
        log = str(self.folder / f"{name}.log")
        kill_at = (f"{place.target.instant} #1",) if place.target else ()
        order = Order(settings, place.port, trace, log, kill_at, place.role)
        place.life = await self.nursery.bear(order)
        self._spawn(self._note_begin(place))

    def _is_ending(self) -> bool:
        return self._ending

    def _name(self, place: Place) -> str:
        return f"{place.role}-{self.places.index(place)}"

    def _next_target(self, role: Role) -> Target | None:
        found = next((each for each in self.targets if each.role == role), None)
        if self.shots <= 0 or found is None:
            return None
        self.shots -= 1
        self.targets.remove(found)
        return found

    def _at_target(self, place: Place) -> None:
        """Note whether the death of a process was where it was to be; else that is tried again."""
        if place.target is None:
            return
        trace = (self.folder / f"{self._name(place)}.trace").read_text().splitlines()
        if trace and trace[-1] == f"{place.target.instant} #1":
            self.met.add((place.role, place.target.instant))
        elif place.target.tries < TRIES:
            self.targets.append(replace(place.target, tries=place.target.tries + 1))

    async def _keep(self, place: Place) -> None:
        """Begin the next life wherever one ends; who was killed at an instant, is counted."""
        while not self._ending:
            life = place.life
            assert life
            status = await asyncio.shield(life.ended)
            if self._is_ending():
                return
            if status == -signal.SIGKILL:
                self.kills[place.role] += 1
                self.watch_takeover(life.pid)
            self._at_target(place)
            place.stands_still = False
            await self._bear(place)

    async def _ready(self, place: Place) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    found = await self._people.get(f"http://127.0.0.1:{place.port}/readyz")
                    if found.status_code == 200:
                        return
                await asyncio.sleep(LOOK_SECONDS)

    async def _note_begin(self, place: Place) -> None:
        """A life counts from when it does what it is there for, however slow the machine is."""
        await self._ready(place)
        place.begun = time.monotonic()

    # -- what befalls them

    def of(self, *roles: Role) -> list[Place]:
        """The processes of some roles that are up and about."""
        up = [each for each in self.places if each.life and each.life.is_alive]
        return [each for each in up if each.role in roles and not each.stands_still]

    def kill(self, place: Place) -> None:
        """Kill it without a word."""
        assert place.life
        place.life.kill()

    def watch_takeover(self, pid: int) -> None:
        """Measure how long what a dead or stopped worker had takes to be somebody else's."""
        if self.cluster:
            self._spawn(self._taken_over(pid, time.monotonic()))

    async def _taken_over(self, pid: int, died: float) -> None:
        his = f"status = 'PENDING' AND executor_id LIKE '%-{pid}-%'"
        query = f"SELECT count(*) FROM dbos.workflow_status WHERE {his}"  # noqa: S608  a number
        had = False
        while not self._ending:
            try:
                left = await asyncio.to_thread(self.count, query)
            except psycopg.Error:  # it is being killed itself: what it takes is not the workers'
                return
            if not left:
                break
            had = True
            await asyncio.sleep(LOOK_SECONDS)
        if had:
            self.takeovers.append(time.monotonic() - died)

    def count(self, query: str) -> int:
        """Ask the shared database for a number."""
        with psycopg.connect(plain_url(self.database), connect_timeout=5) as connection:
            found = connection.execute(query.encode()).fetchone()
            return int(found[0]) if found else 0

    async def stand_still(self, place: Place, seconds: float) -> bool:
        """Stop a process and let it go on; say whether it ended itself, as one must whose lease
        is over."""
        life = place.life
        assert life
        place.stands_still = True
        life.kill(signal.SIGSTOP)
        self.kills["stopped"] += 1
        self.watch_takeover(life.pid)
        await asyncio.sleep(seconds)
        life.kill(signal.SIGCONT)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS / 10):
                await asyncio.shield(life.ended)
        except TimeoutError:
            place.stands_still = False
            return False
        return True

    async def kill_database(self, seconds: float) -> None:
        """Kill PostgreSQL, and start it again after a while."""
        assert self.cluster
        self.kills["postgresql"] += 1
        await asyncio.to_thread(self.cluster.stop, signal.SIGKILL)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.cluster.start)

    # -- stories

    async def scene(self, kind: str, **more: Any) -> Scene:
        """Make a repository for a story."""
        self._stories += 1
        name = f"{kind.replace('_', '-')}-{self._stories}"
        await add_repository(self.hub, name, files=files_of(kind, f"marker-{name}", **more))
        return Scene(self.hub, f"acme/{name}", self._people)

    def passed(self) -> list[tuple[Role, str]]:
        """The kinds of instants that the lives so far have passed by, in order, by role."""
        found: dict[tuple[Role, str], None] = {}
        for place in self.places:
            path = self.folder / f"{self._name(place)}.trace"
            for line in path.read_text().splitlines() if path.exists() else ():
                found[place.role, line.partition(" #")[0]] = None
        return list(found)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Kill every process; nothing of them is left."""
        self._ending = True
        for place in self.places:
            if place.life:
                place.life.kill(signal.SIGCONT)
                place.life.kill()
                await place.life.ended
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._people.aclose()
        unmount(self.folder)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.asynccontextmanager
async def town(
    folder: Path, nursery: Nursery, chance: random.Random, cluster: Cluster | None
) -> AsyncIterator[Town]:
    """Bring a town to life: on a PostgreSQL many processes, on SQLite the one that there is."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    roles: tuple[Role, ...] = SHARED_ROLES if cluster else ("serve",)
    places = [Place(role, free_port()) for role in roles]
    hub = Hub(folder / "hub", hourly_limit=10_000_000)
    credentials = await seed(
        hub,
        webhook_url=f"http://127.0.0.1:{places[0].port}/webhook",
        files={"README.md": "# Widgets\n"},
    )
    if cluster:
        database = cluster.database()
        await upgrade(database)
    else:
        await asyncio.to_thread(os.makedirs, folder / "data")
        database = f"sqlite:///{folder / 'data' / 'orchestrate.db'}"
    async with serve(hub), wire(hub, chance) as door:
        made = Town(folder, hub, door, credentials, nursery, database, places, cluster)
        try:
            await made.begin()
            yield made
        finally:
            await made.end()
