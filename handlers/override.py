"""`/override CHECK WHY` sets a red check aside on the present head, with a reason.

    /override lint The rule is wrong here; see the discussion above

It holds for that commit alone, and stands in the record and on the check itself with who did it and
why. Where no other check is red, the run is then ready for review. So it is with checks of the
repository's own that an approved merge waits for, red or not there: it is then merged. The rules
about what agents may change are not set aside like this: the configuration opens them.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.requests import same_head
from bot.router import Desk, Feature, Order
from bot.runs.model import Run
from bot.runs.transitions import State
from bot.visible import visible
from policies.verdict import code

REASON_LENGTH = 500
"""Characters of a reason: it stands on a check, and a longer one belongs in the conversation."""


async def handle(desk: Desk, order: Order) -> str | None:
    """Record that a check does not count on this head."""
    run = order.required_run()
    # The reason is what was typed, on the command's own line and below it.
    said = f"{order.command.text}\n\n{order.command.detail}".strip()

    def decide(now: Run) -> list[Event]:
        same_head(run, now)
        check, why = _read(now, said)
        data = {"check": check, "why": why, "sha": now.head, "tree": now.tree}
        return [order.event(desk, Type.OVERRIDDEN, data)]

    await desk.store.append(run.id, decide)
    return None


def _read(run: Run, said: str) -> tuple[str, str]:
    """Tell the check from the reason; `UserError` without such a red check, or a reason."""
    red = (*(run.still_red() if run.checked == run.head else ()), *run.unmet())
    if run.state not in (State.BLOCKED, State.MERGING) or not red:
        raise UserError("No check is red on the head, so there is nothing to override.")
    named = [name for name in red if said == name or said.startswith((f"{name} ", f"{name}\n"))]
    if not named:
        known = ", ".join(code(name) for name in red)
        raise UserError(f"Name a red check, then say why; red on the head: {known}.")
    check = max(named, key=len)
    why = visible(said[len(check) :]).strip()
    if not why:
        raise UserError(f"Say why {code(check)} does not count: it stands in the record.")
    if len(why) > REASON_LENGTH:
        raise UserError(f"A reason has at most {REASON_LENGTH} characters; make it shorter.")
    return check, why


FEATURE = Feature(
    Usage(
        "override",
        "sets a red check aside on this head; who and why stand on it",
        text="CHECK WHY",
        examples=("/override lint The rule is wrong here; see the discussion above",),
    ),
    handle,
)
