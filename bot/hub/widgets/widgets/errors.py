# -*- coding: utf-8 -*-
"""What can be wrong with what a person asks for."""


class WidgetError(Exception):
    """The base of all of them; its text is for people."""


class UnknownPart(WidgetError):
    """There is no part of this number."""

    def __init__(self, sku):
        super(UnknownPart, self).__init__("there is no part %s" % sku)
        self.sku = sku


class Shortage(WidgetError):
    """There is less on the shelf than was asked for."""

    def __init__(self, sku, wanted, there):
        super(Shortage, self).__init__(
            "%s: %s wanted, %s on the shelf" % (sku, wanted, there)
        )
        self.sku = sku
        self.wanted = wanted
        self.there = there


class BadLine(WidgetError):
    """A line of input that cannot be read; lines count from 1."""

    def __init__(self, number, reason):
        super(BadLine, self).__init__("line {}: {}".format(number, reason))
        self.number = number
