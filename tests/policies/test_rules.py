from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import MODE_SYMLINK, Change, Dependency, Secret
from policies.rules import judge, judge_whole, offenders
from tests.policies.builders import change, config

GOOD = change("src/a.py")
LEAK = Secret("src/a.py", 3, "aws-access-token")


def test_a_good_candidate_is_allowed_by_every_rule() -> None:
    verdict = judge([GOOD], [], [], Config())
    assert verdict.allowed
    rules = ["workspace", "paths", "limits", "dependencies", "secrets"]
    assert [child.rule for child in verdict.children] == rules


def test_a_refusal_tells_all_that_is_wrong_at_once() -> None:
    changes = [change("uv.lock"), change("a"), change("b")]
    found = [("dev/tty", "is a device.")]
    brought = [Dependency("uv.lock", "left")]
    few = config("limits: {files: 2, dependencies: 0}")
    verdict = judge(changes, found, [LEAK], few, dependencies=brought)
    assert [child.allowed for child in verdict.children] == [False] * 5
    for said in ("`dev/tty` is a device", "`uv.lock`", "3 files changed", "`src/a.py`, line 3"):
        assert said in verdict.reason


def test_a_violation_refuses_a_candidate_without_changes() -> None:
    assert not judge([], [("x", "is a socket")], [], Config()).allowed


def test_many_violations_are_counted() -> None:
    found = [(f"p{number:02}", "is a socket") for number in range(14)]
    assert "and 4 more" in judge([], found, [], Config()).reason


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
    assert judge(changes, found, (), Config()) == judge(other, others, (), Config())  # type: ignore[arg-type]


def test_what_breaks_a_rule_is_named_and_the_rest_is_not() -> None:
    changes = [
        GOOD,
        change("uv.lock"),
        change("free", old_path=".github/workflows/x.yml", status="renamed"),
        change(".npmrc", old_path="plain", status="renamed"),
        change("link", old_mode=0, new_mode=MODE_SYMLINK, status="added"),
    ]
    broken = frozenset({"uv.lock", "free", ".github/workflows/x.yml", ".npmrc", "plain"})
    assert offenders(changes, [], [], Config()) == broken
    found = [("dev/tty", "is a device"), ("src/a.py", "is a socket")]
    assert offenders(changes, found, [], Config()) == broken | {"dev/tty", "src/a.py"}
    allowed = config("paths: {allowed: [src/**]}")
    assert offenders([GOOD, change("docs")], [], [], allowed) == frozenset({"docs"})


def test_a_file_with_a_secret_is_named_with_the_name_it_had() -> None:
    moved = change("src/a.py", old_path="lib/a.py", status="renamed")
    gone = offenders([moved, change("b")], [], [LEAK], Config())
    assert gone == frozenset({"src/a.py", "lib/a.py"})
    assert offenders([moved], [], [LEAK], config("secrets: {allowed: [src/]}")) == frozenset()


def test_of_a_good_candidate_nothing_is_named() -> None:
    assert offenders([GOOD], [], [], Config()) == frozenset()


def test_a_refusal_that_is_about_no_path_is_mended_by_leaving_none_out() -> None:
    few = config("limits: {files: 1}")
    assert offenders([GOOD, change("b")], [], [], few) is None
    assert offenders([], [("", "There are too many files.")], [], Config()) is None
    # Without what breaks a rule the limit may hold: that is judged anew.
    assert offenders([GOOD, change("uv.lock")], [], [], few) == frozenset({"uv.lock"})


@given(
    st.lists(
        st.sampled_from(
            [
                GOOD,
                change("uv.lock"),
                change("b", old_path=".npmrc", status="renamed"),
                change("c", new_mode=MODE_SYMLINK),
            ]
        )
    )
)
def test_what_is_left_passes_the_rules_about_paths(changes: list[Change]) -> None:
    gone = offenders(changes, [], [], Config())
    assert gone is not None
    rest = [each for each in changes if not gone & {each.path, each.old_path}]
    assert judge(rest, [], [], Config()).allowed


def test_the_whole_of_a_run_is_judged_by_its_paths_and_not_by_the_limits_of_one_step() -> None:
    few = config("limits: {files: 1}")
    assert judge_whole([GOOD, change("b")], few).allowed
    assert not judge_whole([GOOD, change("uv.lock")], few).allowed
