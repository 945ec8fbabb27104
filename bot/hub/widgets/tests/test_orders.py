import pytest

from widgets.errors import Shortage, WidgetError
from widgets.orders import Order


def test_the_same_part_makes_one_line():
    order = Order("Ada", []).add("W-1001", 5).add("W-2040").add("W-1001", 7)
    assert order.lines == [("W-1001", 12), ("W-2040", 1)]


def test_every_order_has_its_own_lines():
    Order("Ada").add("W-1001", 12)
    assert Order("Grace").lines == []


def test_nothing_less_than_one_is_ordered():
    with pytest.raises(WidgetError):
        Order("Ada", []).add("W-1001", 0)


def test_a_total_is_net_and_tax(catalogue):
    order = Order("Ada", [("W-1001", 10), ("W-2040", 2)])
    assert order.net(catalogue) == 510
    assert order.total(catalogue) == 607


def test_an_order_empties_the_shelf(stock):
    Order("Ada", [("W-1002", 40)]).fulfil(stock)
    assert stock.history("W-1002")[-1] == (-40, "order of Ada")


def test_an_order_that_cannot_be_met_takes_nothing(stock):
    with pytest.raises(Shortage):
        Order("Ada", [("W-1001", 1), ("W-2040", 60)]).fulfil(stock)
    assert stock.count("W-1001") == 1400


def test_an_empty_order_is_not_fulfilled(stock):
    with pytest.raises(WidgetError, match="nothing"):
        Order("Ada", []).fulfil(stock)


def test_an_order_can_be_read_aloud():
    assert str(Order("Ada", [("W-1001", 12)])) == "Ada: 12 x W-1001"
