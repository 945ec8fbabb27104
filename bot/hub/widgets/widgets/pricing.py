# -*- coding: utf-8 -*-
"""What a number of parts costs: breaks by quantity, and tax."""

from functools import lru_cache
from typing import Sequence, Tuple, Union

from .parts import Part
from . import money

# The least number of one part, and the discount in percent from there on.
BREAKS = ((1000, 20), (100, 10), (25, 5))  # type: Sequence[Tuple[int, int]]
TAX = 19


@lru_cache(maxsize=None)
def discount(number: int) -> int:
    """Return the discount for so many of one part, in percent."""
    for least, rate in BREAKS:
        if number >= least:
            return rate
    return 0


def net(part: Part, number: int) -> int:
    """Return the price of so many of a part without tax, in cents."""
    full = part.price * number
    return full - money.percent(full, discount(number))


def tax(cents: int) -> int:
    """Return the tax on a net amount, in cents."""
    return money.percent(cents, TAX)


def next_break(number: int) -> Union[int, None]:
    """Return the number from which on one part gets cheaper, None beyond the last."""
    better = [least for least, rate in BREAKS if least > number]
    if better:
        return min(better)
    else:
        return None
