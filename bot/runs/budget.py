"""What a run may use of money and tokens, and what it has used: in sums, and in words. All pure.

A budget is where a run stops and asks. What was done until then is a checkpoint, and a person says
how it goes on: with more, or with another agent.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from bot.errors import UserError
from bot.runs.model import Run
from bot.usage import Usage
from policies.verdict import code

LOW = 0.8
"""The part of a budget from which it is said that it comes to its end: the rest is a few requests,
time enough for a person to give more before the agent is stopped."""

USD_MAX = 10_000.0
"""The most that a command gives: a slip of the keyboard should not cost more than a project."""

TOKENS_MAX = 10_000_000_000
"""The same in tokens, at a dollar for a million of them."""

MINUTES_MAX = 24 * 60
"""The longest that a turn may be asked to take: a day."""

_USD = re.compile(r"(\+?)\$?([0-9]{1,7}(?:\.[0-9]{1,4})?)")
_TOKENS = re.compile(r"(\+?)([0-9]{1,12})([kKmM]?)")
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000}


class Stop(NamedTuple):
    """Why a run stops, and what to type next."""

    reason: str
    next_step: str


class Amount(NamedTuple):
    """What a command gives: so much in all, or so much `more`."""

    value: float
    more: bool


def left_usd(run: Run) -> float | None:
    """Return what is left of the run's money; None where it has no limit."""
    return None if run.usd_limit is None else max(run.usd_limit - run.usage.usd, 0.0)


def left_tokens(run: Run) -> int | None:
    """Return what is left of the run's tokens; None where they have no limit."""
    return None if run.token_limit is None else max(run.token_limit - run.usage.tokens, 0)


def used_up(run: Run) -> Stop | None:
    """Say that the run has used its money or its tokens, if it has."""
    if run.usd_limit is not None and run.usage.usd >= run.usd_limit:
        more = f"--budget +{_short(run.usd_limit)}"
        spent = f"The run has used {usd(run.usage.usd)} of its {usd(run.usd_limit)}."
    elif run.token_limit is not None and run.usage.tokens >= run.token_limit:
        more = f"--tokens +{run.token_limit}"
        spent = (
            f"The run has used {tokens(run.usage.tokens)} of its {tokens(run.token_limit)} tokens."
        )
    else:
        return None
    return Stop(spent, _how(more))


def too_little(run: Run) -> Stop:
    """Say that what is left of a budget is too little for another request."""
    left = left_usd(run)
    what = f"{usd(left)} left" if left is not None else "too few tokens left"
    reason = f"The run has {what} of its budget, too little for another request."
    return Stop(reason, _how(f"--budget +{_short(run.usd_limit or 1.0)}"))


def is_low(run: Run, under_way: Usage) -> bool:
    """Say whether most of a budget is used, with what the turn under way has taken so far."""
    usage = run.usage + under_way
    usd_low = run.usd_limit is not None and usage.usd >= LOW * run.usd_limit
    return usd_low or (run.token_limit is not None and usage.tokens >= LOW * run.token_limit)


def spent(run: Run) -> str:
    """Say what the run has used, as a sentence has it; empty where it is nothing."""
    usage = run.usage
    if not usage.requests and not usage.tokens:
        return ""
    limit = "" if run.usd_limit is None else f" of {usd(run.usd_limit)}"
    known = not usage.unpriced
    money = f"{usd(usage.usd)}{limit}" if known or usage.usd else "an unknown sum"
    parts = [
        f"{'' if known or not usage.usd else 'at least '}{money}",
        f"{tokens(usage.tokens)} tokens",
    ]
    if run.seconds:
        parts.append(_time(run.seconds))
    return ", ".join(parts)


def unpriced(run: Run) -> str:
    """Say whose price is not known, as a sentence; empty where all are."""
    names = ", ".join(code(name) for name in run.usage.unpriced)
    return f"The price of {names} is not known here, so tokens alone bound it." if names else ""


def forecast(run: Run) -> str:
    """Say what runs here cost before, as a sentence; empty where that is not known."""
    past = run.forecast
    if not past:
        return ""
    half, most = past["usd"], past["usd_most"]
    more = ""
    if run.usd_limit is not None and half > run.usd_limit:
        more = f", which is more than the {usd(run.usd_limit)} of this run"
    return (
        f"Of the last {past['runs']:.0f} runs here half cost at most {usd(half)}{more}, and nine "
        f"of ten at most {usd(most)}."
    )


def usd(amount: float) -> str:
    """Write a sum of money: two digits behind the point, more where it is less than a cent."""
    if 0 < amount < 0.005:
        return f"${amount:.2g}" if amount >= 0.0001 else "less than $0.0001"
    return f"${amount:,.2f}"


def tokens(count: int) -> str:
    """Write a number of tokens as people say it."""
    if count < 10_000:
        return f"{count:,}"
    if count < 1_000_000:
        return f"{count / 1_000:.0f}k"
    return f"{count / 1_000_000:.1f} million"


def read_usd(text: str) -> Amount:
    """Read what `--budget` was given: `2` in all, or `+2` more; `UserError` says what it takes."""
    found = _USD.fullmatch(text)
    value = float(found[2]) if found else math.nan
    if found is None or not 0 < value <= USD_MAX:
        raise UserError(
            f"`--budget` takes dollars, at most {USD_MAX:,.0f}: `2.50` in all, or `+2` more."
        )
    return Amount(value, found[1] == "+")


def read_tokens(text: str) -> Amount:
    """Read what `--tokens` was given: `500k` in all, or `+2m` more."""
    found = _TOKENS.fullmatch(text)
    value = int(found[2]) * _TIMES[found[3].lower()] if found else 0
    if found is None or not 0 < value <= TOKENS_MAX:
        raise UserError("`--tokens` takes a number of tokens: `500k` in all, or `+2m` more.")
    return Amount(value, found[1] == "+")


def read_minutes(text: str) -> int:
    """Read what `--minutes` was given, which bounds a turn."""
    if not text.isdecimal() or not 1 <= int(text) <= MINUTES_MAX:
        raise UserError(f"`--minutes` takes a whole number from 1 to {MINUTES_MAX}.")
    return int(text)


def usd_limit(run: Run, given: Amount) -> float:
    """Return the limit that a run has from now on; `UserError` where it is used already.

    More is more than what was used, where a last request went over the limit.
    """
    limit = max(run.usd_limit or 0.0, run.usage.usd) + given.value if given.more else given.value
    if limit <= run.usage.usd:
        raise UserError(
            f"The run has used {usd(run.usage.usd)} already; `--budget +{_short(given.value)}` "
            "gives it as much more."
        )
    return round(limit, 6)


def token_limit(run: Run, given: Amount) -> int:
    """Return the limit of tokens that a run has from now on; `UserError` as for money."""
    limit = max(run.token_limit or 0, run.usage.tokens) + given.value if given.more else given.value
    if limit <= run.usage.tokens:
        raise UserError(
            f"The run has used {tokens(run.usage.tokens)} tokens already; "
            f"`--tokens +{given.value:.0f}` gives it as many more."
        )
    return int(limit)


def _how(more: str) -> str:
    return f"`/resume {more}` goes on from here, `/resume --agent NAME {more}` with another agent."


def _short(amount: float) -> str:
    return f"{amount:.2f}".removesuffix(".00")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds of work"
    return f"{seconds / 60:.0f} minutes of work"
