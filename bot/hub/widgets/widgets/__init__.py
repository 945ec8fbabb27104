# -*- coding: utf-8 -*-
"""Parts, stock, prices and orders of a small workshop."""

__version__ = "1.4.0"
