"""`/hold [WHY]` keeps a run from being merged until `/unhold`, whoever approves it.

    /hold until the release is out

The run goes on otherwise, and approvals are noted. A label that `hold: labels:` names does the same
as long as it is on the pull request. A run that waits in GitHub's merge queue, or for GitHub to
merge it, is taken out of there.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.router import Desk, Feature, Order
from bot.runs.fold import cannot
from bot.runs.model import Run
from bot.runs.transitions import TERMINAL
from bot.runs.waking import wake
from bot.visible import visible

REASON_LENGTH = 500
"""Characters of a reason: it stands in the status comment, and a longer one belongs below it."""


async def handle(desk: Desk, order: Order) -> str | None:
    """Record who holds the run, and why; the same person's newest reason counts."""
    why = visible(order.command.text).strip()
    if len(why) > REASON_LENGTH:
        raise UserError(f"A reason has at most {REASON_LENGTH} characters; make it shorter.")

    def decide(now: Run) -> list[Event]:
        if now.state in TERMINAL:
            raise UserError(cannot(now))
        return [order.event(desk, Type.HELD, {"why": why} if why else {})]

    run = await desk.store.append(order.required_run().id, decide)
    # GitHub may be about to merge it: the merge is looked at again, and taken back there.
    await wake(desk.store, run, f"hold:{order.cause}", desk.clock())
    return None


FEATURE = Feature(
    Usage(
        "hold",
        "keeps the run from being merged until `/unhold`",
        text="[WHY]",
        examples=("/hold", "/hold until the release is out"),
    ),
    handle,
)
