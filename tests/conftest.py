from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.cluster import Cluster, cluster
from tests.support.world import Repo, World, make_world

LONG = ("test_faults", "test_agents", "test_runs_in_every_state_come_back_and_go_on")
"""Tests that take a minute or more beside others, as all of `test_kill.py` do."""

# The usual ones show the local variables of each frame, which for a whole bot takes minutes.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

# How long an example takes says how busy the machine is, not what is wrong.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command called in this process sets where its log goes: the next test has its own again."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """One PostgreSQL for the whole session; a test makes a database of its own there."""
    with cluster() as made:
        yield made


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One hub and one bot for the whole session."""
    async with make_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
async def repo(world: World) -> AsyncIterator[Repo]:
    """A repository of the test's own; whatever the hub was told to do wrong is forgotten after."""
    yield await world.repository()
    world.hub.faults.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the longest tests, so that each process begins with one and none is left over."""
    long = [item for item in items if _is_long(item)]
    rest = [item for item in items if not _is_long(item)]
    stretch = len(rest) // max(1, len(long))
    for number, item in enumerate(long):
        rest.insert(number * (stretch + 1), item)
    items[:] = rest


def _is_long(item: pytest.Item) -> bool:
    name = item.name.partition("[")[0]
    return item.path.name == "test_kill.py" or name in LONG
