"""`/resume` goes on with a run that is paused, blocked or failed, from its last checkpoint.

    /resume
    /resume --agent codex

It gives the run as many turns again as the configuration allows, to the same agent or another.
Commits that people pushed meanwhile become a checkpoint first.
"""

from __future__ import annotations

from bot.commands import Option, Usage
from bot.events import Type
from bot.router import Desk, Feature, Order


async def handle(desk: Desk, order: Order) -> str | None:
    """Let the run go on."""
    run = order.required_run()
    agent = order.command.options.get("agent")
    data = {
        "agent": desk.choose_agent(agent, order.config) if agent else None,
        "turns": order.config.limits.turns,
    }
    await order.record(desk, run, Type.RESUMED, data)
    return None


FEATURE = Feature(
    Usage(
        "resume",
        "goes on with a run that is paused, blocked or failed",
        options=(Option("agent", "A"),),
        examples=("/resume", "/resume --agent codex"),
    ),
    handle,
)
