"""Who signs the commits of a run, by what its branches take and the configuration says."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.bounds import bounded
from policies.config import Config, parse
from policies.facts import BranchRules
from policies.signing import OWN_BRANCH, SIGNATURES, commits_of, demanding, switched

SIGNED = BranchRules(signatures=True)


@pytest.mark.parametrize(
    ("rules", "own", "names"),
    [
        (BranchRules(), (), ()),
        (BranchRules(linear=True), ("creation", "update"), ()),
        (SIGNED, (), ("main",)),
        (BranchRules(), ("creation", SIGNATURES), (OWN_BRANCH,)),
        (SIGNED, (SIGNATURES,), ("main", OWN_BRANCH)),
    ],
)
def test_the_branches_that_take_signed_commits_only_are_named(
    rules: BranchRules, own: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert demanding("main", rules, own) == names


@pytest.mark.parametrize(
    ("text", "demands", "by"),
    [
        ("", (), "git"),
        ("", ("main",), "api"),
        ("", (OWN_BRANCH,), "api"),
        ("commits: auto", ("main",), "api"),
        ("commits: auto", (), "git"),
        ("commits: git", ("main", OWN_BRANCH), "git"),
        ("commits: api", (), "api"),
        ("extends: [strict]", (), "git"),
        ("extends: [strict]", ("main",), "api"),
    ],
)
def test_only_what_the_configuration_leaves_open_follows_the_rules(
    text: str, demands: tuple[str, ...], by: Literal["git", "api"]
) -> None:
    config = parse(text).config
    assert config is not None
    assert commits_of(demands, config) == by


@given(
    st.sampled_from(("auto", "git", "api")),
    st.sampled_from(("auto", "git", "api")),
    st.sets(st.sampled_from(("main", "next", OWN_BRANCH))),
    st.sampled_from(("main", OWN_BRANCH)),
)
def test_one_more_demand_or_a_bound_never_takes_a_signature_away(
    own: Literal["auto", "git", "api"],
    bound: Literal["auto", "git", "api"],
    demands: set[str],
    more: str,
) -> None:
    config = Config(commits=own)
    if commits_of(demands, config) == "api":
        assert commits_of({*demands, more}, config) == "api"
        assert commits_of(demands, bounded(config, Config(commits=bound))) == "api"


@pytest.mark.parametrize(
    ("demands", "unsigned", "said"),
    [
        (
            ("main",),
            0,
            "`main` takes only signed commits, so GitHub makes and signs those of this run.",
        ),
        (
            ("main", OWN_BRANCH),
            0,
            "`main`, `orchestrate/…` take only signed commits, so GitHub makes and signs those of"
            " this run.",
        ),
        (
            ("main",),
            2,
            "`main` takes only signed commits, so GitHub makes and signs those of this run from"
            " here on; 2 checkpoints before are not signed.",
        ),
    ],
)
def test_that_it_switched_is_said_with_what_is_not_signed(
    demands: tuple[str, ...], unsigned: int, said: str
) -> None:
    assert switched(demands, unsigned) == said
