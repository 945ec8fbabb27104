"""`/undo` takes back the last commit on the run's branch, whoever made it, as a new commit.

    /undo

After a rollback it brings the rolled-back files back; after an undo it does again what was undone.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.requests import ask_for_tree
from bot.router import Desk, Feature, Order


async def handle(desk: Desk, order: Order) -> str | None:
    """Ask for the tree that was there before the last checkpoint."""
    run = order.required_run()
    if run.last is None:
        raise UserError("This run has no checkpoint yet, so there is nothing to undo.")
    number = run.last.number
    tree = run.checkpoints[-2].tree if len(run.checkpoints) > 1 else run.base_tree

    await ask_for_tree(desk, order, kind="undo", title=f"Undo checkpoint {number}", tree=tree)
    return None


FEATURE = Feature(
    Usage("undo", "takes back the last checkpoint, as a new commit", examples=("/undo",)), handle
)
