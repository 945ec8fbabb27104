"""An operator's stop: `orchestrate pause --all`, and what says whether one is in force.

It is kept in the database, so that every process heeds it within seconds, and each that starts
later: nothing begins to work, what is at work is stopped and made a checkpoint of, schedules do not
fire. Commands are heard all the same, and take effect once the operator lets work go on.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console

from bot.errors import UserError
from bot.inspection import looking_at
from bot.runs.queue import Stop
from bot.runs.store import Store
from bot.settings import Settings


async def pause(
    settings: Settings, installation: int | None, reason: str, *, quiet: bool
) -> dict[str, Any]:
    """Stop all runs, or those of an installation; say what is in force, unless `quiet`."""
    _known(installation)
    async with looking_at(settings) as database:
        queue = Store(database).queue
        await queue.stop(installation, " ".join(reason.split()))
        told = await _told(Store(database), installation)
    if not quiet:
        _say(
            f"Stopped: {_scope(installation)}. Runs at work: {told['working']}, stopped within "
            f"seconds, each with a checkpoint. Runs that wait for their turn: {told['waiting']}."
        )
        _say(
            f"`orchestrate resume {_option(installation)}` lets them go on. Until then commands "
            "are heard and kept, and schedules do not fire."
        )
    return told


async def resume(settings: Settings, installation: int | None, *, quiet: bool) -> dict[str, Any]:
    """Let work go on; `UserError` where nothing of the kind was stopped."""
    _known(installation)
    async with looking_at(settings) as database:
        store = Store(database)
        ended = await store.queue.let_go(installation)
        told = await _told(store, installation)
    if not ended:
        raise UserError(_not_stopped(installation, told))
    if not quiet:
        still = any(each["installation"] is None for each in told["stops"])
        more = "; but everything is stopped as well" if still else ""
        _say(f"Let go: {_scope(installation)}{more}. Runs that wait: {told['waiting']}.")
    return told


def sentence(stops: list[Stop]) -> str:
    """Say in a sentence what is stopped; nothing where nothing is."""
    told = [
        f"{_scope(each.installation)} since {each.since:%Y-%m-%d %H:%M} UTC"
        + (f" ({each.reason})" if each.reason else "")
        for each in stops
    ]
    if not told:
        return ""
    option = _option(stops[0].installation)
    return f"Stopped by an operator: {', '.join(told)}; `orchestrate resume {option}` ends it."


async def _told(store: Store, installation: int | None) -> dict[str, Any]:
    working, waiting = await store.queue.counts(installation)
    return {
        "stops": [
            {
                "installation": each.installation,
                "since": each.since.isoformat(),
                "reason": each.reason,
            }
            for each in await store.queue.stops()
        ],
        "working": working,
        "waiting": waiting,
    }


def _known(installation: int | None) -> None:
    if installation is not None and installation <= 0:
        raise UserError("An installation's number is above 0; the App's page on GitHub shows it.")


def _scope(installation: int | None) -> str:
    return "everything" if installation is None else f"installation {installation}"


def _option(installation: int | None) -> str:
    return "--all" if installation is None else f"--installation {installation}"


def _not_stopped(installation: int | None, told: dict[str, Any]) -> str:
    named = ", ".join(_scope(each["installation"]) for each in told["stops"])
    if not named:
        return "Nothing is stopped; `orchestrate pause` with `--all` or `--installation` stops it."
    return f"{_scope(installation).capitalize()} is not stopped by itself; stopped is {named}."


def _say(text: str) -> None:
    Console(highlight=False, markup=False, soft_wrap=True).print(text)
