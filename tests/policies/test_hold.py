from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import HoldFacts
from policies.hold import check_hold
from policies.sections import Hold
from tests.policies.builders import config


@pytest.mark.parametrize(
    ("text", "labels", "holds", "said"),
    [
        ("", (), (), ""),
        ("", ("bug",), (), ""),
        ("", ("Do-Not-Merge", "bug"), (), "a label on the pull request, `Do-Not-Merge`: take it"),
        ("hold: {labels: []}", ("do-not-merge",), (), ""),
        ("hold: {labels: [wip, later]}", ("later", "wip"), (), "labels on the pull request, `l"),
        ("", (), (("grace", ""),), "held by `grace`; `/unhold` lifts that"),
        ("", (), (("grace", "a `b`"), ("ada", "c")), "`ada` (`c`), `grace` (`` a `b` ``)"),
        ("", ("do-not-merge",), (("grace", ""),), "`/unhold` lifts that, then `/approve` merges"),
    ],
)
def test_a_hold_by_command_or_label_keeps_it_from_being_merged(
    text: str, labels: tuple[str, ...], holds: tuple[tuple[str, str], ...], said: str
) -> None:
    verdict = check_hold(HoldFacts(frozenset(labels), holds), config(text))
    assert verdict.allowed is (not said)
    assert said in verdict.reason


NAMES = st.lists(st.sampled_from(["a", "B", "b", "c"]), max_size=3)
HOLDS = st.lists(st.tuples(st.sampled_from(["ada", "bob"]), st.just("why")), max_size=2)


@given(NAMES, HOLDS, NAMES, st.sampled_from("abc"), st.randoms())
def test_neither_order_nor_one_more_hold_lets_more_be_merged(
    labels: list[str],
    holds: list[tuple[str, str]],
    named: list[str],
    more: str,
    chance: random.Random,
) -> None:
    def judged(labels: list[str], holds: list[tuple[str, str]], named: list[str]) -> bool:
        rules = Config(hold=Hold(labels=tuple(named)))
        return check_hold(HoldFacts(frozenset(labels), tuple(holds)), rules).allowed

    given_ = judged(labels, holds, named)
    assert judged(labels, holds[::-1], chance.sample(named, len(named))) == given_
    assert given_ or not judged([*labels, more], holds, named)
    assert given_ or not judged(labels, [*holds, ("cyd", "")], named)
    assert given_ or not judged(labels, holds, [*named, more])
