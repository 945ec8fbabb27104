"""`/diff` shows what changed between two checkpoints.

    /diff
    /diff 1..3
    /diff base..2
    /diff 2

Without arguments from the base to the head; with one number, what that checkpoint changed.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.router import Desk, Feature, Order
from bot.runs.points import ends


async def handle(desk: Desk, order: Order) -> str | None:
    """Answer with the files and, folded away, the patch."""
    run = order.required_run()
    old, new = ends(run, order.command.argument())
    return await desk.repositories.differences(run, old, new)


FEATURE = Feature(
    Usage(
        "diff",
        "shows what changed between two checkpoints",
        arguments=("[A..B]",),
        examples=("/diff", "/diff 1..3"),
    ),
    handle,
)
