from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.rules import judge
from tests.policies.builders import change, config

GOOD = change("src/a.py")


def test_a_good_candidate_is_allowed_by_every_rule() -> None:
    verdict = judge([GOOD], [], Config())
    assert verdict.allowed
    assert [child.rule for child in verdict.children] == ["workspace", "paths", "limits"]


def test_a_refusal_tells_all_that_is_wrong_at_once() -> None:
    changes = [change("uv.lock"), change("a"), change("b")]
    verdict = judge(changes, [("dev/tty", "is a device.")], config("limits: {files: 2}"))
    assert [child.allowed for child in verdict.children] == [False, False, False]
    for said in ("`dev/tty` is a device", "`uv.lock`", "3 files changed"):
        assert said in verdict.reason


def test_a_violation_refuses_a_candidate_without_changes() -> None:
    assert not judge([], [("x", "is a socket")], Config()).allowed


def test_many_violations_are_counted() -> None:
    found = [(f"p{number:02}", "is a socket") for number in range(14)]
    assert "and 4 more" in judge([], found, Config()).reason


@given(
    st.lists(st.sampled_from([GOOD, change("uv.lock"), change("b"), change(".github/x")])),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["is x", "is y"]))),
    st.randoms(),
)
def test_the_order_of_what_was_found_never_matters(
    changes: list[object], found: list[tuple[str, str]], chance: random.Random
) -> None:
    other, others = list(changes), list(found)
    chance.shuffle(other)
    chance.shuffle(others)
    assert judge(changes, found, Config()) == judge(other, others, Config())  # type: ignore[arg-type]
