from widgets import reports
from widgets.__main__ import main
from widgets.orders import Order

PARTS = """\
sku,name,price,mass,count
W-1001,hex bolt,0.12,9,1400
W-2040,bearing,1.95,12,6
"""


def test_shelves_say_what_they_are_worth(catalogue, stock):
    text = reports.shelves(catalogue, stock)
    assert "W-1001  hex bolt M6    1400  168.00" in text
    assert text.endswith("worth 183.30")


def test_what_is_low_is_to_be_bought(catalogue, stock):
    assert "W-2040  bearing 608        4" in reports.to_buy(catalogue, stock, 10)
    assert reports.to_buy(catalogue, stock, 1) == "nothing has run low"


def test_a_receipt_ends_in_the_total(catalogue):
    text = reports.receipt(Order("Ada", [("W-1001", 22)]), catalogue)
    assert "cheaper from 25" in text
    assert text.endswith("total 3.14")


def test_the_command_line_prints_a_report(tmp_path, capsys):
    parts = tmp_path / "parts.csv"
    parts.write_text(PARTS)
    assert main(["buy", str(parts)]) == 0
    assert "bearing" in capsys.readouterr().out


def test_the_command_line_says_what_is_wrong(tmp_path, capsys):
    assert main(["stock", str(tmp_path / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().err
