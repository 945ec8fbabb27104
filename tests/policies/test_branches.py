from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.branches import check_branch, method_of, notes
from policies.config import Config
from policies.facts import METHODS, BranchRules, Method
from policies.sections import Merge

RULES = st.builds(
    BranchRules,
    reviews=st.integers(0, 6),
    code_owners=st.booleans(),
    checks=st.lists(st.sampled_from(("build", "lint")), unique=True).map(tuple),
    queue=st.booleans(),
    linear=st.booleans(),
    signatures=st.booleans(),
    methods=st.lists(st.sampled_from(METHODS), unique=True).map(tuple),
)


def test_commits_that_github_signs_are_taken() -> None:
    rules = BranchRules(signatures=True)
    verdict = check_branch("main", rules, Config(commits="api"))
    assert verdict.allowed
    said = "so GitHub makes and signs those of a run"
    assert said in " ".join(notes("main", rules, Config(commits="api")))
    assert check_branch("main", rules, Config()).allowed
    assert notes("main", rules, Config()) == ()  # told once that is decided


def config(method: Method = "merge") -> Config:
    return Config(merge=Merge(method=method), commits="git")


@pytest.mark.parametrize(
    ("rules", "own", "method"),
    [
        (BranchRules(), "merge", "merge"),
        (BranchRules(), "rebase", "rebase"),
        (BranchRules(linear=True), "merge", "squash"),
        (BranchRules(linear=True), "rebase", "rebase"),
        (BranchRules(methods=("rebase",)), "merge", "rebase"),
        (BranchRules(methods=("merge",)), "squash", "merge"),
        (BranchRules(linear=True, methods=("merge",)), "merge", None),
        (BranchRules(methods=()), "merge", None),
    ],
)
def test_the_merge_is_made_as_the_rules_take_it(
    rules: BranchRules, own: Method, method: Method | None
) -> None:
    assert method_of(rules, config(own)) == method


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (BranchRules(), ()),
        (BranchRules(queue=True), ("`main` is merged into through GitHub's merge queue.",)),
        (
            BranchRules(reviews=2, code_owners=True),
            (
                "`main` asks for 2 approving reviews on GitHub, of code owners too, which"
                " `/approve` is not; the merge waits for that.",
            ),
        ),
        (BranchRules(checks=("ci",)), ("`main` asks for `ci` to be green.",)),
        (
            BranchRules(linear=True),
            ("`main` keeps a linear history, so it is merged by `squash`.",),
        ),
        (
            BranchRules(methods=("squash",)),
            ("`main` takes no `merge`, so it is merged by `squash`.",),
        ),
    ],
)
def test_what_the_rules_ask_beyond_the_configuration_is_told(
    rules: BranchRules, told: tuple[str, ...]
) -> None:
    assert notes("main", rules, config()) == told
    assert check_branch("main", rules, config()).allowed


@pytest.mark.parametrize(
    ("rules", "said", "step"),
    [
        (BranchRules(signatures=True), "takes only signed commits", "`/resume`"),
        (BranchRules(methods=()), "take no way of merging", "administrator"),
    ],
)
def test_what_could_not_be_merged_is_refused_with_the_next_step(
    rules: BranchRules, said: str, step: str
) -> None:
    verdict = check_branch("main", rules, config())
    assert not verdict.allowed
    assert said in verdict.reason
    assert step in verdict.reason


@given(RULES, RULES, st.sampled_from(METHODS))
def test_more_rules_never_allow_more(one: BranchRules, other: BranchRules, own: Method) -> None:
    both = BranchRules(
        reviews=max(one.reviews, other.reviews),
        linear=one.linear or other.linear,
        signatures=one.signatures or other.signatures,
        queue=one.queue or other.queue,
        methods=tuple(each for each in one.methods if each in other.methods),
    )
    if check_branch("main", both, config(own)).allowed:
        assert check_branch("main", one, config(own)).allowed
        assert check_branch("main", other, config(own)).allowed


@given(RULES, st.sampled_from(METHODS))
def test_the_order_of_what_the_rules_name_changes_nothing(rules: BranchRules, own: Method) -> None:
    turned = BranchRules(
        **{name: getattr(rules, name) for name in ("reviews", "code_owners", "queue", "linear")},
        signatures=rules.signatures,
        checks=rules.checks[::-1],
        methods=rules.methods[::-1],
    )
    assert check_branch("main", turned, config(own)) == check_branch("main", rules, config(own))
