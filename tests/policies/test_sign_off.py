from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import Commit
from policies.sign_off import check_sign_off

ADA = Commit("a" * 40, "Ada", "Ada@Example.org", ("ada@example.org",))
ON = Config(sign_off=True)


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        ((), ""),
        ((ADA,), ""),
        ((replace(ADA, signed_off_by=("bob@example.org", "ada@example.org")),), ""),
        ((replace(ADA, signed_off_by=()),), "`aaaaaaa` by `Ada`"),
        ((replace(ADA, signed_off_by=("bob@example.org",)),), "`aaaaaaa` by `Ada`"),
        ((replace(ADA, signed_off_by=("ada@example.org.evil",)),), "`aaaaaaa` by `Ada`"),
        ((replace(ADA, address="", signed_off_by=("",)),), "`aaaaaaa` by `Ada`"),
        ((replace(ADA, author="`x`\n", signed_off_by=()),), "by `` `x`\\x0a ``."),
        ((replace(ADA, signed_off_by=(), is_merge=True),), ""),
        (
            tuple(Commit(f"{n:040}", "Ada", "ada@example.org") for n in range(12)),
            "and 2 more. `git rebase --signoff`",
        ),
    ],
)
def test_each_commit_needs_the_sign_off_of_its_own_author(
    commits: tuple[Commit, ...], said: str
) -> None:
    verdict = check_sign_off(commits, ON)
    assert verdict.allowed is (not said)
    assert said in verdict.reason
    assert check_sign_off(commits, Config()).allowed


COMMITS = st.builds(
    Commit,
    st.sampled_from([str(n) * 40 for n in range(5)]),
    st.sampled_from(["Ada", "Bob"]),
    st.sampled_from(["ada@x", "bob@x", ""]),
    st.lists(st.sampled_from(["ada@x", "bob@x", ""]), max_size=2).map(tuple),
    st.booleans(),
)


@given(st.lists(COMMITS, max_size=4), COMMITS, st.booleans(), st.randoms())
def test_neither_order_nor_one_more_demand_takes_more_in(
    commits: list[Commit], more: Commit, asked: bool, chance: random.Random
) -> None:
    rules = Config(sign_off=asked)
    given_ = check_sign_off(commits, rules)
    assert check_sign_off(chance.sample(commits, len(commits)), rules) == given_
    assert given_.allowed or not check_sign_off([*commits, more], rules).allowed
    assert given_.allowed or not check_sign_off(commits, ON).allowed
