import pytest

from widgets.stock import Stock
from widgets.parts import Catalogue, Part


@pytest.fixture
def catalogue():
    return Catalogue(
        [
            Part("W-1001", "hex bolt M6", 12, 9),
            Part("W-1002", "hex nut M6", 4, 3),
            Part("W-2040", "bearing 608", 195, 12),
            Part("W-4000", "gear housing", 2300, 610),
        ]
    )


@pytest.fixture
def stock():
    return Stock({"W-1001": 1400, "W-1002": 90, "W-2040": 6})
