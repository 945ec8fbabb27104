import pytest

from widgets import money
from widgets.errors import WidgetError


@pytest.mark.parametrize(
    "text, cents", [("12", 1200), ("12.5", 1250), (" 0.07 ", 7), ("-3.10", -310)]
)
def test_amounts_are_read_as_cents(text, cents):
    assert money.parse(text) == cents


@pytest.mark.parametrize("text", ["", "1.234", "1,50", "ten"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(WidgetError):
        money.parse(text)


def test_amounts_are_shown_with_thousands():
    assert money.show(123450) == "1,234.50"
    assert money.show(-5) == "-0.05"


def test_halves_are_rounded_away_from_zero():
    assert money.percent(50, 19) == 10
    assert money.percent(-50, 19) == -10


def test_shares_add_up():
    assert money.share(100, [1, 1, 1]) == [34, 33, 33]
    assert sum(money.share(9999, [3, 5, 7, 11])) == 9999


def test_nothing_is_shared_among_nobody():
    with pytest.raises(WidgetError):
        money.share(100, [0, 0])
