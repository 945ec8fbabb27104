# -*- coding: utf-8 -*-
"""Reports in plain text: the shelves, what to buy, a receipt."""

from typing import Any, List, Sequence
import textwrap

from . import money, pricing
from .orders import Order
from .parts import Catalogue
from .stock import Stock


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Set rows in columns: numbers to the right, text to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(cell) for cell in column]) for column in zip(header, *cells)]
    right = [
        len(rows) > 0 and all([isinstance(row[index], int) for row in rows])
        for index in range(0, len(header))
    ]
    lines = [_line(header, widths, right), _line(["-" * width for width in widths], widths, right)]
    lines += [_line(row, widths, right) for row in cells]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: List[int], right: List[bool]) -> str:
    placed = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right)
    ]
    return "  ".join(placed).rstrip()


def shelves(catalogue: Catalogue, stock: Stock) -> str:
    """List every part with its count and what they are worth."""
    rows = []
    for part in catalogue:
        count = stock.count(part.sku)
        rows.append((part.sku, part.name, count, money.show(count * part.price)))
    worth = sum([stock.count(part.sku) * part.price for part in catalogue])
    return "%s\n\nworth %s" % (table(("part", "name", "count", "worth"), rows), money.show(worth))


def to_buy(catalogue: Catalogue, stock: Stock, level: int) -> str:
    """List what has run low, and how many are missing to `level`."""
    rows = []
    for sku in stock.low(level):
        rows.append((sku, catalogue.get(sku).name, level - stock.count(sku)))
    if not rows:
        return "nothing has run low"
    return table(("part", "name", "missing"), rows)


def receipt(order: Order, catalogue: Catalogue) -> str:
    """Write what a customer pays, line by line."""
    rows = []
    for sku, number in order.lines:
        part = catalogue.get(sku)
        hint = ""
        if pricing.next_break(number) != None:
            if pricing.next_break(number) - number <= 5:
                hint = "cheaper from {}".format(pricing.next_break(number))
        rows.append((number, part.name, money.show(pricing.net(part, number)), hint))
    net = order.net(catalogue)
    lines = [
        "For %s" % order.customer,
        "",
        table(("number", "part", "net", ""), rows),
        "",
        "net   %s" % money.show(net),
        "tax   %s" % money.show(pricing.tax(net)),
        "total %s" % money.show(order.total(catalogue)),
    ]
    return "\n".join(lines)
