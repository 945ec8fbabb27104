"""Stretches of time as people write them: every day, every week, or between two dates.

22:00 to 06:00, fri 16:00 to mon 08:00, 2026-12-23 18:00 to 2027-01-02 08:00
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Kind = Literal["day", "week", "date"]

EXAMPLE = "write it as `22:00`, `fri 16:00` or `2026-12-23 18:00`, in quotes"

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_TIME = r"(?P<hour>[01][0-9]|2[0-4]):(?P<minute>[0-5][0-9])"
_CLOCK = re.compile(rf"(?:(?P<day>[a-z]{{3}}) )?{_TIME}")
_DATE = re.compile(rf"(?P<date>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(?:[ t]{_TIME})?")


@dataclass(frozen=True, slots=True)
class Moment:
    """An end of a stretch: minutes since the day or the week began, or a date and its time."""

    kind: Kind
    minutes: int = 0
    date: datetime | None = None


def read_moment(text: str) -> Moment:
    """Read one end of a stretch; ValueError says, to its author, how it is written."""
    words = text.strip().lower()
    if clock := _CLOCK.fullmatch(words):
        minutes = _minutes(clock)
        if clock["day"] is None:
            return Moment("day", minutes)
        if clock["day"] in _DAYS:
            return Moment("week", _DAYS.index(clock["day"]) * _DAY_MINUTES + minutes)
    elif found := _DATE.fullmatch(words):
        try:
            day = datetime.fromisoformat(found["date"])
            at = day + timedelta(minutes=_minutes(found) if found["hour"] else 0)
        except (ValueError, OverflowError):
            raise ValueError(f"There is no such date; {EXAMPLE}.") from None
        return Moment("date", date=at)
    raise ValueError(f"This is no time; {EXAMPLE}.")


def _minutes(found: re.Match[str]) -> int:
    minutes = int(found["hour"]) * 60 + int(found["minute"])
    if minutes > _DAY_MINUTES:
        raise ValueError(f"A day ends at 24:00; {EXAMPLE}.")
    return minutes


def problem_of(start: Moment, end: Moment) -> str:
    """Say why two ends make no stretch; nothing where they do."""
    if start.kind != end.kind:
        return "Write both ends alike: two times, two days of the week, or two dates."
    if start.date and end.date and start.date >= end.date:
        return "The end comes before the start; write the earlier date as `start`."
    if start.date is None and _wrapped(start) == _wrapped(end):
        return "The start is the end, which would be always or never; write another time."
    return ""


def is_within(start: Moment, end: Moment, zone: str, at: datetime) -> bool:
    """Say whether a moment, which names its zone, lies in a stretch; its end is outside."""
    local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    if start.date and end.date:
        return start.date <= local < end.date
    now = local.hour * 60 + local.minute
    if start.kind == "week":
        now += local.weekday() * _DAY_MINUTES
    first, last = _wrapped(start), _wrapped(end)
    if first < last:
        return first <= now < last
    return now >= first or now < last


def _wrapped(moment: Moment) -> int:
    """Return the minutes with the end of a day or week as the beginning of the next."""
    whole = _DAY_MINUTES * (7 if moment.kind == "week" else 1)
    return moment.minutes % whole
