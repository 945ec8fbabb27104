"""`/delegate @USER` lets somebody give, on this run, the commands that you may give.

    /delegate @grace

It holds for this run alone, until `/undelegate @grace` or the run's end, and only as long as you
may give the command yourself: both roles are asked of GitHub at each command. Whoever is delegated
to needs the triage role to steer, and write to decide. They do not delegate further, and who had a
part in the change lends nobody an approval of it. `commands: delegation: false` turns it off.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.router import Desk, Feature, Order
from bot.runs.fold import cannot
from bot.runs.model import Run
from bot.runs.transitions import TERMINAL
from bot.standing import at_least
from policies.facts import Role
from policies.sections import login_of
from policies.verdict import code


async def handle(desk: Desk, order: Order) -> str | None:
    """Record the delegation; `UserError` says why somebody cannot act for others."""
    run, name = order.required_run(), _named(order)
    if not order.config.commands.delegation:
        raise UserError(
            "Nobody acts for others here: `commands: delegation:` is off. Somebody with the role"
            " must give the command."
        )
    if name == order.person.login.lower():
        raise UserError("You may do all that already; name somebody else.")
    role = await desk.people.role(run.repository, name)
    if not at_least(role, Role.TRIAGE):
        raise UserError(
            f"{code(name)} has no role here that lets them command; give them triage or write on"
            " the repository first."
        )

    def decide(now: Run) -> list[Event]:
        if now.state in TERMINAL:
            raise UserError(cannot(now))
        return [order.event(desk, Type.DELEGATED, {"to": name})]

    await desk.store.append(run.id, decide)
    return (
        f"@{name} may now give on run `{run.id}` the commands that {code(order.person.login)} may"
        f" give; `/undelegate @{name}` takes it back."
    )


def _named(order: Order) -> str:
    """Return whom the command names, in small letters; `UserError` where that is nobody."""
    try:
        return login_of(order.command.argument() or "")
    except ValueError as error:
        raise UserError(str(error)) from error


FEATURE = Feature(
    Usage(
        "delegate",
        "lets somebody give, on this run, the commands that you may give",
        arguments=("@USER",),
        examples=("/delegate @grace",),
    ),
    handle,
)
