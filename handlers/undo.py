"""`/undo` takes back the last commit on the run's branch, whatever made it, as a new commit.

    /undo

That is a turn of the agent, commits of people, a rollback, an update from the base, or an undo:
after a rollback it brings the rolled-back files back, and twice it gives back what was there.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.requests import ask_for_tree, takes_base_out
from bot.router import Desk, Feature, Order


async def handle(desk: Desk, order: Order) -> str | None:
    """Ask for the tree that was there before the last checkpoint."""
    run = order.required_run()
    if run.last is None:
        raise UserError("This run has no checkpoint yet, so there is nothing to undo.")
    number = run.last.number
    before = run.checkpoints[-2] if len(run.checkpoints) > 1 else None
    tree = before.tree if before else run.start_tree

    await ask_for_tree(desk, order, kind="undo", title=f"Undo checkpoint {number}", tree=tree)
    return takes_base_out(run, before)


FEATURE = Feature(
    Usage("undo", "takes back the last checkpoint, as a new commit", examples=("/undo",)), handle
)
