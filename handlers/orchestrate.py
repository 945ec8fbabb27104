"""`/orchestrate REQUEST` on an issue starts a run; on a run's pull request it is the next turn.

    /orchestrate add rate limiting to the API
    /orchestrate "rename --fast to --quick" --agent claude --budget 2 --minutes 20

The lines below the command, up to the next one, belong to the request. `--plan` shows the plan and
waits for `/approve` before an agent works. `--budget` is what the models may cost the whole run, in
dollars, and `--minutes` how long one turn may take; on a run's pull request `--budget +2` gives two
dollars more. On a pull request that no run made it goes on from the head, where that is trusted by
name and `trust: agents` is in the configuration: see `/orchestrate trust`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bot.commands import Option, Usage
from bot.errors import UserError
from bot.requests import ask_for_changes, start_run
from bot.router import Desk, Feature, Order
from bot.runs.budget import read_minutes, read_usd
from bot.runs.model import Source
from bot.runs.transitions import TERMINAL, State
from bot.trusting import counts
from policies.facts import WorkFacts
from policies.trust import check_work
from policies.verdict import code


async def handle(desk: Desk, order: Order) -> str | None:
    """Start a run, or give the run of this pull request its next turn."""
    run, spoken = order.run, order.spoken
    own = run and not run.trusted and spoken.conversation.number == run.pull_request
    if run and own and run.state not in TERMINAL:
        await ask_for_changes(desk, order, run, _request(order))
        return None
    if run and own:
        raise UserError(
            f"Run `{run.id}` of this pull request is over; give the request on an issue."
        )
    options = order.command.options
    onto = await _onto(desk, order) if spoken.conversation.is_pull else {}
    budget, minutes = options.get("budget"), options.get("minutes")
    data = {
        "request": _request(order),
        "agent": options.get("agent"),
        "base": options.get("base"),
        "budget": read_usd(budget).value if budget else None,
        "minutes": read_minutes(minutes) if minutes else None,
        "plan": "plan" in options,
        **onto,
    }
    kind = "cli" if spoken.how == "cli" else "comment"
    source = Source(kind=kind, key=order.cause, url=spoken.url)
    await start_run(desk, spoken, order.config, source, data)
    return None


async def _onto(desk: Desk, order: Order) -> dict[str, Any]:
    """Say which commit of a pull request that no run made the run goes on from.

    It goes where that pull request does. Trust is of this pull request: another one may have the
    same head.
    """
    spoken = order.spoken
    number = spoken.conversation.number
    pull, known = await asyncio.gather(
        desk.threads.pull(spoken.repository, number),
        desk.store.of_thread(spoken.repository.id, number),
    )
    trusted = [run for run in known if run.trusted and run.state is not State.CANCELLED]
    here = frozenset(
        [
            run.trusted
            for run in trusted
            if run.pull_request == number
            and await counts(desk.threads, desk.store, desk.usages, run, order.config)
        ]
    )
    facts = WorkFacts(pull.head_sha, here, is_open=pull.state == "open")
    verdict = check_work(facts, order.config)
    if not verdict.allowed:
        raise UserError(verdict.reason)
    if order.command.options.get("base", pull.base_ref) != pull.base_ref:
        raise UserError(
            f"It goes into {code(pull.base_ref)}, as #{number} does; leave `--base` out."
        )
    onto = {"pull": number, "sha": pull.head_sha, "author": pull.author}
    return {"onto": onto, "base": pull.base_ref}


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
