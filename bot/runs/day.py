"""What was spent today, and what runs cost before: facts for the rules about a day's budget."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bot.runs.model import Repository, Run
from bot.runs.store import Store
from bot.usage import Usage
from policies.facts import DaySpent, Spent
from policies.spending import forecast

MINUTE_SECONDS = 60.0

PAST_RUNS = 50
"""Runs that a forecast looks at, the newest: what a repository was like before says little."""


async def spent_today(store: Store, repository: Repository, login: str, now: datetime) -> DaySpent:
    """Add up the turns that ended since 0:00 UTC, and what those under way have used so far."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    taken = [
        (who, event.data.get("usage") or {}, event.data.get("seconds") or 0.0)
        for _, who, event in await store.turns_since(repository.id, midnight)
    ]
    for run in await store.of_repository(repository.id):
        if run.turn_open:
            kept = await store.turn(run.id, run.turns)
            taken.append((run.requester, kept.get("usage") or {}, 0.0))
    parts = [
        (who, Usage.model_validate(usage), seconds / MINUTE_SECONDS)
        for who, usage, seconds in taken
    ]
    mine = (each for each in parts if each[0].casefold() == login.casefold())
    return DaySpent(login, _sum(parts), _sum(mine))


def _sum(parts: Iterable[tuple[str, Usage, float]]) -> Spent:
    usd, tokens, minutes = 0.0, 0, 0.0
    for _, usage, took in parts:
        usd, tokens, minutes = usd + usage.usd, tokens + usage.tokens, minutes + took
    return Spent(round(usd, 6), tokens, round(minutes, 3))


async def forecast_of(store: Store, run: Run) -> dict[str, float]:
    """Say what the run may cost, by those that were done in the repository; empty for unknown."""
    past = await store.costs(run.repository.id, PAST_RUNS)
    found = forecast(past)
    return {"runs": len(past), "usd": found[0], "usd_most": found[1]} if found else {}
