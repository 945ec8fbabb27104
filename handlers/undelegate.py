"""`/undelegate @USER` takes back what `/delegate` gave somebody on this run, whoever gave it.

    /undelegate @grace

What they did meanwhile stands, but for approvals: an approval counts only if who gave it may
approve when the last one does.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.router import Desk, Feature, Order
from bot.runs.model import Run
from policies.sections import login_of
from policies.verdict import code


async def handle(desk: Desk, order: Order) -> str | None:
    """Record that somebody acts for nobody on this run any more."""
    run = order.required_run()
    try:
        name = login_of(order.command.argument() or "")
    except ValueError as error:
        raise UserError(str(error)) from error

    def decide(now: Run) -> list[Event]:
        if name not in {each.to for each in now.delegates}:
            known = ", ".join(sorted({code(each.to) for each in now.delegates})) or "nobody"
            raise UserError(f"{code(name)} acts for nobody on this run; who does: {known}.")
        return [order.event(desk, Type.UNDELEGATED, {"to": name})]

    await desk.store.append(run.id, decide)
    return f"{code(name)} acts for nobody on run `{run.id}` any more."


FEATURE = Feature(
    Usage(
        "undelegate",
        "takes back what `/delegate` gave somebody on this run",
        arguments=("@USER",),
        examples=("/undelegate @grace",),
    ),
    handle,
)
