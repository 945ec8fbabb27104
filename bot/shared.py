"""Many processes on one PostgreSQL: what each of them does, and who goes on for the dead."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import structlog
from sqlalchemy import select

from bot.bus import Bus
from bot.database import Database
from bot.database import deliveries as table
from bot.deliveries import PAGE, Delivery, Inbox
from bot.errors import OperatorError, TransientError
from bot.leases import LOOK_SECONDS, Lease, Posts
from bot.runs.engine import SWEEP_SECONDS, Engine
from bot.runs.model import Approval, Run
from bot.runs.ports import Forge, Later, Merged, NotMerged, Surroundings
from bot.runs.store import Store
from policies.facts import BranchRules, Method, Reported

log = structlog.get_logger()

Role = Literal["serve", "web", "worker", "clock"]
"""`web` takes webhooks in, `worker` works on runs, `clock` starts those that are due; or all."""

DELIVERIES = "deliveries"
"""The post of who obeys what arrives, and asks GitHub for what did not: one keeps the order."""

SWEEPER = "sweeper"
"""The post of who goes on with segments that are nobody's any more."""

FOLDERS_MAX = 1_000
"""Processes with a folder of their own on one machine."""


def alone(role: Role) -> OperatorError:
    """Say that a SQLite file is for one process."""
    return OperatorError(
        f"`orchestrate {role}` is for a PostgreSQL that several processes share: set "
        "ORCHESTRATE_DATABASE_URL. With SQLite, `orchestrate serve` does everything in one."
    )


