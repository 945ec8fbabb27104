import pytest

from widgets.errors import UnknownPart, WidgetError
from widgets.parts import Catalogue, Part, valid_sku


def test_numbers_have_a_letter_and_four_digits():
    assert valid_sku("W-1001")
    assert not valid_sku("W-101")
    assert not valid_sku("w-1001")


def test_a_catalogue_is_listed_by_number(catalogue):
    assert [part.sku for part in catalogue] == ["W-1001", "W-1002", "W-2040", "W-4000"]


def test_a_part_is_taken_in_once(catalogue):
    with pytest.raises(WidgetError, match="already"):
        catalogue.add(Part("W-1001", "another bolt", 1, 1))


def test_a_part_that_is_not_there_is_named(catalogue):
    with pytest.raises(UnknownPart, match="W-9999"):
        catalogue.get("W-9999")


def test_a_search_wants_every_word(catalogue):
    assert [part.sku for part in catalogue.search("M6 HEX")] == ["W-1001", "W-1002"]
    assert catalogue.search("hex belt") == []


def test_a_catalogue_may_be_empty():
    assert len(Catalogue()) == 0
