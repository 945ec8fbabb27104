"""What a repository and a person may spend in a day: money, tokens and minutes of agents' work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from policies.config import Config
from policies.facts import DaySpent, Spent
from policies.sections import Daily
from policies.verdict import Verdict, all_of, code

RULE = "budget"

LOW = 0.8
"""The part of a day's budget from which it is said that it comes to its end, as for a run's."""


class Measure(NamedTuple):
    """One limit of a day, and what of it is used: whose it is, and in what it is counted."""

    whose: str
    setting: str
    unit: str
    used: float
    most: float

    @property
    def told(self) -> str:
        """Say how much of how much, as "$42.00 of $50.00"."""
        return f"{_amount(self.unit, self.used)} of {_amount(self.unit, self.most)}"

    @property
    def left(self) -> float:
        """Return what is left of it."""
        return max(self.most - self.used, 0.0)


def check_day(spent: DaySpent, config: Config) -> Verdict:
    """Judge whether there is something left of every limit of the day."""
    measures = tuple(_measures(spent, config))
    if not measures:
        return Verdict(True, RULE, "No limit of a day is set.")
    return all_of(RULE, [_judged(each) for each in measures])


def warning(spent: DaySpent, config: Config) -> str:
    """Say which limits of the day come to their end, as a sentence; empty where none does."""
    low = [each for each in _measures(spent, config) if LOW * each.most <= each.used < each.most]
    if not low:
        return ""
    told = "; ".join(f"{each.whose} has used {each.told} of today's budget" for each in low)
    return f"{told[0].upper()}{told[1:]}."


def left_today(spent: DaySpent, config: Config, unit: str) -> float | None:
    """Return what is left of the tightest limit in `usd`, `tokens` or `minutes`; None of none."""
    return min((m.left for m in _measures(spent, config) if m.unit == unit), default=None)


def forecast(past: Sequence[float]) -> tuple[float, float] | None:
    """Return what a run costs by past ones: half of them at most so much, and nine of ten.

    None where fewer than three are known, or none cost anything.
    """
    known = sorted(past)
    if len(known) < FORECAST_RUNS or not any(known):
        return None
    return known[(len(known) - 1) // 2], known[(9 * len(known) + 9) // 10 - 1]


FORECAST_RUNS = 3
"""Past runs that it takes to say something of the next: fewer say more of themselves."""


def _measures(spent: DaySpent, config: Config) -> Iterator[Measure]:
    budget = config.budget
    yield from _of("this repository", "repository", spent.repository, budget.repository)
    yield from _of(code(spent.login), "person", spent.person, budget.person)


def _of(whose: str, setting: str, used: Spent, most: Daily) -> Iterator[Measure]:
    for unit in ("usd", "tokens", "minutes"):
        limit = getattr(most, unit)
        if limit is not None:
            yield Measure(whose, setting, unit, getattr(used, unit), limit)


def _judged(measure: Measure) -> Verdict:
    name = f"{measure.setting}-{measure.unit}"
    if measure.used < measure.most:
        return Verdict(True, name, f"{measure.whose} has used {measure.told} today.")
    return Verdict(
        False,
        name,
        f"Today's budget is used up: {measure.whose} has used {measure.told}. It begins anew at"
        f" 0:00 UTC; a maintainer may raise `budget: {measure.setting}: {measure.unit}:`.",
    )


def _amount(unit: str, value: float) -> str:
    if unit == "usd":
        return f"${value:,.2f}"
    return f"{value:,.0f} {unit}"
