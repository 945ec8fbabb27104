from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import DaySpent, Spent
from policies.sections import Budget, Daily
from policies.spending import check_day, forecast, left_today, warning
from tests.policies.builders import config

NOTHING = Spent()


def day(repository: Spent = NOTHING, person: Spent = NOTHING) -> DaySpent:
    return DaySpent("ada", repository, person)


@pytest.mark.parametrize(
    ("text", "spent", "said"),
    [
        ("", day(Spent(usd=49.9)), ""),
        ("", day(Spent(usd=50)), "this repository has used $50.00 of $50.00"),
        ("", day(Spent(usd=25), Spent(usd=25)), "`ada` has used $25.00 of $25.00"),
        ("budget: {repository: {usd: 2}}", day(Spent(usd=2)), "`budget: repository: usd:`"),
        ("budget: {repository: {minutes: 9}}", day(Spent(usd=900)), ""),
        ("budget: {repository: {minutes: 9}}", day(Spent(minutes=9)), "9 minutes of 9 minutes"),
        ("budget: {person: {tokens: 5000}}", day(Spent(tokens=9000)), ""),
        ("budget: {person: {tokens: 5000}}", day(person=Spent(tokens=5000)), "5,000 tokens of"),
    ],
)
def test_what_is_used_up_is_said_with_what_goes_on(text: str, spent: DaySpent, said: str) -> None:
    verdict = check_day(spent, config(text))
    assert verdict.allowed is (not said)
    assert said in verdict.reason
    assert verdict.allowed or "It begins anew at 0:00 UTC" in verdict.reason


def test_the_end_of_a_day_is_said_before_it_comes() -> None:
    low = config("budget: {repository: {usd: 10}, person: {minutes: 10}}")
    assert warning(day(Spent(usd=7.9)), low) == ""
    told = "This repository has used $8.00 of $10.00 of today's budget."
    assert warning(day(Spent(usd=8)), low) == told
    assert "`ada` has used 9 minutes of 10 minutes" in warning(day(person=Spent(minutes=9)), low)
    assert left_today(day(Spent(usd=8)), low, "usd") == 2
    assert left_today(day(), low, "tokens") is None


@pytest.mark.parametrize(
    ("past", "told"),
    [
        ((), None),
        ((1.0, 2.0), None),
        ((0.0, 0.0, 0.0), None),
        ((3.0, 1.0, 2.0), (2.0, 3.0)),
        (tuple(range(1, 11)), (5, 9)),
    ],
)
def test_past_runs_say_what_the_next_may_cost(
    past: tuple[float, ...], told: tuple[float, float] | None
) -> None:
    assert forecast(past) == told


AMOUNTS = st.floats(0, 100, allow_nan=False)
SPENT = st.builds(Spent, AMOUNTS, st.integers(0, 10_000), AMOUNTS)
DAILY = st.builds(
    Daily,
    usd=st.none() | st.floats(0.01, 100),
    tokens=st.none() | st.integers(1_000, 10_000),
    minutes=st.none() | st.integers(1, 100),
)


@given(SPENT, SPENT, DAILY, DAILY, st.sampled_from(["usd", "tokens", "minutes"]))
def test_neither_more_spent_nor_one_more_limit_allows_more(
    repository: Spent, person: Spent, first: Daily, second: Daily, unit: str
) -> None:
    def allowed(spent: DaySpent, most: Daily) -> bool:
        return check_day(spent, Config(budget=Budget(repository=most, person=second))).allowed

    given_ = allowed(day(repository, person), first)
    if not given_:
        more = Spent(repository.usd + 1, repository.tokens + 1, repository.minutes + 1)
        assert not allowed(day(more, person), first)
        known = getattr(first, unit)
        lower = first.model_copy(update={unit: 1 if known is None else known / 2})
        assert not allowed(day(repository, person), lower)
