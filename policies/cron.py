"""Cron expressions of five fields, as crontab(5) means them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from policies.verdict import code

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# Five full lists of numbers fit in this many characters.
MAX_LENGTH = 400
EXAMPLE = "for example `0 3 * * 1-5` for three o'clock from Monday to Friday"


@dataclass(frozen=True, slots=True)
class Cron:
    """The five fields, normalised to lists of values.

    Each is `*` or numbers joined by commas; weekdays are joined names (`mon,tue`), since
    programs do not agree on the number of Sunday.
    """

    minute: str
    hour: str
    day: str
    month: str
    day_of_week: str


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _WEEKDAYS),
)
_ITEM = re.compile(r"(?:(\*)|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?")


def parse_cron(text: str) -> Cron:
    """Read a cron expression of five fields.

    Raises ValueError, with a sentence for its author, when it is none, when it can never
    come true, or when it limits both kinds of day: crontab then takes either, other
    programs take both, and nobody knows which was meant.
    """
    words = text.lower().split() if len(text) <= MAX_LENGTH else []
    if len(words) != len(_FIELDS):
        raise ValueError(f"Write the time as five fields, {EXAMPLE}.")
    minute, hour, day, month, weekday = (
        _values(word, field) for word, field in zip(words, _FIELDS, strict=True)
    )
    if day is not None and weekday is not None:
        raise ValueError("Give days of the month or days of the week, not both; put `*` in one.")
    _must_come_true(day, month)
    names = None if weekday is None else sorted({value % 7 for value in weekday})
    return Cron(
        _joined(minute),
        _joined(hour),
        _joined(day),
        _joined(month),
        "*" if names is None else ",".join(_WEEKDAYS[value] for value in names),
    )


def _values(word: str, field: _Field) -> set[int] | None:
    """The values of one field, or None where it takes every one."""
    values: set[int] = set()
    for item in word.split(","):
        values |= _item(item, field)
    full = set(range(field.first, field.last + 1))
    # Sunday is both 0 and 7.
    return None if values >= full - {7 if field.names is _WEEKDAYS else -1} else values


def _item(item: str, field: _Field) -> set[int]:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(f"The {field.name} cannot be {code(item)}; {EXAMPLE}.")
    star, low, high, step = match.groups()
    first = field.first if star else _number(low, field)
    last = field.last if star or (step and not high) else _number(high or low, field)
    # An open range of weekdays ends on Saturday: 7 is only another name for Sunday.
    if field.names is _WEEKDAYS and not high and not (low and not step):
        last = 6
    if first > last or step in {"0", "00"}:
        raise ValueError(
            f"The {field.name} {code(item)} takes nothing; write the lower value first."
        )
    return set(range(first, last + 1, int(step or 1)))


def _number(word: str, field: _Field) -> int:
    if word in field.names:
        return field.names.index(word) + (1 if field.names is _MONTHS else 0)
    if word.isdigit() and field.first <= int(word) <= field.last:
        return int(word)
    raise ValueError(
        f"The {field.name} must be from {field.first} to {field.last}, not {code(word)}; {EXAMPLE}."
    )


def _must_come_true(day: set[int] | None, month: set[int] | None) -> None:
    if day is None or month is None:
        return
    if all(min(day) > _LONGEST_MONTH[number - 1] for number in month):
        raise ValueError("That day does not exist in that month; choose a day that does.")


def _joined(values: set[int] | None) -> str:
    return "*" if values is None else ",".join(str(value) for value in sorted(values))
