import pytest

from widgets import pricing


@pytest.mark.parametrize(
    "number, rate", [(1, 0), (24, 0), (25, 5), (99, 5), (100, 10), (1000, 20)]
)
def test_more_of_a_part_costs_less(number, rate):
    assert pricing.discount(number) == rate


def test_a_price_counts_the_discount(catalogue):
    assert pricing.net(catalogue.get("W-2040"), 100) == 17550


def test_tax_is_on_top():
    assert pricing.tax(10000) == 1900


def test_the_next_break_is_the_nearest():
    assert pricing.next_break(1) == 25
    assert pricing.next_break(30) == 100
    assert pricing.next_break(1000) is None
