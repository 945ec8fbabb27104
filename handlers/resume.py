"""`/resume` goes on with a run that is paused, blocked or failed, from its last checkpoint.

    /resume
    /resume --agent codex
    /resume --budget +2

It gives the run as many turns again as the configuration allows, to the same agent or another,
which is told what was done so far. Where the run has used its budget, `--budget` or `--tokens`
gives more: `+2` two dollars more, `8` eight in all. `--minutes` bounds its turns from then on.
Commits that people pushed meanwhile become a checkpoint first.

While the agent works, `/resume --budget +2` lets the turn that is under way use more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.commands import Option, Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.requests import limits_of
from bot.router import Desk, Feature, Order
from bot.runs.budget import used_up
from bot.runs.model import Run
from bot.runs.transitions import State

AT_WORK = frozenset({State.QUEUED, State.PLANNING, State.RUNNING, State.VALIDATING})
"""States in which the run goes on by itself."""


async def handle(desk: Desk, order: Order) -> str | None:
    """Let the run go on."""
    run = order.required_run()
    agent = order.command.options.get("agent")
    data = {
        "agent": desk.choose_agent(agent, order.config) if agent else None,
        "turns": order.config.limits.turns,
    }

    def decide(now: Run) -> list[Event]:
        if now.taken:
            raise UserError(f"@{now.taken} has the branch; `/give` gives it back to the agent.")
        given = limits_of(now, order.command.options)
        if now.state in AT_WORK:
            return [_more(desk, order, now, given)]
        after = now.model_copy(
            update={
                "usd_limit": given["usd"] or now.usd_limit,
                "token_limit": given["tokens"] or now.token_limit,
            }
        )
        used = used_up(after)
        if used and _gives_a_turn(now):
            raise UserError(f"{used.reason} {used.next_step}")
        return [order.event(desk, Type.RESUMED, {**data, **given})]

    await desk.store.append(run.id, decide)
    return None


def _more(desk: Desk, order: Order, run: Run, given: Mapping[str, Any]) -> Event:
    """Give a run that is at work more to use; the turn under way hears of it."""
    if run.state is State.QUEUED:
        raise UserError(f"Run `{run.id}` has not begun yet; say it again when it has.")
    limits = {name: given[name] for name in ("usd", "tokens") if given[name]}
    if not limits or order.command.options.keys() - {"budget", "tokens"}:
        raise UserError(
            f"Run `{run.id}` is at work: `/resume --budget +2` alone gives it more meanwhile, and "
            "`/pause` stops it, so that it can go on otherwise."
        )
    return order.event(desk, Type.LIMITS_GIVEN, limits)


def _gives_a_turn(run: Run) -> bool:
    """Say whether the agent works next; commits of people are taken in first, at no cost."""
    stopped = run.state in (State.BLOCKED, State.PAUSED, State.FAILED)
    return stopped and not run.foreign and run.resume_to in (None, State.RUNNING)


FEATURE = Feature(
    Usage(
        "resume",
        "goes on with a run that is paused, blocked or failed, or gives one at work more to use",
        options=(
            Option("agent", "A"),
            Option("budget", "+USD"),
            Option("tokens", "+N"),
            Option("minutes", "N"),
        ),
        examples=("/resume", "/resume --agent codex", "/resume --budget +2"),
    ),
    handle,
)
