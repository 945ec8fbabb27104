"""`/rollback` puts the files back as they were at a checkpoint, as a new commit on top.

    /rollback 2
    /rollback 1a2b3c4
    /rollback base

Nothing is dropped: the later checkpoints stay in the history, and `/undo` takes the rollback back.
"""

from __future__ import annotations

import re

from bot.commands import Usage
from bot.errors import UserError
from bot.requests import ask_for_tree
from bot.router import Desk, Feature, Order
from bot.runs.model import Run

SHA_LEAST = 7
"""Characters of a SHA that name a commit: what git itself shows."""


async def handle(desk: Desk, order: Order) -> str | None:
    """Ask for the tree of a checkpoint, or of the base."""
    name, tree = target(order.required_run(), order.command.argument())
    await ask_for_tree(desk, order, kind="rollback", title=f"Roll back to {name}", tree=tree)
    return None


def target(run: Run, text: str) -> tuple[str, str]:
    """Return the name and the tree of what `text` means; without text, the checkpoint before."""
    if not run.checkpoints:
        raise UserError("This run has no checkpoint yet, so there is nothing to roll back.")
    if not text:
        before = run.checkpoints[-2] if len(run.checkpoints) > 1 else None
        return (f"checkpoint {before.number}", before.tree) if before else _base(run)
    if text.lower() == "base" or (len(text) >= SHA_LEAST and run.base_sha.startswith(text)):
        return _base(run)
    for checkpoint in run.checkpoints:
        by_sha = len(text) >= SHA_LEAST and checkpoint.sha.startswith(text.lower())
        if by_sha or (re.fullmatch(r"\d{1,6}", text) and int(text) == checkpoint.number):
            return f"checkpoint {checkpoint.number}", checkpoint.tree
    last = run.checkpoints[-1].number
    raise UserError(f"There is no checkpoint `{text}`: give a number from 1 to {last}, or `base`.")


def _base(run: Run) -> tuple[str, str]:
    return "the base", run.base_tree


FEATURE = Feature(
    Usage(
        "rollback",
        "restores the files of a checkpoint, as a new commit",
        arguments=("[N|SHA|base]",),
        examples=("/rollback 2", "/rollback base"),
    ),
    handle,
)
