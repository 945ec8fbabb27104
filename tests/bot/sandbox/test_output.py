from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.sandbox.output import LINE_CHARACTERS, TAIL_CHARACTERS, Output, clean


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext", "plain\ttext"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bcreset", "reset"),
        ("bell\x07 back\x08 null\x00", "bell back null"),
        ("abc\u202egnp.exe", "abcgnp.exe"),
        ("ü 漢 🙂", "ü 漢 🙂"),
        ("\x9b31m", "31m"),
    ],
)
def test_a_line_is_cleaned(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def lines_of(*chunks: bytes, limit: int = 1_000_000) -> list[str]:
    lines: list[str] = []
    output = Output(limit, None, lines.append)
    for chunk in chunks:
        output.feed(chunk)
    output.close()
    return lines


def test_a_progress_bar_shows_its_last_state() -> None:
    assert lines_of(b"10%\r50%\r100%\r\nnext\r\n") == ["100%", "next"]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_it_does_not_matter_how_output_is_cut(data: bytes, cuts: list[int]) -> None:
    ends = sorted({0, *cuts, len(data)})
    chunks = [data[start:end] for start, end in pairwise(ends)]
    assert lines_of(*chunks) == lines_of(data)


@given(st.text(max_size=300))
def test_what_is_shown_has_no_escapes(text: str) -> None:
    shown = clean(text)
    assert not any(ord(char) < 32 and char != "\t" for char in shown)
    assert "\x1b" not in shown


def test_a_line_without_end_is_cut_into_pieces() -> None:
    lines = lines_of(b"x" * 10_000)
    assert max(map(len, lines)) == LINE_CHARACTERS
    assert sum(map(len, lines)) == 10_000


def test_the_tail_is_the_end_and_bounded() -> None:
    output = Output(10_000_000, None, None)
    for number in range(100_000):
        output.feed(f"line {number}\n".encode())
    output.close()
    assert len(output.tail()) <= TAIL_CHARACTERS
    assert output.tail().endswith("line 99998\nline 99999")


@pytest.mark.parametrize(("chunks", "full"), [([b"hello"], False), ([b"hello", b" world"], True)])
def test_what_comes_after_the_limit_is_dropped(chunks: list[bytes], full: bool) -> None:
    output = Output(5, None, None)
    for chunk in chunks:
        output.feed(chunk)
    output.close()
    assert output.full is full
    assert output.tail() == "hello"
