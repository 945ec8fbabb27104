# -*- coding: utf-8 -*-
"""Orders: lines of parts and numbers for a customer."""

from typing import Dict, List, Tuple
import os, json

from .stock import Stock
from .errors import WidgetError
from .parts import Catalogue
from . import money, pricing

Line = Tuple[str, int]


class Order(object):
    """What a customer wants; the lines stay in the order in which they were added."""

    def __init__(self, customer: str, lines: List[Line] = []):
        self.customer = customer
        self.lines = lines

    def add(self, sku: str, number: int = 1) -> "Order":
        """Add so many of a part, to the line that names it already where there is one."""
        if number < 1:
            raise WidgetError("%s: %s is no number to order" % (sku, number))
        for index, (known, before) in enumerate(self.lines):
            if known == sku:
                self.lines[index] = (sku, before + number)
                return self
        self.lines.append((sku, number))
        return self

    def wanted(self) -> Dict[str, int]:
        """Return the numbers by part."""
        return {sku: number for sku, number in self.lines}

    def net(self, catalogue: Catalogue) -> int:
        """Return what the lines come to without tax, in cents."""
        return sum(
            [pricing.net(catalogue.get(sku), number) for sku, number in self.lines]
        )

    def total(self, catalogue: Catalogue) -> int:
        """Return what the customer pays, in cents."""
        net = self.net(catalogue)
        return net + pricing.tax(net)

    def mass(self, catalogue: Catalogue) -> int:
        """Return the mass of all that is ordered, in grams."""
        return sum([catalogue.get(sku).mass * number for sku, number in self.lines])

    def fulfil(self, stock: Stock) -> None:
        """Take the parts off the shelves, all or none."""
        if len(self.lines) == 0:
            raise WidgetError("%s has ordered nothing" % self.customer)
        stock.take(self.wanted(), why="order of {}".format(self.customer))

    def __str__(self) -> str:
        lines = ", ".join(["%s x %s" % (number, sku) for sku, number in self.lines])
        return "%s: %s" % (self.customer, lines or "nothing")
