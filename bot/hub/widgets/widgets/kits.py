# -*- coding: utf-8 -*-
"""Kits: parts that are made of other parts, to any depth."""

from typing import Dict, Iterator, List, Set, Tuple

from .errors import WidgetError


class Kits(object):
    """What each kit is made of."""

    def __init__(self):
        self._made_of = {}  # type: Dict[str, Dict[str, int]]

    def define(self, kit: str, parts: Dict[str, int]) -> None:
        """Say what a kit is made of; it may not hold itself, however deep."""
        if not parts:
            raise WidgetError("%s is made of nothing" % kit)
        if kit in set([kit_or_part for part in parts for kit_or_part in self._below(part)]):
            raise WidgetError("{} would be a part of itself".format(kit))
        self._made_of[kit] = dict(parts)

    def explode(self, wanted: Dict[str, int]) -> Dict[str, int]:
        """Return the plain parts that a wish for kits and parts comes to."""
        needed = dict()  # type: Dict[str, int]
        for sku, number in self._leaves(wanted):
            needed[sku] = needed.get(sku, 0) + number
        return needed

    def depth(self, sku: str) -> int:
        """Return how many kits deep a part is: 0 for a plain part."""
        if not sku in self._made_of:
            return 0
        return 1 + max([self.depth(part) for part in self._made_of[sku]])

    def _leaves(self, wanted: Dict[str, int]) -> Iterator[Tuple[str, int]]:
        for sku, number in wanted.items():
            if sku in self._made_of.keys():
                inner = {part: each * number for part, each in self._made_of[sku].items()}
                for leaf in self._leaves(inner):
                    yield leaf
            else:
                yield sku, number

    def _below(self, sku: str) -> Iterator[str]:
        yield sku
        for part in self._made_of.get(sku, {}).keys():
            for below in self._below(part):
                yield below
