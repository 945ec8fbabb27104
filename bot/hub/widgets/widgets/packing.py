# -*- coding: utf-8 -*-
"""Packing: what goes into which box, heaviest first into the first box with room."""

import math
from typing import List, Tuple

from .errors import WidgetError
from .orders import Order
from .parts import Catalogue

BOX = 20000  # grams that one person may lift


class Box(object):
    """A box and what is in it."""

    def __init__(self, limit: int = BOX):
        self.limit = limit
        self.mass = 0
        self.contents = []  # type: List[str]

    def has_room(self, mass: int) -> bool:
        """Whether so many grams more may go in."""
        if self.mass + mass <= self.limit:
            return True
        return False

    def put(self, sku: str, mass: int) -> None:
        """Put one part in."""
        self.contents.append(sku)
        self.mass = self.mass + mass


def pack(order: Order, catalogue: Catalogue, limit: int = BOX) -> List[Box]:
    """Share an order out among boxes of at most `limit` grams."""
    singles = []  # type: List[Tuple[int, str]]
    for sku, number in order.lines:
        mass = catalogue.get(sku).mass
        if mass > limit:
            raise WidgetError("%s is too heavy for a box: %s g" % (sku, mass))
        singles.extend([(mass, sku)] * number)
    boxes = []  # type: List[Box]
    for mass, sku in sorted(singles, reverse=True):
        for box in boxes:
            if box.has_room(mass):
                break
        else:
            box = Box(limit)
            boxes.append(box)
        box.put(sku, mass)
    return boxes


def fewest(order: Order, catalogue: Catalogue, limit: int = BOX) -> int:
    """Return the number of boxes that no packing can go below."""
    return int(math.ceil(order.mass(catalogue) / float(limit)))
