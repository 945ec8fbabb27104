"""Leases and posts of several processes on one PostgreSQL, each played by a lease of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import httpx
import psycopg
import pytest
from sqlalchemy import update

from bot.app import Server, now
from bot.bus import Bus
from bot.database import Database, open_database, plain_url, runs
from bot.deliveries import PAGE
from bot.door import application
from bot.errors import OperatorError, TransientError
from bot.events import Type
from bot.leases import Lease, Posts, workers_of
from bot.runs.model import Run
from bot.runs.reconciler import Reconciler
from bot.runs.store import Change, Store
from bot.settings import Settings
from bot.shared import SharedForge, SharedInbox
from tests.bot.runs.test_store import REPOSITORY, event, requested
from tests.support.cluster import Cluster, needs_postgresql

pytestmark = needs_postgresql

PATIENCE_SECONDS = 60.0
"""How long what must happen may take: many times what it takes on a loaded machine."""


@pytest.fixture
async def url(postgresql: Cluster) -> str:
    return await postgresql.upgraded()


@dataclass(slots=True)
class Process:
    """What a process has of its own."""

    database: Database
    lease: Lease
    posts: Posts
    lost: list[str] = field(default_factory=list)


@pytest.fixture
async def processes(url: str) -> AsyncIterator[tuple[Process, Process]]:
    made = [await process(url), await process(url)]
    yield made[0], made[1]
    for each in made:
        await each.lease.release()
        await each.database.close()


async def process(url: str) -> Process:
    lost: list[str] = []
    database = await open_database(url)
    # So long that a busy machine does not end it meanwhile.
    lease = Lease(url, "worker", 600, on_lost=lambda: lost.append("lost"))
    await lease.take()
    database.fence(lease.id, lease.check)
    return Process(database, lease, Posts(database, lease), lost)


def end(url: str, lease: Lease) -> None:
    """Let a lease be over by the database's clock, as if its process had stood still."""
    with psycopg.connect(plain_url(url)) as connection:
        connection.execute(
            "UPDATE workers SET until = clock_timestamp() - interval '1 second' WHERE id = %s",
            (lease.id,),
        )


async def test_a_post_is_one_process_s_until_its_lease_is_over(
    url: str, processes: tuple[Process, Process]
) -> None:
    first, second = processes
    assert await first.posts.hold("deliveries")
    assert await first.posts.hold("deliveries")
    assert not await second.posts.hold("deliveries")
    assert await second.posts.hold("other")
    end(url, first.lease)
    assert await second.posts.hold("deliveries")
    gone, living = await second.posts.bury()
    assert (gone, living) == ([first.lease.id], [second.lease.id])
    assert await workers_of(second.database) == [second.lease.id]


async def test_of_many_who_want_a_post_at_once_one_has_it(
    processes: tuple[Process, Process],
) -> None:
    asked = [each.posts.hold(f"post {n}") for n in range(20) for each in processes]
    had = await asyncio.gather(*asked)
    assert [had[n] + had[n + 1] for n in range(0, len(had), 2)] == [1] * 20


async def test_who_lost_its_lease_writes_nothing_any_more(
    url: str, processes: tuple[Process, Process]
) -> None:
    first, second = processes
    stale, fresh = Store(first.database), Store(second.database)
    run, _ = await stale.create(REPOSITORY, requested())
    end(url, first.lease)
    first.lease._until = 0  # it stood still, and looks at its own clock as well
    with pytest.raises(TransientError, match="lost its lease"):
        await stale.append(run.id, lambda _: [event("t", Type.TOLD, text="too late")])
    assert first.lost
    await second.posts.bury()
    with pytest.raises(TransientError, match="lost its lease"):
        await stale.append(run.id, lambda _: [event("t", Type.TOLD, text="too late")])
    assert [each.type for each in await fresh.events(run.id)] == [Type.REQUESTED]


async def test_a_write_that_has_begun_is_before_the_burial(
    url: str, processes: tuple[Process, Process]
) -> None:
    first, second = processes
    store = Store(first.database)
    await store.create(REPOSITORY, requested())
    begun = asyncio.Event()

    async def slowly() -> None:
        async with first.database.write() as connection:
            begun.set()
            await asyncio.sleep(0.5)
            await connection.execute(update(runs).values(touched=99))

    writing = asyncio.create_task(slowly())
    await begun.wait()
    # By then the row is locked; only its end by the clock can still be changed.
    await asyncio.to_thread(end, url, first.lease)
    burying = asyncio.create_task(second.posts.bury())
    await asyncio.wait({writing, burying}, return_when=asyncio.FIRST_COMPLETED)
    assert writing.done()
    assert (await burying)[0] == [first.lease.id]


async def test_a_lease_is_renewed_as_long_as_it_lives(url: str) -> None:
    lease = Lease(url, "worker", 2.0, on_lost=lambda: None)
    await lease.take()
    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        query = "SELECT until FROM workers WHERE id = %s"
        before = connection.execute(query, (lease.id,)).fetchone()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while connection.execute(query, (lease.id,)).fetchone() == before:
                lease.pulse()
                await asyncio.sleep(0.05)
        await lease.release()
        assert connection.execute(query, (lease.id,)).fetchone() is None


