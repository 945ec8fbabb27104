from __future__ import annotations

import pytest

from bot.github.pushes import pushers_since
from bot.threads import Push

OURS = ("base", "one")


@pytest.mark.parametrize(
    ("pushes", "named"),
    [
        pytest.param([("ada", "tip"), (None, "one")], ("ada",), id="one push"),
        pytest.param([("ada", "tip"), ("bob", "x"), (None, "one")], ("ada", "bob"), id="two"),
        pytest.param([("eve", "later"), ("ada", "tip"), (None, "one")], ("ada",), id="one after"),
        pytest.param([("ada", "tip"), ("ada", "x"), ("bob", "base")], ("ada",), id="on the base"),
        pytest.param([("ada", "tip"), (None, "x"), ("bob", "y")], ("ada", "bob"), id="no end"),
        pytest.param([("", "tip"), (None, "one")], ("",), id="an account that is gone"),
        pytest.param([("ada", "tip"), ("ada", "x"), ("", "")], ("ada", ""), id="too many"),
        pytest.param([("ada", "x"), (None, "one")], (), id="not told yet"),
        pytest.param([], (), id="nothing told"),
    ],
)
def test_who_moved_a_branch_is_read_from_ours_to_the_tip(
    pushes: list[tuple[str | None, str]], named: tuple[str, ...]
) -> None:
    assert pushers_since([Push(by, after) for by, after in pushes], OURS, "tip") == named
