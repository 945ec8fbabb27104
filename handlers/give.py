"""`/give` gives a taken branch back: commits on it become a checkpoint, and the run goes on.

    /give

The commits stay as they are, with their authors; they are checked, and the agent goes on from them
where the plan is not finished; one that finds nothing left to do finishes it. Whoever has the right
may give back what somebody else took.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.router import Desk, Feature, Order
from bot.runs.model import Run


async def handle(desk: Desk, order: Order) -> str | None:
    """Take in what is on the branch now, and let the run go on."""
    run = order.required_run()
    if not run.taken:
        raise UserError(_not_taken(run))
    # GitHub may not have told of the last push yet, so the branch itself is looked at.
    after = await desk.repositories.pushed(run)

    def decide(now: Run) -> list[Event]:
        if not now.taken:
            raise UserError(_not_taken(now))
        data = {"after": after, "turns": order.config.limits.turns, "from": now.taken}
        return [order.event(desk, Type.GIVEN, data)]

    await desk.store.append(run.id, decide)
    return None


def _not_taken(run: Run) -> str:
    if run.foreign:
        return "Nobody took the branch; `/resume` takes in what was pushed to it."
    return "Nobody took the branch, so there is nothing to give back; `/take` takes it."


FEATURE = Feature(
    Usage(
        "give",
        "gives a taken branch back: your commits become a checkpoint, and the run goes on",
        examples=("/give",),
    ),
    handle,
)
