"""`/take` gives the branch to a person: the agent stops, and all that it did is on the branch.

    /take

What the agent did so far becomes a checkpoint and is pushed, then the branch is yours: pull it, and
commit and push as to any other. Nothing of yours is overwritten. `/give` takes your commits in and
lets the run go on from them.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.router import Desk, Feature, Order
from bot.runs.model import Run
from policies.verdict import code


async def handle(desk: Desk, order: Order) -> str | None:
    """Pause the run for the person; what works for it notices, and publishes what there is."""
    run = order.required_run()
    login = order.person.login

    def decide(now: Run) -> list[Event]:
        if now.taken:
            raise UserError(f"@{now.taken} has the branch already; `/give` gives it back.")
        data = {
            "reason": f"@{login} has the branch {code(now.branch)}.",
            "next_step": "`/give` gives it back: what you pushed becomes a checkpoint, and the run"
            " goes on.",
        }
        return [order.event(desk, Type.TAKEN, data)]

    await desk.store.append(run.id, decide)
    return None


FEATURE = Feature(
    Usage("take", "gives the branch to you: the agent stops until `/give`", examples=("/take",)),
    handle,
)
