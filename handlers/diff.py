"""`/diff` shows what changed between two checkpoints.

    /diff
    /diff 1..3
    /diff base..2
    /diff 2

Without arguments from the base to the head; with one number, what that checkpoint changed.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.router import Desk, Feature, Order
from bot.runs.model import Run


async def handle(desk: Desk, order: Order) -> str | None:
    """Answer with the files and, folded away, the patch."""
    run = order.required_run()
    old, new = ends(run, order.command.argument())
    return await desk.repositories.differences(run, old, new)


def ends(run: Run, text: str) -> tuple[str, str]:
    """Return the two commits that `text` means."""
    if not run.checkpoints:
        raise UserError("This run has no checkpoint yet, so there is nothing to compare.")
    if not text:
        return run.base_sha, run.head
    if ".." in text:
        left, _, right = text.partition("..")
        return _commit(run, left.strip(".")), _commit(run, right.strip(".") or "head")
    new = _commit(run, text)
    if new == run.base_sha:
        raise UserError("The base is where the run began; compare it: `/diff base..1`.")
    return next(c.parent for c in run.checkpoints if c.sha == new), new


def _commit(run: Run, name: str) -> str:
    if name in ("", "base"):
        return run.base_sha
    if name == "head":
        return run.head
    for checkpoint in run.checkpoints:
        if name == str(checkpoint.number) or (len(name) >= 7 and checkpoint.sha.startswith(name)):
            return checkpoint.sha
    last = run.checkpoints[-1].number
    raise UserError(f"There is no checkpoint `{name}`: give a number from 1 to {last}, or `base`.")


FEATURE = Feature(
    Usage(
        "diff",
        "shows what changed between two checkpoints",
        arguments=("[A..B]",),
        examples=("/diff", "/diff 1..3"),
    ),
    handle,
)
