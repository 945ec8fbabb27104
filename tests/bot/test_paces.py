"""How fast several processes write to GitHub for one installation, together."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.database import Database, open_database
from bot.errors import TransientError
from bot.github.pacing import Pace
from bot.paces import DatabaseBuckets
from tests.support.cluster import Cluster, needs_postgresql

pytestmark = needs_postgresql


@pytest.fixture
async def databases(postgresql: Cluster) -> AsyncIterator[tuple[Database, Database]]:
    """The same database, as two processes have it open."""
    url = await postgresql.upgraded()
    made = await open_database(url), await open_database(url)
    yield made
    for each in made:
        await each.close()


async def test_processes_take_from_one_bucket(databases: tuple[Database, Database]) -> None:
    here, there = (DatabaseBuckets(each, 3) for each in databases)
    sizes = [(3, 1000.0), (100, 1.0)]
    waits = [(await each.take(sizes))[0] for each in (here, there, here, there, here)]
    assert waits[:3] == [0.0, 0.0, 0.0]
    # A test takes its time, and what passes meanwhile is not waited for.
    assert 900 < waits[3] <= 1000
    assert 1900 < waits[4] <= 2000
    assert (await DatabaseBuckets(databases[0], 4).take(sizes))[0] == 0.0


async def test_what_github_asks_of_one_process_holds_for_all(
    databases: tuple[Database, Database],
) -> None:
    here, there = (Pace(0.001, shared=DatabaseBuckets(each, 3)) for each in databases)
    async with here.slot(write=True):
        here.pause(600.0)
    with pytest.raises(TransientError) as told:
        async with there.slot(write=True):
            raise AssertionError("asked all the same")
    assert told.value.retry_after is not None
    assert 500 < told.value.retry_after <= 600
