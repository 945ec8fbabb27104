"""Lines that are counted without a comparison are those that a comparison counts."""

from __future__ import annotations

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.git.lines import counted

LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\r\n", b"\n", b"d e\n", b"\t\n"]), max_size=9)
ENDS = st.sampled_from([b"", b"", b"a", b"x"])
TEXTS = st.builds(lambda lines, end: b"".join(lines) + end, LINES, ENDS)


@given(head=TEXTS, old=TEXTS, new=TEXTS, tail=TEXTS)
def test_they_are_those_of_a_comparison(head: bytes, old: bytes, new: bytes, tail: bytes) -> None:
    for before, after in ((old, new), (head + old + tail, head + new + tail), (b"", new)):
        patch = pygit2.Patch.create_from(before, after)
        assert counted(before, after) in (None, patch.line_stats[1:])


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (b"", b"", (0, 0)),
        (b"", b"a\nb", (2, 0)),
        (b"a\nb\nc\n", b"a\nc\n", (0, 1)),
        (b"a\nb\nc\n", b"a\nx\ny\nc\n", (2, 1)),
        (b"a\na\n", b"a\na\na\n", (1, 0)),
        (b"a\nb\nc\nd\n", b"b\na\nd\n", None),  # to be compared
        (b"a\0\n", b"b\n", None),  # not text
    ],
)
def test_what_stands_in_one_place_is_counted(
    old: bytes, new: bytes, lines: tuple[int, int] | None
) -> None:
    assert counted(old, new) == lines
