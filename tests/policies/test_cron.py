from __future__ import annotations

from datetime import UTC, datetime

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from policies.cron import Cron, parse_cron


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("0 3 * * *", Cron("0", "3", "*", "*", "*")),
        ("*/15 * * * *", Cron("0,15,30,45", "*", "*", "*", "*")),
        ("5/20 * * * *", Cron("5,25,45", "*", "*", "*", "*")),
        ("0 1-5/2,23 * * *", Cron("0", "1,3,5,23", "*", "*", "*")),
        ("0 0 * * 0", Cron("0", "0", "*", "*", "sun")),
        ("0 0 * * 7", Cron("0", "0", "*", "*", "sun")),
        ("0 0 * * 1-5", Cron("0", "0", "*", "*", "mon,tue,wed,thu,fri")),
        ("0 0 * * 5-7", Cron("0", "0", "*", "*", "sun,fri,sat")),
        ("0 0 * * MON,Fri", Cron("0", "0", "*", "*", "mon,fri")),
        ("0 0 * * 0-6", Cron("0", "0", "*", "*", "*")),
        ("0 0 * * */2", Cron("0", "0", "*", "*", "sun,tue,thu,sat")),
        ("0 0 * * 1/2", Cron("0", "0", "*", "*", "mon,wed,fri")),
        ("0 0 1 jan-mar *", Cron("0", "0", "1", "1,2,3", "*")),
        ("0 0 29 2 *", Cron("0", "0", "29", "2", "*")),
        ("  0   0 31 1,2 * ", Cron("0", "0", "31", "1,2", "*")),
    ],
)
def test_five_fields_are_read_as_crontab_reads_them(text: str, cron: Cron) -> None:
    assert parse_cron(text) == cron


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("0 " * 500, "five fields"),
        ("60 * * * *", "minute must be from 0 to 59"),
        ("* 24 * * *", "hour must be"),
        ("* * 0 * *", "day of the month must be"),
        ("* * * 13 *", "month must be"),
        ("* * * * 8", "day of the week must be"),
        ("* * * * mo", "day of the week cannot be"),
        ("* * * * jan", "day of the week must be"),
        ("5-1 * * * *", "takes nothing"),
        ("*/0 * * * *", "takes nothing"),
        ("1, * * * *", "minute cannot be"),
        ("1` * * * *", "minute cannot be `` 1` ``"),
        ("٣ * * * *", "minute cannot be"),
        ("0 0 30 2 *", "does not exist"),
        ("0 0 31 4,6 *", "does not exist"),
        ("0 0 1 * 1", "not both"),
    ],
)
def test_what_is_no_time_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as error:
        parse_cron(text)
    assert said in str(error.value)


def test_the_scheduler_reads_sunday_as_crontab_does() -> None:
    cron = parse_cron("0 12 * * 0")
    trigger = CronTrigger(
        minute=cron.minute,
        hour=cron.hour,
        day=cron.day,
        month=cron.month,
        day_of_week=cron.day_of_week,
        timezone=UTC,
    )
    fires = trigger.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC))
    assert fires.strftime("%A") == "Sunday"


@given(st.text(alphabet="0123456789*/-,`jansu ", max_size=40) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        cron = parse_cron(text)
    except ValueError as error:
        assert str(error).endswith(".")  # noqa: PT017 - either outcome is right
    else:
        again = f"{cron.minute} {cron.hour} {cron.day} {cron.month} {cron.day_of_week}"
        assert parse_cron(again) == cron
