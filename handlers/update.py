"""`/update` brings the base branch in: it is merged into the run's branch and checked.

    /update

The merge is a checkpoint of its own, with the base's commit as its second parent, so `/undo` takes
it back. From then on `/diff` and `/rollback base` mean the base that was brought in. What it brings
is the work of people, which the rules do not bind; what the run itself changed is judged once more,
since it may have come to lie elsewhere.

Where the two conflict, nothing is changed: the answer names the files and the lines.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.requests import same_head
from bot.router import Desk, Feature, Order
from bot.runs.fold import cannot
from bot.runs.model import Run
from bot.runs.texts import title_line
from bot.runs.transitions import Trigger, possible
from policies.verdict import code


async def handle(desk: Desk, order: Order) -> str | None:
    """Ask for the base as it is now to be merged in, where it merges."""
    run = order.required_run()
    if Trigger.UPDATE_ASKED not in possible(run.state):
        raise UserError(cannot(run))
    if run.last is None:
        raise UserError(
            "This run has no checkpoint yet that the base could be brought into; `/resume` gives "
            "it a turn, and after `/cancel` a new run begins on the base as it is now."
        )
    base = await desk.repositories.newer_base(run)
    if base is None:
        return f"{code(run.base)} has nothing that this run does not have; nothing was changed."
    data = {
        "base_sha": base.sha,
        "base_tree": base.tree,
        "title": title_line(f"Bring in {run.base} at {base.sha[:7]}"),
        "at": desk.clock().isoformat(),
        "by": order.person.login,
    }

    def decide(now: Run) -> list[Event]:
        same_head(run, now)
        return [order.event(desk, Type.UPDATE_ASKED, data)]

    await desk.store.append(run.id, decide)
    return None


FEATURE = Feature(
    Usage("update", "brings the base branch in, and checks the result", examples=("/update",)),
    handle,
)
