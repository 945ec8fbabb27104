import pytest

from widgets.errors import WidgetError
from widgets.kits import Kits


@pytest.fixture
def kits():
    kits = Kits()
    kits.define("K-0001", {"W-1001": 4, "W-1002": 4})
    kits.define("K-0002", {"K-0001": 2, "W-2040": 1})
    return kits


def test_a_kit_comes_to_its_parts(kits):
    assert kits.explode({"K-0002": 3, "W-1001": 1}) == {"W-1001": 25, "W-1002": 24, "W-2040": 3}


def test_depth_counts_the_kits_on_the_way(kits):
    assert kits.depth("W-1001") == 0
    assert kits.depth("K-0002") == 2


def test_no_kit_holds_itself(kits):
    with pytest.raises(WidgetError, match="itself"):
        kits.define("K-0001", {"K-0002": 1})


def test_a_kit_is_made_of_something(kits):
    with pytest.raises(WidgetError):
        kits.define("K-0003", {})
