from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from policies.verdict import Verdict, all_of, code, counted, in_turn, listed

YES = Verdict(True, "yes", "It is fine.")
NO = Verdict(False, "no", "It is not; mend it.")
NEVER = Verdict(False, "never", "Nor is this; leave it.")


def test_all_of_allows_when_every_rule_does() -> None:
    assert all_of("both", [YES, YES]).allowed


def test_all_of_refuses_with_every_reason() -> None:
    verdict = all_of("three", [YES, NO, NEVER])
    assert not verdict.allowed
    assert verdict.reason == "It is not; mend it. Nor is this; leave it."
    assert verdict.children == (YES, NO, NEVER)


def test_in_turn_refuses_with_the_first_reason() -> None:
    assert in_turn("three", [YES, NO, NEVER]).reason == NO.reason


def test_in_turn_tells_every_reason_of_what_it_allows() -> None:
    assert in_turn("two", [YES, YES]).reason == "It is fine. It is fine."


@pytest.mark.parametrize("combine", [all_of, in_turn])
def test_what_no_rule_judged_is_refused(combine: object) -> None:
    assert callable(combine)
    assert not combine("nothing", []).allowed


def test_a_verdict_taken_for_a_truth_value_is_an_error() -> None:
    with pytest.raises(TypeError, match="allowed"):
        bool(NO)


def test_the_tree_explains_itself_in_lines() -> None:
    tree = all_of("top", [YES, all_of("inner", [NO])])
    assert tree.text().splitlines() == [
        "refused  top: It is not; mend it.",
        "  allowed  yes: It is fine.",
        "  refused  inner: It is not; mend it.",
        "    refused  no: It is not; mend it.",
    ]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("a.py", "`a.py`"),
        ("a`b", "``a`b``"),
        ("`a", "`` `a ``"),
        ("a\nb", r"`a\x0ab`"),
        ("a\u202eb", r"`a\u202eb`"),
        ("a\udc80b", r"`a\udc80b`"),
        ("", "` `"),
    ],
)
def test_code_shows_what_is_there(text: str, span: str) -> None:
    assert code(text) == span


def test_code_cuts_a_long_text_in_its_middle() -> None:
    assert code("a" * 300 + "end").endswith("end`")
    assert len(code("a" * 300)) == 203


@given(st.text(min_size=1).map(lambda text: text.strip() or "x"))
def test_no_text_breaks_out_of_its_code_span(text: str) -> None:
    tokens = MarkdownIt().parseInline(f"a {code(text)} b")[0].children or []
    assert [token.type for token in tokens] == ["text", "code_inline", "text"]


def test_listed_names_ten_and_counts_the_rest() -> None:
    shown = listed(f"f{number:02}" for number in reversed(range(13)))
    assert shown.startswith("`f00`, `f01`")
    assert shown.endswith("`f09` and 3 more")


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (1200, "1,200 files")])
def test_counted_says_the_number_with_its_noun(number: int, text: str) -> None:
    assert counted(number, "file") == text
