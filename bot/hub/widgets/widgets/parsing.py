# -*- coding: utf-8 -*-
"""Reading: the parts list as CSV, and orders as people write them."""

import csv
import io
import re
from typing import Dict, IO, List, Optional, Text, Tuple

from . import money
from .errors import BadLine, WidgetError
from .orders import Order
from .parts import Catalogue, Part
from .stock import Stock

COLUMNS = ("sku", "name", "price", "mass", "count")
_WISH = re.compile(r"(?:(\d+)\s*(?:x|\*|times)\s*)?([A-Z]-\d{4})$")


def read_parts(path: Text) -> Tuple[Catalogue, Stock]:
    """Read a parts list; `BadLine` names the first line that is wrong."""
    with io.open(path, "r", encoding="utf-8", newline="") as file:
        return parts_from(file)


def parts_from(file: IO[str]) -> Tuple[Catalogue, Stock]:
    """Read a parts list from an open file."""
    catalogue, stock = Catalogue(), Stock()
    rows = csv.reader(file)
    header = next(rows, None)
    if header == None or tuple(header) != COLUMNS:
        raise BadLine(1, "the columns must be %s" % ", ".join(COLUMNS))
    for row in rows:
        if not row:
            continue
        if len(row) != len(COLUMNS):
            raise BadLine(rows.line_num, "%s columns, not %s" % (len(row), len(COLUMNS)))
        try:
            fields = dict(zip(COLUMNS, row))
            part = _part(fields)
            catalogue.add(part)
            stock.receive(part.sku, int(fields["count"]), why="opening")
        except (WidgetError, ValueError) as error:
            raise BadLine(rows.line_num, str(error)) from error
    return catalogue, stock


def _part(fields: Dict[str, str]) -> Part:
    return Part(
        sku=fields["sku"].strip(),
        name=fields["name"].strip(),
        price=money.parse(fields["price"]),
        mass=int(fields["mass"]),
    )


def parse_order(customer: Text, text: Text) -> Order:
    """Read an order such as `12 x W-1001, W-2040`, one wish a line or between commas."""
    wishes = [wish.strip() for wish in text.replace("\n", ",").split(",")]
    order = Order(customer, list())
    for number, wish in enumerate([wish for wish in wishes if wish], 1):
        match = _WISH.match(wish)
        if match is None:
            raise BadLine(number, "{!r} is not a wish such as `12 x W-1001`".format(wish))
        order.add(match.group(2), int(match.group(1) or "1"))
    return order