class Shared:
    """This process among those that share a database: its lease, its posts and the hints."""

    def __init__(self, url: str, database: Database, store: Store, role: Role, seconds: float):
        self.lease = Lease(url, role, seconds)
        self.posts = Posts(database, self.lease)
        self.inbox = SharedInbox(database, lambda: self.bus.arrived())
        self.bus = Bus(url, database, store, self.inbox.arrived.set)
        self._database = database
        self._tasks: set[asyncio.Task[None]] = set()
        self._folder_lock: int | None = None
        self._pulse: asyncio.Task[None] | None = None

    def take_folder(self, data: Path) -> Path:
        """Take a folder for this process's mirrors and workspaces, until it ends."""
        folder, self._folder_lock = folder_of(data)
        return folder

    async def start(self) -> None:
        """Take the lease; from now on nothing is written without it."""
        await self.lease.take()
        self._database.fence(self.lease.id, self.lease.check)
        await self.bus.start()
        self._pulse = asyncio.create_task(self._go_round())

    async def _go_round(self) -> None:
        while True:
            self.lease.pulse()
            await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> None:
        """Give everything back."""
        await self.dismiss()
        await self.bus.stop()
        await self.lease.release()
        if self._pulse:
            self._pulse.cancel()
        if self._folder_lock is not None:
            os.close(self._folder_lock)

    async def dismiss(self) -> None:
        """Wait for no post any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def leave(self) -> None:
        """Let others have the posts that are about everything, before what is under way ends."""
        for name in (DELIVERIES, SWEEPER):
            try:
                await self.posts.leave(name)
            except TransientError as error:
                log.warning("post not left", post=name, error=str(error))

    def keep(self, name: str, begin: Callable[[], Awaitable[None]]) -> None:
        """Do what a post is about, as soon as it is ours."""
        self._spawn(self.posts.keep(name, begin))

    def bury_the_dead(self, engine: Engine) -> None:
        """Let others go on with the segments of the dead; by our post, with lost ones as well.

        Every process buries: were it one's post, that one's death would cost another lease, and so
        would the death of the next.
        """

        async def bury() -> None:
            gone, _ = await self.posts.bury()
            if gone:
                log.warning("leases over", workers=gone)
            await engine.rescue()

        async def begin() -> None:
            self._spawn(_again(SWEEP_SECONDS, engine.revive))

        self._spawn(_again(LOOK_SECONDS, bury))
        self.keep(SWEEPER, begin)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _again(seconds: float, look: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await look()
        except Exception:
            # The boundary: whatever it was, the next look finds the same rows.
            log.exception("the dead not looked after")
        await asyncio.sleep(seconds)


class SharedInbox(Inbox):
    """The record of deliveries, into which other processes write as well."""

    def __init__(self, database: Database, on_stored: Callable[[], None]) -> None:
        super().__init__(database)
        self._on_stored = on_stored
        self._given: set[tuple[str, str]] = set()

    async def store(self, guid: str, event: str, body: bytes) -> bool:
        """Keep a delivery durably, and tell whoever obeys them."""
        fresh = await super().store(guid, event, body)
        if fresh:
            self._on_stored()
        return fresh

    async def waiting(self, *, after: str = "", limit: int = PAGE) -> list[Delivery]:
        """Return what is to be obeyed and was not returned before, in order of arrival.

        Not by the time of arrival: the clocks of several machines differ, and so does the order in
        which they commit.
        """
        columns = (table.c.guid, table.c.received_at)
        query = select(*columns).where(table.c.state == "waiting").order_by(table.c.received_at)
        now = [(row.guid, row.received_at) for row in await self._rows(query)]
        fresh = [each for each in now if each not in self._given][:limit]
        guids = [guid for guid, _ in fresh]
        full = select(table).where(table.c.guid.in_(guids)).order_by(table.c.received_at)
        rows = await self._rows(full) if guids else []
        self._given &= set(now)
        self._given.update(fresh)
        return [Delivery(r.guid, r.event, r.body, r.received_at, r.attempts, r.due) for r in rows]


class SharedForge:
    """A forge on which whoever has lost its lease has no effect any more."""

    def __init__(self, forge: Forge, lease: Lease) -> None:
        self._forge = forge
        self._lease = lease

    async def refresh(self, run: Run) -> Run:
        """Return the run with the repository's present name and address."""
        return await self._forge.refresh(run)

    async def show(self, run: Run, results: Sequence[Mapping[str, Any]]) -> int | None:
        """Draw what should stand there now; return the pull request's number, if there is one."""
        self._lease.check()
        return await self._forge.show(run, results)

    async def labels(self, run: Run) -> Sequence[str]:
        """Return the labels of the run's pull request."""
        return await self._forge.labels(run)

    async def rules(self, run: Run) -> BranchRules:
        """Ask what the rules of the run's base are now."""
        return await self._forge.rules(run)

    async def surroundings(self, run: Run) -> Surroundings:
        """Ask what speaks for and against the beginning of a run."""
        return await self._forge.surroundings(run)

    async def signatures(self, run: Run) -> tuple[str, ...]:
        """Ask which branches that the run's commits go to take only signed ones."""
        return await self._forge.signatures(run)

    async def reported(self, run: Run, sha: str, names: Collection[str]) -> tuple[Reported, ...]:
        """Ask what checks of these names, by whomever, say of a commit now."""
        return await self._forge.reported(run, sha, names)

    async def pushers(self, run: Run, tip: str) -> tuple[str, ...]:
        """Name who moved the run's branch from its own commits on to `tip`."""
        return await self._forge.pushers(run, tip)

    async def sign(self, run: Run, tree: str, parents: Sequence[str], text: str) -> bool:
        """Have a commit made and signed, and the branch moved to it; False where that moved."""
        self._lease.check()
        return await self._forge.sign(run, tree, parents, text)

    async def merge(
        self, run: Run, approval: Approval, method: Method, rules: BranchRules, body: str = ""
    ) -> Merged | NotMerged | Later:
        """Merge exactly the approved head, as the base's rules take it; merged before is merged."""
        self._lease.check()
        return await self._forge.merge(run, approval, method, rules, body)


def folder_of(data: Path) -> tuple[Path, int]:
    """Take the first free folder for a process's mirrors and workspaces; return it and its lock.

    The next process after one that ended finds its mirrors there. They are not shared: refs of a
    mirror are moved by one process alone.
    """
    for number in range(1, FOLDERS_MAX + 1):
        folder = data / "workers" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        return folder, handle
    raise OperatorError(f"{data / 'workers'} has no free folder; set ORCHESTRATE_DATA_DIR.")
