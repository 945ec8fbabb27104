"""`/tell MESSAGE` says something to the agent at work.

    /tell leave the old name in place as an alias

An agent that can hear while it works is told at once, any other at the beginning of its next turn,
which it then gets where it has turns left; the status comment says which. Only `/tell` reaches the
agent: other comments are between people.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.router import Desk, Feature, Order
from bot.runs.model import Run
from bot.runs.transitions import State
from bot.visible import visible

HEARD_IN = frozenset(
    {
        *(State.QUEUED, State.PLANNING, State.AWAITING_APPROVAL, State.RUNNING, State.VALIDATING),
        *(State.PAUSED, State.BLOCKED),
    }
)
"""States from which a turn follows, or may follow, without asking for one."""

MESSAGE_LENGTH = 4_000
"""Characters of a message: a longer one belongs in an issue that the request links to."""


async def handle(desk: Desk, order: Order) -> str | None:
    """Keep the message for the agent; whoever works for the run hands it over."""
    run = order.required_run()
    parts = (order.command.text, order.command.detail)
    text = visible("\n\n".join(part for part in parts if part))
    if not text:
        raise UserError("The message is empty to whoever reads it. Usage: `/tell MESSAGE`")
    if len(text) > MESSAGE_LENGTH:
        raise UserError(
            f"A message has at most {MESSAGE_LENGTH:,} characters; this one has {len(text):,}."
        )

    def decide(now: Run) -> list[Event]:
        if now.state not in HEARD_IN:
            raise UserError(_nobody(now))
        return [order.event(desk, Type.TOLD, {"text": text})]

    await desk.store.append(run.id, decide)
    return None


def _nobody(run: Run) -> str:
    state = run.state.value.replace("_", " ")
    if run.state is State.AWAITING_REVIEW:
        return (
            f"No agent is at work: run `{run.id}` is {state}. "
            "`/orchestrate REQUEST` gives it a next turn with what you ask."
        )
    return f"No agent is at work: run `{run.id}` is {state}."


FEATURE = Feature(
    Usage(
        "tell",
        "says something to the agent at work: at once where it can hear, else at its next turn",
        text="MESSAGE",
        examples=("/tell leave the old name in place as an alias",),
    ),
    handle,
)
