"""`/unhold` lifts what `/hold` laid on a run, whoever did; `/approve` then merges it.

    /unhold

A label that holds the pull request is taken off on GitHub.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.router import Desk, Feature, Order
from bot.runs.model import Run


async def handle(desk: Desk, order: Order) -> str | None:
    """Record that nobody holds the run by command any more."""

    def decide(now: Run) -> list[Event]:
        if not now.holds:
            raise UserError("Nobody holds this run by `/hold`; a label is taken off on GitHub.")
        return [order.event(desk, Type.RELEASED, {})]

    await desk.store.append(order.required_run().id, decide)
    return None


FEATURE = Feature(
    Usage("unhold", "lifts `/hold`, so that `/approve` merges again", examples=("/unhold",)), handle
)
