from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import BranchRules, CheckState, Reported, RequiredFacts
from policies.required import check_required, required, unmet, waits
from policies.sections import Merge

NAMES = ("build", "lint", "docs")

STATES: st.SearchStrategy[CheckState] = st.sampled_from(("green", "red", "pending", "missing"))
REPORTS = st.lists(st.builds(Reported, st.sampled_from(NAMES), STATES), max_size=8)
FACTS = st.builds(
    RequiredFacts,
    st.lists(st.sampled_from(NAMES), unique=True).map(tuple),
    REPORTS.map(tuple),
    st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
)


def facts(*reported: tuple[str, CheckState], aside: str = "") -> RequiredFacts:
    found = tuple(Reported(*each) for each in reported)
    return RequiredFacts(("build", "lint"), found, (aside,) if aside else ())


@pytest.mark.parametrize(
    ("given_facts", "allowed", "waiting", "said"),
    [
        (RequiredFacts(()), True, False, "No checks"),
        (facts(("build", "green"), ("lint", "green")), True, False, "are green"),
        (facts(("build", "green")), False, True, "`lint` has not reported on this head"),
        (facts(("build", "green"), ("lint", "pending")), False, True, "`lint` is in progress"),
        (facts(("build", "red"), ("lint", "pending")), False, False, "`build` is red"),
        (facts(("build", "red"), ("lint", "green"), aside="build"), True, False, "are green"),
        (facts(("build", "green"), aside="lint"), True, False, "are green"),
        # Two programs that use the same name must both be green.
        (facts(("build", "green"), ("build", "red"), ("lint", "green")), False, False, "is red"),
        (facts(("Build", "green"), ("lint", "green")), False, True, "`build` has not reported"),
    ],
)
def test_a_merge_takes_green_checks_only(
    given_facts: RequiredFacts, allowed: bool, waiting: bool, said: str
) -> None:
    verdict = check_required(given_facts)
    assert (verdict.allowed, waits(given_facts)) == (allowed, waiting)
    assert said in verdict.reason
    if not allowed:
        assert "`/override" in verdict.reason


def test_the_names_are_the_configurations_and_the_branchs_each_once() -> None:
    config = Config(merge=Merge(checks=("build", "docs")))
    assert required(config, BranchRules(checks=("lint", "build"))) == ("build", "docs", "lint")


@given(FACTS)
def test_the_order_of_reports_and_names_changes_nothing(found: RequiredFacts) -> None:
    turned = RequiredFacts(found.names[::-1], found.reported[::-1], found.set_aside[::-1])
    assert check_required(turned) == check_required(found)
    assert waits(turned) == waits(found)


@given(FACTS, st.sampled_from(NAMES))
def test_one_more_name_never_allows_more(found: RequiredFacts, name: str) -> None:
    more = RequiredFacts((*found.names, name), found.reported, found.set_aside)
    if check_required(more).allowed:
        assert check_required(found).allowed


@given(FACTS)
def test_it_is_refused_for_what_is_unmet_and_nothing_else(found: RequiredFacts) -> None:
    assert check_required(found).allowed is not bool(unmet(found))
    if waits(found):
        assert unmet(found)
