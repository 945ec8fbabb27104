"""The engine: what of DBOS runs in a process, beside what the stories of runs tell of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import FrameType

import dbos

from tests.support.world import World

PATIENCE_SECONDS = 30.0

HOME = Path(dbos.__file__).parent

LOOP = "_run_event_loop"
"""DBOS's own event loop: it sleeps until something is given to it, which nobody does."""


def at_work(frame: FrameType | None) -> set[str]:
    """The functions of DBOS that a thread is in, whatever they wait for."""
    found = set()
    while frame is not None:
        if Path(frame.f_code.co_filename).parent == HOME:
            found.add(frame.f_code.co_name)
        frame = frame.f_back
    return found


async def test_while_nothing_happens_nothing_of_dbos_looks_at_the_database(world: World) -> None:
    """Neither queues nor timers, schedules or messages: none of its threads does anything."""
    assert world.server.bot.engine
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            inside = set[str]().union(*map(at_work, sys._current_frames().values()))
            if inside == {LOOP}:
                break
            await asyncio.sleep(0.05)  # a loop ends at its next look
