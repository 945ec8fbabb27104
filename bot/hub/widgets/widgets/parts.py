# -*- coding: utf-8 -*-
"""A part, and the catalogue of all of them."""

from __future__ import unicode_literals

import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional

from .errors import UnknownPart, WidgetError

_SKU = re.compile(r"[A-Z]-\d{4}$")

Part = NamedTuple(
    "Part", [("sku", str), ("name", str), ("price", int), ("mass", int)]
)


def valid_sku(sku: str) -> bool:
    """Whether a part's number has the form `W-1001`."""
    if _SKU.match(sku):
        return True
    else:
        return False


class Catalogue(object):
    """Parts by their numbers."""

    def __init__(self, parts: Optional[List[Part]] = None):
        self._parts = dict()  # type: Dict[str, Part]
        for part in parts or list():
            self.add(part)

    def add(self, part: Part) -> None:
        """Take a part in; its number must be new."""
        if not valid_sku(part.sku):
            raise WidgetError("%r is not a part number" % (part.sku,))
        if part.sku in self._parts.keys():
            raise WidgetError("%s is in the catalogue already" % part.sku)
        self._parts[part.sku] = part

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Part]:
        for sku in sorted(list(self._parts.keys())):
            yield self._parts[sku]

    def get(self, sku: str) -> Part:
        """Return a part by its number."""
        try:
            return self._parts[sku]
        except KeyError:
            raise UnknownPart(sku) from None

    def search(self, words: str) -> List[Part]:
        """Find the parts whose names hold every word, whatever the case."""
        wanted = [word.lower() for word in words.split()]
        return [
            part for part in self if all([word in part.name.lower() for word in wanted])
        ]
