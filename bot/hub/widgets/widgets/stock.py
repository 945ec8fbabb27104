# -*- coding: utf-8 -*-
"""What is on the shelves, as the sum of what came and went."""

import collections
import datetime
from typing import Dict, List, Optional, Tuple, Union

from .errors import Shortage, WidgetError

Movement = collections.namedtuple("Movement", "sku change why")


class Stock(object):
    """Counts by part number, and the movements that they come from."""

    def __init__(self, counts: Optional[Dict[str, int]] = None):
        self._counts = dict()  # type: Dict[str, int]
        self._movements = list()  # type: List[Movement]
        for sku, count in (counts or {}).items():
            self.receive(sku, count, why="opening")

    def count(self, sku: str) -> int:
        """Return how many there are of a part."""
        return self._counts.get(sku, 0)

    def receive(self, sku: str, number: int, why: str = "delivery") -> None:
        """Put parts on the shelf."""
        if number < 0:
            raise WidgetError("{0} of {1} cannot come in".format(number, sku))
        self._move(sku, number, why)

    def take(self, wanted: Dict[str, int], why: str = "order") -> None:
        """Take parts off the shelves: all that is wanted, or nothing."""
        for sku, number in sorted(wanted.items()):
            if number > self.count(sku):
                raise Shortage(sku, number, self.count(sku))
        for sku, number in sorted(wanted.items()):
            self._move(sku, -number, why)

    def missing(self, wanted: Dict[str, int]) -> Dict[str, int]:
        """Return what would have to be bought to fulfil a wish."""
        return dict(
            [
                (sku, number - self.count(sku))
                for sku, number in wanted.items()
                if number > self.count(sku)
            ]
        )

    def low(self, level: int) -> List[str]:
        """Return the parts of which there are fewer than `level`."""
        return sorted([sku for sku in self._counts.keys() if self._counts[sku] < level])

    def history(self, sku: str) -> List[Tuple[int, str]]:
        """Return how a count came about: each change with its reason."""
        return [(move.change, move.why) for move in self._movements if move.sku == sku]

    def _move(self, sku: str, change: int, why: str) -> None:
        self._counts[sku] = self.count(sku) + change
        self._movements.append(Movement(sku, change, why))
