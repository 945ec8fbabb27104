"""`/retry` runs the checks of the head again: all of them, or one.

/retry
/retry pytest
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Type
from bot.router import Desk, Feature, Order


async def handle(desk: Desk, order: Order) -> str | None:
    """Ask for the checks again."""
    run = order.required_run()
    check = order.command.argument()
    names = [each.name for each in run.outcomes]
    if run.last is None:
        raise UserError("This run has no checkpoint to check yet; `/resume` gives it a turn.")
    if check and check not in names:
        known = ", ".join(f"`{name}`" for name in names) or "none yet"
        raise UserError(f"There is no check `{check}`; the checks are: {known}.")
    await order.record(desk, run, Type.RETRIED, {"check": check})
    return None


FEATURE = Feature(
    Usage(
        "retry",
        "runs the checks of the head again",
        arguments=("[CHECK]",),
        examples=("/retry", "/retry pytest"),
    ),
    handle,
)
