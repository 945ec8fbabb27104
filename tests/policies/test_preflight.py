from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import PreflightFacts, Reported
from policies.preflight import NEEDED, PATHS_MAX, check_able, check_wanted, named_paths, told
from policies.sections import Paths, Preflight

ALL = dict.fromkeys(NEEDED, "write")
FINE = PreflightFacts("main", permissions=ALL)
RED = (Reported("ci", "red"), Reported("docs", "pending"))

FACTS = st.builds(
    PreflightFacts,
    branch=st.just("main"),
    base=st.lists(
        st.builds(Reported, st.sampled_from("abc"), st.sampled_from(("green", "red", "pending"))),
        max_size=4,
    ).map(tuple),
    closed=st.sets(st.sampled_from(("creation", "update"))).map(lambda s: tuple(sorted(s))),
    permissions=st.none()
    | st.dictionaries(st.sampled_from(sorted(NEEDED)), st.sampled_from(("read", "write"))),
    archived=st.booleans(),
    named=st.lists(st.sampled_from(("a.py", "uv.lock", "src/b.py")), unique=True).map(tuple),
)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ("add a note", ()),
        (
            "Mend `src/a.py`, see .github/workflows/ci.yml.",
            ("src/a.py", ".github/workflows/ci.yml"),
        ),
        ("bring uv.lock up to date; uv.lock!", ("uv.lock",)),
        ("see https://example.org/a/b.html, or ask ada@example.com", ()),
        ("write .env", (".env",)),
        ("touch docs/ please", ()),
    ],
)
def test_the_paths_in_a_request_are_found(request_: str, named: tuple[str, ...]) -> None:
    assert named_paths(request_) == named


@given(st.text(max_size=400))
def test_reading_a_request_ends_and_names_no_more_than_it_may(text: str) -> None:
    assert len(named_paths(text)) <= PATHS_MAX
    assert named_paths("a/" * 20_000) == named_paths("a/" * 20_000)


@pytest.mark.parametrize(
    ("facts", "said", "step"),
    [
        (replace(FINE, archived=True), "is archived", "`/resume`"),
        (replace(FINE, closed=("creation",)), "close branches such as", "administrator"),
        (
            replace(FINE, permissions={**ALL, "checks": "read"}),
            "may not write `checks`, by which it writes the checks",
            "accept it",
        ),
    ],
)
def test_what_the_app_cannot_do_stops_the_run(facts: PreflightFacts, said: str, step: str) -> None:
    verdict = check_able(facts, Config())
    assert not verdict.allowed
    assert said in verdict.reason
    assert step in verdict.reason
    assert check_able(FINE, Config()).allowed
    assert check_able(replace(FINE, permissions=None), Config()).allowed


@pytest.mark.parametrize(
    ("facts", "said", "name"),
    [
        (replace(FINE, base=RED), "`main` is red already: `ci`.", "red_base"),
        (
            replace(FINE, named=("a.py", "uv.lock")),
            "The request names `uv.lock`, which agents may not change here.",
            "closed_paths",
        ),
    ],
)
def test_what_people_may_want_is_asked_or_only_told(
    facts: PreflightFacts, said: str, name: str
) -> None:
    verdict = check_wanted(facts, Config())
    assert not verdict.allowed
    assert said in verdict.reason
    assert "`/resume`" in verdict.reason
    assert told(facts, Config()) == ()
    tells = Config(preflight=Preflight(**{name: "tell"}))
    assert check_wanted(facts, tells).allowed
    assert told(facts, tells) == (said,)


def test_a_path_that_is_not_among_the_allowed_is_asked_about() -> None:
    config = Config(paths=Paths(allowed=("src/**",)))
    assert not check_wanted(replace(FINE, named=("docs/a.md",)), config).allowed
    assert check_wanted(replace(FINE, named=("src/a.py",)), config).allowed


@given(FACTS)
def test_the_order_of_what_was_found_changes_nothing(facts: PreflightFacts) -> None:
    turned = replace(facts, base=facts.base[::-1], named=facts.named[::-1])
    assert check_wanted(turned, Config()) == check_wanted(facts, Config())
    assert check_able(turned, Config()) == check_able(facts, Config())


def test_a_rule_for_signatures_closes_a_branch_only_to_commits_of_git() -> None:
    facts = replace(FINE, closed=("required_signatures",))
    assert check_able(facts, Config()).allowed
    assert check_able(facts, Config(commits="api")).allowed
    verdict = check_able(facts, Config(commits="git"))
    assert "close branches such as `orchestrate/…` (`required_signatures`)" in verdict.reason
    more = check_able(replace(facts, closed=("creation", *facts.closed)), Config())
    assert "(`creation`)" in more.reason


@given(FACTS, st.sampled_from(("red", "closed", "archived", "named")))
def test_one_more_trouble_never_allows_more(facts: PreflightFacts, trouble: str) -> None:
    config = Config(commits="git")
    more = {
        "red": replace(facts, base=(*facts.base, Reported("x", "red"))),
        "closed": replace(facts, closed=(*facts.closed, "required_signatures")),
        "archived": replace(facts, archived=True),
        "named": replace(facts, named=(*facts.named, "poetry.lock")),
    }[trouble]
    if check_able(more, config).allowed and check_wanted(more, config).allowed:
        assert check_able(facts, config).allowed
        assert check_wanted(facts, config).allowed
