"""`/reject WHY` turns down the plan, or the head that was shown, and says what to change.

    /reject keep the public names as they are

A review that requests changes counts the same. For a plan, the reason goes into the next one; for
a head, it is the agent's next turn.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Type
from bot.requests import ask_for_changes
from bot.router import Desk, Feature, Order
from bot.runs.transitions import State


async def handle(desk: Desk, order: Order) -> str | None:
    """Record the rejection; the reason becomes what is asked next."""
    run = order.required_run()
    why = "\n\n".join(p for p in (order.command.text, order.command.detail) if p)
    plan = run.state is State.AWAITING_APPROVAL
    if not why and not plan:
        raise UserError("Say what should change, `/reject WHY`, or end the run with `/cancel`.")
    if plan:
        await order.record(desk, run, Type.REJECTED, {"why": why})
    else:
        await ask_for_changes(desk, order, run, why)
    return None


FEATURE = Feature(
    Usage(
        "reject",
        "turns down the plan or the head, and says what to change",
        text="[WHY]",
        examples=("/reject keep the public names as they are",),
    ),
    handle,
)
