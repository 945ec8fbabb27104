import pytest

from widgets.errors import WidgetError
from widgets.orders import Order
from widgets.packing import fewest, pack


def test_boxes_are_filled_heaviest_first(catalogue):
    order = Order("Ada", [("W-2040", 30), ("W-4000", 3)])
    boxes = pack(order, catalogue, limit=1300)
    assert [box.mass for box in boxes] == [1292, 898]
    assert boxes[0].contents[:2] == ["W-4000", "W-4000"]


def test_no_packing_beats_the_fewest(catalogue):
    order = Order("Ada", [("W-4000", 5), ("W-1001", 100)])
    assert fewest(order, catalogue, limit=1000) == 4
    assert len(pack(order, catalogue, limit=1000)) >= 4


def test_what_is_too_heavy_is_refused(catalogue):
    with pytest.raises(WidgetError, match="610 g"):
        pack(Order("Ada", [("W-4000", 1)]), catalogue, limit=500)
