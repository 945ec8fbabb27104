from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.world import World


@pytest.fixture(autouse=True)
async def _well_behaved(world: World) -> AsyncIterator[None]:
    """Whatever the hub was told to do wrong is forgotten after the test."""
    yield
    world.hub.faults.clear()
