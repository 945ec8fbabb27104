import io

import pytest

from widgets import parsing
from widgets.errors import BadLine

HEADER = "sku,name,price,mass,count\n"


def test_a_parts_list_makes_catalogue_and_stock():
    catalogue, stock = parsing.parts_from(io.StringIO(HEADER + "W-1001,hex bolt,0.12,9,1400\n"))
    assert catalogue.get("W-1001").price == 12
    assert stock.count("W-1001") == 1400


@pytest.mark.parametrize(
    "row", ["W-1001,hex bolt,0.12,9", "1001,hex bolt,0.12,9,1", "W-1001,bolt,twelve,9,1"]
)
def test_a_wrong_line_is_named(row):
    with pytest.raises(BadLine, match="line 2"):
        parsing.parts_from(io.StringIO(HEADER + row + "\n"))


def test_a_list_without_its_columns_is_refused():
    with pytest.raises(BadLine, match="columns"):
        parsing.parts_from(io.StringIO("W-1001,hex bolt,0.12,9,1400\n"))


def test_an_order_is_read_as_people_write_it():
    order = parsing.parse_order("Ada", "12 x W-1001, W-2040\n3*W-1002")
    assert order.lines == [("W-1001", 12), ("W-2040", 1), ("W-1002", 3)]


def test_what_is_no_wish_is_named():
    with pytest.raises(BadLine, match="a dozen bolts"):
        parsing.parse_order("Ada", "W-1001, a dozen bolts")
