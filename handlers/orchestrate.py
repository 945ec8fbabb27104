"""`/orchestrate REQUEST` on an issue starts a run; on a run's pull request it is the next turn.

    /orchestrate add rate limiting to the API
    /orchestrate "rename --fast to --quick" --agent claude --budget 2 --minutes 20

The lines below the command, up to the next one, belong to the request. `--plan` shows the plan and
waits for `/approve` before an agent works. `--budget` is what the models may cost the whole run, in
dollars, and `--minutes` how long one turn may take; on a run's pull request `--budget +2` gives two
dollars more.
"""

from __future__ import annotations

from bot.commands import Option, Usage
from bot.errors import UserError
from bot.requests import ask_for_changes, start_run
from bot.router import Desk, Feature, Order
from bot.runs.budget import read_minutes, read_usd
from bot.runs.model import Source
from bot.runs.transitions import TERMINAL


async def handle(desk: Desk, order: Order) -> str | None:
    """Start a run, or give the run of this pull request its next turn."""
    run, spoken = order.run, order.spoken
    if run and spoken.conversation.number == run.pull_request and run.state not in TERMINAL:
        await ask_for_changes(desk, order, run, _request(order))
        return None
    if spoken.conversation.is_pull:
        raise UserError("This pull request belongs to no run; give the request on an issue.")
    options = order.command.options
    budget, minutes = options.get("budget"), options.get("minutes")
    data = {
        "request": _request(order),
        "agent": options.get("agent"),
        "base": options.get("base"),
        "budget": read_usd(budget).value if budget else None,
        "minutes": read_minutes(minutes) if minutes else None,
        "plan": "plan" in options,
    }
    kind = "cli" if spoken.how == "cli" else "comment"
    source = Source(kind=kind, key=order.cause, url=spoken.url)
    await start_run(desk, spoken, order.config, source, data)
    return None


def _request(order: Order) -> str:
    """Return what was asked: the rest of the line, the lines below it, and where."""
    place = f"(Asked at {order.spoken.place}.)" if order.spoken.place else ""
    return "\n\n".join(p for p in (order.command.text, order.command.detail, place) if p)


FEATURE = Feature(
    Usage(
        "orchestrate",
        "starts a run from an issue; on a run's pull request, asks for the next turn",
        text="REQUEST",
        options=(
            Option("agent", "A"),
            Option("base", "B"),
            Option("budget", "USD"),
            Option("minutes", "N"),
            Option("plan"),
        ),
        examples=("/orchestrate add rate limiting to the API", "/orchestrate fix #12 --plan"),
    ),
    handle,
)
