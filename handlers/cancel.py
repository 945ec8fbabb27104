"""`/cancel` ends a run for good; its branch and its record stay.

    /cancel

Closing the run's pull request does the same.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.events import Type
from bot.router import Desk, Feature, Order


async def handle(desk: Desk, order: Order) -> str | None:
    """Cancel the run; what works for it notices and stops."""
    run = order.required_run()
    data = {
        "reason": f"Cancelled by @{order.person.login}.",
        "next_step": "`/orchestrate REQUEST` starts a new run.",
    }
    await order.record(desk, run, Type.CANCELLED, data)
    return None


FEATURE = Feature(
    Usage("cancel", "ends the run; its branch and its record stay", examples=("/cancel",)), handle
)
