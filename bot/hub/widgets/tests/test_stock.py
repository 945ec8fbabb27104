import pytest

from widgets.errors import Shortage, WidgetError


def test_what_comes_in_is_counted(stock):
    stock.receive("W-2040", 10)
    assert stock.count("W-2040") == 16


def test_less_than_nothing_cannot_come_in(stock):
    with pytest.raises(WidgetError):
        stock.receive("W-2040", -1)


def test_all_is_taken_or_nothing(stock):
    with pytest.raises(Shortage) as caught:
        stock.take({"W-1001": 5, "W-2040": 7})
    assert (caught.value.sku, caught.value.there) == ("W-2040", 6)
    assert stock.count("W-1001") == 1400


def test_what_is_missing_is_the_difference(stock):
    assert stock.missing({"W-1001": 1400, "W-2040": 10, "W-4000": 1}) == {"W-2040": 4, "W-4000": 1}


def test_what_is_low_is_listed(stock):
    assert stock.low(100) == ["W-1002", "W-2040"]


def test_every_movement_has_its_reason(stock):
    stock.take({"W-2040": 2}, why="repair")
    assert stock.history("W-2040") == [(6, "opening"), (-2, "repair")]