async def test_without_a_database_there_is_no_lease() -> None:
    lease = Lease("postgresql://ada:hush@/none?host=/nowhere", "worker", 2.0)
    with pytest.raises(OperatorError, match="out of reach") as refused:
        await lease.take()
    assert "hush" not in str(refused.value)


async def test_a_change_here_is_heard_of_elsewhere(
    url: str, processes: tuple[Process, Process]
) -> None:
    here, there = (Store(each.database) for each in processes)
    heard: asyncio.Queue[Change] = asyncio.Queue()
    there.listen_elsewhere(heard.put_nowait)
    arrived = asyncio.Event()
    ours = Bus(url, processes[0].database, here, lambda: None)
    theirs = Bus(url, processes[1].database, there, arrived.set)
    await ours.start()
    await theirs.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await arrived.wait()  # it listens
            run, _ = await here.create(REPOSITORY, requested())
            assert await heard.get() == Change(run.id, 3, 7, scheduled=False)
            arrived.clear()
            ours.arrived()
            await arrived.wait()
    finally:
        await ours.stop()
        await theirs.stop()


async def test_what_others_keep_is_given_out_once_in_order_whatever_their_clocks_say(
    processes: tuple[Process, Process],
) -> None:
    stored: list[str] = []
    fast = SharedInbox(processes[0].database, lambda: stored.append("fast"))
    slow = SharedInbox(processes[1].database, lambda: stored.append("slow"))
    fast.now = lambda: 2_000_000_000.0
    assert await fast.store("a", "push", b"{}")
    assert [each.guid for each in await fast.waiting()] == ["a"]
    slow.now = lambda: 1_000_000_000.0
    assert await slow.store("b", "push", b"{}")
    assert not await fast.store("b", "push", b"{}")
    assert [each.guid for each in await fast.waiting(after="9999")] == ["b"]
    assert await fast.waiting() == []
    for n in range(PAGE + 3):
        await slow.store(f"more-{n}", "push", b"{}")
    pages = [await fast.waiting(), await fast.waiting(), await fast.waiting()]
    assert [len(page) for page in pages] == [PAGE, 3, 0]
    await fast.done("a")
    assert await fast.waiting() == []
    # Who takes the post over begins with all that is not obeyed.
    assert len(await slow.waiting(limit=1_000)) == PAGE + 4
    assert stored == ["fast", *["slow"] * (PAGE + 4)]


async def test_without_its_lease_a_process_is_not_ready(url: str) -> None:
    lease = Lease(url, "worker", 600, on_lost=lambda: None)

    class Served:
        settings, ready, bot = (
            Settings(),
            True,
            SimpleNamespace(shared=SimpleNamespace(lease=lease)),
        )
        is_ready = Server.is_ready

    door = httpx.ASGITransport(application(Served(), None))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=door, base_url="http://worker") as client:
        assert (await client.get("/readyz")).status_code == 503
        await lease.take()
        assert (await client.get("/readyz")).json() == {"ready": True}
        lease._until = 0  # it stood still
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
    await lease.release()


@dataclass(slots=True)
class Wall:
    """What two drawers see: each run as it was drawn last, and who is drawing now."""

    drawn: list[tuple[str, str]] = field(default_factory=list)
    drawing: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Painter:
    """A forge that only shows; it takes a while, in which nobody else may draw."""

    name: str
    wall: Wall

    async def refresh(self, run: Run) -> Run:
        return run

    async def show(self, run: Run, _results: object) -> None:
        self.wall.drawing.append(self.name)
        await asyncio.sleep(0.01)
        assert self.wall.drawing == [self.name]
        self.wall.drawing.remove(self.name)
        self.wall.drawn.append((self.name, run.request))


async def test_two_who_live_draw_an_installation_one_after_the_other(
    url: str, processes: tuple[Process, Process]
) -> None:
    wall, git = Wall(), cast("Any", None)  # a run that has not started has no record
    stores = [Store(each.database) for each in processes]
    async with contextlib.AsyncExitStack() as stack:
        for name, each, store in zip(("first", "second"), processes, stores, strict=True):
            forge = cast("Any", SharedForge(cast("Any", Painter(name, wall)), each.lease))
            hold, listens = each.posts.hold, asyncio.Event()
            for part in (
                Bus(url, each.database, store, listens.set),
                Reconciler(store, git, forge, now, gather=0.0, hold=hold),
            ):
                await part.start()
                stack.push_async_callback(part.stop)
            await listens.wait()
        drawer = Reconciler(stores[1], git, git, now, gather=0.0)
        assert await processes[0].posts.hold(f"draw:{REPOSITORY.installation}")

        async def ask(number: int) -> None:
            asked = requested(f"comment:{number}:1")
            data = {**asked.data, "request": f"wish {number}"}
            await stores[number % 2].create(REPOSITORY, asked.model_copy(update={"data": data}))

        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*map(ask, range(8)))
            await drawer.settled()
            assert sorted(wall.drawn) == [("first", f"wish {number}") for number in range(8)]
            # It stands still: the other one goes on, with what the first was told of as well.
            await asyncio.to_thread(end, url, processes[0].lease)
            await processes[1].posts.bury()
            await ask(9)
            await drawer.settled()
            assert wall.drawn[8:] == [("second", "wish 9")]
