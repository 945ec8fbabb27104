"""How a request becomes a run, or the next turn of one, whichever way it was made."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bot.context import context_of
from bot.errors import ConfigError, UserError
from bot.events import Event, Type
from bot.router import Desk, Order, Spoken
from bot.runs.budget import read_minutes, read_tokens, read_usd, token_limit, usd_limit
from bot.runs.day import spent_today
from bot.runs.model import Checkpoint, Repository, Run, Source, run_id
from bot.runs.texts import title_line
from bot.runs.transitions import ACTIVE, State
from bot.standing import may_speak
from policies.config import Config
from policies.spending import check_day
from policies.verdict import code

NOTHING: Mapping[str, Any] = MappingProxyType({})


async def start_run(
    desk: Desk, spoken: Spoken, config: Config, source: Source, data: dict[str, Any]
) -> None:
    """Start the run that `source` causes; doing it again finds the same run.

    `data` holds the request and its options. Raises `UserError` when the agent is not known or
    the issue has as many runs as it may have.
    """
    repository, issue = spoken.repository, spoken.conversation.number
    known = await desk.store.of_thread(repository.id, issue)
    if any(run.id == run_id(repository.id, source) for run in known):
        return
    agent = await _agent(desk, repository, config, data.get("agent") or "")
    going_on = [
        run
        for run in known
        if not run.trusted and (run.state in ACTIVE or run.state is State.PAUSED)
    ]
    if len(going_on) >= config.limits.runs_per_issue:
        raise UserError(_busy(going_on[0]))
    spent = await spent_today(desk.store, repository, spoken.login, desk.clock())
    if not (verdict := check_day(spent, config)).allowed:
        raise UserError(verdict.reason)
    data = {
        **data,
        "source": source.model_dump(),
        "agent": agent,
        "issue": issue,
        "context": await context_of(desk, spoken, config, data["request"]),
    }
    event = Event(
        id=source.key, at=desk.clock(), actor=spoken.login, type=Type.REQUESTED, data=data
    )
    await desk.store.create(repository, event)


async def _agent(desk: Desk, repository: Repository, config: Config, named: str) -> str:
    """Choose the agent now, so that a wrong name is answered at once and not by a blocked run.

    A configuration that cannot be read names no agents: then the run says which line is wrong.
    """
    try:
        return desk.choose_agent(named, config)
    except UserError:
        try:
            await desk.repositories.policy(repository)
        except ConfigError:
            return named
        raise


async def ask_for_changes(desk: Desk, order: Order, run: Run, text: str) -> None:
    """Give a run its next turn, with what a person asks of it."""
    agent = order.command.options.get("agent")
    threads = order.command.options.get("threads", "")
    data = {
        "text": text,
        "threads": [int(each) for each in threads.split(",") if each],
        "turns": order.config.limits.turns,
        "agent": desk.choose_agent(agent, order.config) if agent else None,
    }
    if order.spoken.how != "cli":
        data["context"] = await context_of(desk, order.spoken, order.config, text)

    def decide(now: Run) -> list[Event]:
        given = limits_of(now, order.command.options)
        return [order.event(desk, Type.CHANGES_ASKED, {**data, **given})]

    await desk.store.append(run.id, decide)


def limits_of(run: Run, options: Mapping[str, str]) -> dict[str, Any]:
    """Read what a command gives a run of money, tokens and time; None where nothing new."""
    budget, tokens, minutes = (options.get(name) for name in ("budget", "tokens", "minutes"))
    return {
        "usd": usd_limit(run, read_usd(budget)) if budget else None,
        "tokens": token_limit(run, read_tokens(tokens)) if tokens else None,
        "minutes": read_minutes(minutes) if minutes else None,
    }


async def ask_for_tree(
    desk: Desk,
    order: Order,
    *,
    kind: str,
    title: str,
    tree: str,
    more: Mapping[str, Any] = NOTHING,
) -> None:
    """Ask for a new commit on top of the head that has exactly `tree`.

    `more` is what the record is told besides.
    """
    run = order.required_run()
    data = {
        "kind": kind,
        "title": title_line(title),
        "tree": tree,
        "at": desk.clock().isoformat(),
        "by": order.person.login,
        **more,
    }

    def decide(now: Run) -> list[Event]:
        same_head(run, now)
        if tree == now.tree:
            raise UserError("The files are like that already, so there is nothing to do.")
        return [order.event(desk, Type.ROLLBACK_ASKED, data)]

    await desk.store.append(run.id, decide)


def takes_base_out(run: Run, point: Checkpoint | None) -> str | None:
    """Say that the way back to `point` leads to before the base was brought in, if it does."""
    after = point.number if point else 0
    brought = [each.number for each in run.checkpoints if each.kind == "update"]
    if point is None or not brought or brought[-1] <= after:
        return None
    return (
        f"This goes back to before checkpoint {brought[-1]} brought {code(run.base)} in: merged "
        f"like this, it takes out of {code(run.base)} what came in with it. `/undo` gives it back."
    )


def same_head(seen: Run, now: Run) -> None:
    """Raise `UserError` when the head is another than the one that was looked at."""
    if now.head != seen.head:
        raise UserError(f"The head became `{now.head[:7]}` just now; look at it first.")


async def speaks(desk: Desk, repository: Repository, login: str, config: Config) -> bool:
    """Say whether agents may read what the author of an issue wrote there."""
    return await may_speak(desk.threads, repository, login, config, author=login)


def _busy(run: Run) -> str:
    if run.state is State.AWAITING_REVIEW and run.pull_request:
        return (
            f"Run `{run.id}` waits for review in #{run.pull_request}; "
            "ask for changes there, or `/cancel` it first."
        )
    state = run.state.value.replace("_", " ")
    return f"This issue has a run already, `{run.id}`, which is {state}; `/cancel` ends it."
