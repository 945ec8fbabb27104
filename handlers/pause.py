"""`/pause` stops a run at once; what the agent did so far becomes a checkpoint.

    /pause

`/resume` goes on from there.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.events import Type
from bot.router import Desk, Feature, Order


async def handle(desk: Desk, order: Order) -> str | None:
    """Pause the run; what works for it notices and stops."""
    run = order.required_run()
    data = {
        "reason": f"Paused by @{order.person.login}.",
        "next_step": "`/resume` goes on, `/cancel` ends the run.",
    }
    await order.record(desk, run, Type.PAUSED, data)
    return None


FEATURE = Feature(
    Usage("pause", "stops the run at once, keeping what was done", examples=("/pause",)), handle
)
