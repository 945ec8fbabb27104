"""Untrusted text shows what it says, and does nothing."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bot.github.markup import BODY_LIMIT, cut_body, fence, plain, prose, quote

HOSTILE = st.text(
    alphabet=st.one_of(st.sampled_from("@#`<>&![]()*_~|\n\\-:/ a1é\u202e\u200b"), st.characters()),
    max_size=400,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("`/resume` goes on", "`/resume` goes on"),
        ("ask @admin", "ask &#64;&#8203;admin"),
        ("fixes #12", "fixes &#35;&#8203;12"),
        ("GH-12", "GH&#8203;-12"),
        ("see https://x.example/1", "see https:&#8203;//x.example/1"),
        ("www.x.example", "www&#8203;.x.example"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("![i](u)", r"!\[i\](u)"),
        ("**b** a_b ~c~", r"\*\*b\*\* a\_b \~c\~"),
        ("two\nlines", "two lines"),
        ("seen<!-- hidden -->", "seen"),
        ("an open ` tick @x", r"an open \` tick &#64;&#8203;x"),
        ("``a ` @b``", "``a ` @b``"),
        ("# head", "&#35;&#8203; head"),
        ("- item", "&#8203;- item"),
        ("1. item", "&#8203;1. item"),
    ],
)
def test_prose_is_inert(text: str, shown: str) -> None:
    assert prose(text) == shown


def rendered(text: str) -> str:
    """What stands outside code once the Markdown is HTML, as a reader and GitHub see it."""
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    return re.sub(r"<code>.*?</code>", "", html, flags=re.DOTALL)


LIVE = re.compile(r"@[A-Za-z0-9]|#[0-9]|GH-[0-9]|[a-z]://", re.IGNORECASE)


@given(HOSTILE)
def test_no_text_gets_a_mention_a_reference_or_a_tag_into_prose(text: str) -> None:
    shown = prose(text)
    assert "\n" not in shown
    html = rendered(f"Before: {shown}")
    assert set(re.findall(r"<[^>]*>", html)) <= {"<p>", "</p>"}
    assert not LIVE.search(unescape(html))


@given(HOSTILE)
def test_a_quote_holds_paragraphs_and_nothing_else(text: str) -> None:
    html = rendered(quote(text))
    assert set(re.findall(r"<[^>]*>", html)) <= {"<blockquote>", "</blockquote>", "<p>", "</p>"}
    assert not LIVE.search(unescape(html))


@given(HOSTILE)
def test_every_line_of_a_quote_is_quoted(text: str) -> None:
    assert all(line.startswith(">") for line in quote(text).splitlines())


@given(HOSTILE, st.integers(min_value=0, max_value=120))
def test_a_fence_closes_once_and_keeps_its_limit(text: str, limit: int) -> None:
    shown = fence(text, limit)
    assert len(shown) <= limit
    if shown:
        first, *body, last = shown.split("\n")
        bars = first.removesuffix("text")
        assert last == bars
        assert not any(line.strip().startswith(bars) for line in body)


def test_a_fence_keeps_the_end_of_what_is_too_long() -> None:
    shown = fence("first\n" + "x" * 200 + "\nlast", 100)
    assert "last" in shown
    assert "first" not in shown


@given(HOSTILE, st.integers(min_value=1, max_value=80))
def test_a_plain_field_is_one_line_within_its_limit(text: str, limit: int) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown


def test_a_long_body_is_cut_at_a_line_with_a_sentence_and_its_blocks_closed() -> None:
    body = "marker\n<details>\n" + "a line\n" * 20_000 + "</details>\n"
    shown = cut_body(body)
    assert len(shown) <= BODY_LIMIT
    assert shown.startswith("marker\n")
    assert shown.count("<details>") == shown.count("</details>")
    assert shown.endswith("*The rest is cut: GitHub takes no longer text.*\n")
    there = "https://git.example/acme/widgets/commits/x"
    shown = cut_body(body, rest=there)
    assert len(shown) <= BODY_LIMIT
    assert shown.endswith(f"takes no longer text. [All of it]({there}).*\n")


def test_a_short_body_is_left_alone() -> None:
    assert cut_body("short") == "short"
