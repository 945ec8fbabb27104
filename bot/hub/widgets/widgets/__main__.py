# -*- coding: utf-8 -*-
"""The command line: `python -m widgets stock|buy|price FILE …`."""

from __future__ import print_function

import argparse
import sys
from typing import List, Optional

from . import parsing, reports
from .errors import WidgetError


def main(arguments: Optional[List[str]] = None) -> int:
    """Do what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="widgets", description="A small workshop's parts.")
    parser.add_argument("what", choices=["stock", "buy", "price"])
    parser.add_argument("file", help="the parts list, as CSV")
    parser.add_argument("order", nargs="?", default="", help="12 x W-1001, W-2040")
    parser.add_argument("--level", type=int, default=10, help="what counts as low")
    given = parser.parse_args(arguments)
    try:
        print(answer(given))
    except (WidgetError, IOError) as error:
        print("widgets: %s" % error, file=sys.stderr)
        return 1
    return 0


def answer(given: argparse.Namespace) -> str:
    """Return the report that was asked for."""
    catalogue, stock = parsing.read_parts(given.file)
    if given.what == "stock":
        return reports.shelves(catalogue, stock)
    if given.what == "buy":
        return reports.to_buy(catalogue, stock, given.level)
    return reports.receipt(parsing.parse_order("you", given.order), catalogue)


if __name__ == "__main__":
    sys.exit(main())
