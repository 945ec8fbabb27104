from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.freeze import check_freeze
from policies.sections import Freeze
from tests.policies.builders import config

WEEKEND = "freeze: [{name: weekend, start: fri 16:00, end: mon 08:00, timezone: Europe/Berlin}]"
NIGHT = "freeze: [{name: night, start: '22:00', end: '06:00', timezone: America/New_York}]"
LUNCH = "freeze: [{name: lunch, start: '12:00', end: '13:00'}]"
YEAR = "freeze: [{name: holidays, start: 2026-12-23 18:00, end: 2027-01-02}]"
SUNDAY = "freeze: [{name: sunday, start: sun 00:00, end: sun 24:00}]"


@pytest.mark.parametrize(
    ("text", "at", "allowed"),
    [
        ("", "2026-11-28 12:00", True),
        # Berlin is an hour ahead of UTC in winter, two in summer.
        (WEEKEND, "2026-11-27 14:59", True),
        (WEEKEND, "2026-11-27 15:00", False),
        (WEEKEND, "2026-11-29 12:00", False),
        (WEEKEND, "2026-11-30 06:59", False),
        (WEEKEND, "2026-11-30 07:00", True),
        (WEEKEND, "2026-07-03 14:00", False),
        (WEEKEND, "2026-07-03 13:59", True),
        (NIGHT, "2026-11-28 02:59", True),
        (NIGHT, "2026-11-28 03:00", False),
        (NIGHT, "2026-11-28 10:59", False),
        (NIGHT, "2026-11-28 11:00", True),
        (LUNCH, "2026-11-28 11:59", True),
        (LUNCH, "2026-11-28 12:59", False),
        (LUNCH, "2026-11-28 13:00", True),
        (YEAR, "2026-12-23 17:59", True),
        (YEAR, "2026-12-23 18:00", False),
        (YEAR, "2027-01-01 23:59", False),
        (YEAR, "2027-01-02 00:00", True),
        (SUNDAY, "2026-11-28 23:59", True),
        (SUNDAY, "2026-11-29 00:00", False),
        (SUNDAY, "2026-11-29 23:59", False),
        (SUNDAY, "2026-11-30 00:00", True),
    ],
)
def test_nothing_is_merged_from_the_start_on_and_again_at_the_end(
    text: str, at: str, allowed: bool
) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    verdict = check_freeze(moment, config(text))
    assert verdict.allowed is allowed
    # The same moment told in another zone is the same moment.
    elsewhere = moment.astimezone(timezone(timedelta(hours=-9)))
    assert check_freeze(elsewhere, config(text)).allowed is allowed


def test_a_refusal_says_when_it_is_over_where_and_what_to_do() -> None:
    verdict = check_freeze(datetime(2026, 11, 28, tzinfo=UTC), config(WEEKEND))
    assert verdict.reason == (
        "Nothing is merged before mon 08:00 (Europe/Berlin), because of `weekend`; `/approve` it"
        " again then."
    )


CLOCK = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
DAYS = st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
DATES = st.dates(datetime(2026, 1, 1).date(), datetime(2026, 12, 31).date()).map(str)
WINDOWS = st.one_of(
    st.tuples(CLOCK, CLOCK).filter(lambda ends: ends[0] != ends[1]),
    st.tuples(DAYS, CLOCK, DAYS, CLOCK)
    .map(lambda it: (f"{it[0]} {it[1]}", f"{it[2]} {it[3]}"))
    .filter(lambda ends: ends[0] != ends[1]),
    st.tuples(DATES, DATES).filter(lambda ends: ends[0] < ends[1]),
).flatmap(
    lambda ends: st.builds(
        Freeze,
        name=st.just("it"),
        start=st.just(ends[0]),
        end=st.just(ends[1]),
        timezone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    )
)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))


@given(MOMENTS, st.lists(WINDOWS, max_size=3), WINDOWS, st.randoms())
def test_neither_order_nor_one_more_freeze_lets_more_be_merged(
    at: datetime, windows: list[Freeze], more: Freeze, chance: random.Random
) -> None:
    def judged(*freeze: Freeze) -> bool:
        return check_freeze(at, Config(freeze=freeze)).allowed

    given_ = judged(*windows)
    assert judged(*chance.sample(windows, len(windows))) == given_
    assert given_ or not judged(*windows, more)
    # What is frozen in one stretch is open in the stretch from its end to its start, and only then.
    if "-" not in more.start:
        turned = more.model_copy(update={"start": more.end, "end": more.start})
        assert judged(more) != judged(turned)
