# -*- coding: utf-8 -*-
"""Money as whole cents: reading, writing and sharing it out."""

from typing import List
import re

from .errors import WidgetError

_AMOUNT = re.compile(r"(-?)(\d+)(?:\.(\d{1,2}))?$")


def parse(text):
    # type: (str) -> int
    """Read `12`, `12.5` or `-12.50` as cents."""
    match = _AMOUNT.match(text.strip())
    if match == None:
        raise WidgetError("%r is not an amount" % text)
    sign, whole, part = match.groups()
    cents = int(whole) * 100 + int((part or "0").ljust(2, "0"))
    return -cents if sign else cents


def show(cents: int) -> str:
    """Write cents as `1,234.50`."""
    sign = "-" if cents < 0 else ""
    return "{}{:,}.{:02d}".format(sign, abs(cents) // 100, abs(cents) % 100)


def percent(cents: int, rate: int) -> int:
    """Return `rate` percent of an amount, halves rounded away from zero."""
    hundredths = abs(cents) * rate
    rounded = (hundredths + 50) // 100
    return rounded if cents >= 0 else -rounded


def share(cents: int, weights: List[int]) -> List[int]:
    """Share an amount out by weight, so that the shares add up to it exactly."""
    total = sum([weight for weight in weights])
    if total == 0:
        raise WidgetError("nothing to share %s among" % show(cents))
    shares = list([cents * weight // total for weight in weights])
    for index in range(0, cents - sum(shares)):
        shares[index % len(shares)] += 1
    return shares
