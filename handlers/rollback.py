"""`/rollback` puts the files back as they were at a checkpoint, as a new commit on top.

    /rollback 2
    /rollback 1a2b3c4
    /rollback base

Nothing is dropped: the later checkpoints stay in the history, and `/undo` takes the rollback back.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.requests import ask_for_tree
from bot.router import Desk, Feature, Order
from bot.runs.model import Run
from bot.runs.points import checkpoint_named


async def handle(desk: Desk, order: Order) -> str | None:
    """Ask for the tree of a checkpoint, or of the base."""
    run = order.required_run()
    point = checkpoint_named(run, order.command.argument() or _before(run))
    title = f"Roll back to checkpoint {point.number}" if point else "Roll back to the base"
    tree = point.tree if point else run.base_tree
    await ask_for_tree(desk, order, kind="rollback", title=title, tree=tree)
    return None


def _before(run: Run) -> str:
    """Name the point before the last checkpoint."""
    return str(run.checkpoints[-2].number) if len(run.checkpoints) > 1 else "base"


FEATURE = Feature(
    Usage(
        "rollback",
        "restores the files of a checkpoint, as a new commit",
        arguments=("[N|SHA|base]",),
        examples=("/rollback 2", "/rollback base"),
    ),
    handle,
)
