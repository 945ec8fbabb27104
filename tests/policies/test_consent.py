from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.consent import enough, missing
from policies.facts import Approver, ConsentFacts, Person, Role
from policies.owners import Owned
from policies.sections import Approval
from tests.policies.builders import config

ADA = Approver("Ada", Role.MAINTAIN, frozenset({"acme/security"}))
BOB = Approver("bob", Role.ADMIN)
OLD = Approver("old", Role.WRITE, frozenset({"acme/security"}))

OWNERS = (Owned("a.py", ("@ada",)), Owned("b.py", ("@acme/Security", "@zoe")), Owned("c.py"))


@pytest.mark.parametrize(
    ("text", "approvers", "said"),
    [
        ("", (ADA,), ""),
        ("approval: {required: 2}", (ADA, BOB), ""),
        (
            "approval: {required: 2}",
            (ADA,),
            "It needs 1 more approval, by people with the maintain",
        ),
        ("", (OLD,), "`old` approved, and no longer has the maintain role."),
        ("", (Approver("gone", None),), "It needs 1 more approval"),
        ("approval: {teams: [security]}", (ADA,), ""),
        (
            "approval: {teams: [Security]}",
            (BOB,),
            "Nobody of the team `@acme/security` approved it",
        ),
        ("approval: {teams: [security]}", (BOB, OLD), "Nobody of the team `@acme/security`"),
        ("approval: {code_owners: true}", (ADA,), ""),
        ("approval: {code_owners: true}", (BOB,), "`a.py` needs one of its owners: `@ada`"),
        (
            "approval: {code_owners: true}",
            (BOB,),
            "`b.py` needs one of its owners: `@acme/security`",
        ),
    ],
)
def test_number_team_and_owners_are_each_asked_for(
    text: str, approvers: tuple[Approver, ...], said: str
) -> None:
    facts = ConsentFacts("acme", approvers, OWNERS)
    verdict = enough(facts, config(text))
    assert verdict.allowed is (not said)
    assert said in verdict.reason
    assert (missing(facts, config(text)) == 0) is verdict.allowed


@pytest.mark.parametrize(("setting", "allowed"), [("never", False), ("if-alone", True)])
def test_where_only_the_authors_own_a_path_another_counts_and_it_says_so(
    setting: str, allowed: bool
) -> None:
    facts = ConsentFacts("acme", (BOB,), (Owned("a.py", ("@Ada",)),), frozenset({"ada"}))
    verdict = enough(facts, config(f"approval: {{code_owners: true, requester: {setting}}}"))
    assert verdict.allowed is allowed
    told = verdict.children[-1].reason
    assert ("another approval counts in their place" in told) is allowed
    # A team may have others in it.
    team = ConsentFacts("acme", (BOB,), (Owned("a.py", ("@ada", "@acme/x")),), frozenset({"ada"}))
    assert not enough(team, config("approval: {code_owners: true}")).allowed


@pytest.mark.parametrize(
    ("approver", "allowed"),
    [
        (Approver("cyd", Role.WRITE), False),
        (Approver("grace", Role.WRITE), True),
        (Approver("grace", Role.TRIAGE), False),
        (Approver("cyd", Role.WRITE, frozenset({"acme/ops"})), True),
        (Approver("cyd", Role.WRITE, frozenset({"other/ops"})), False),
        (Approver("cyd", Role.WRITE, behind=(Person("bob", Role.MAINTAIN),)), True),
        (Approver("cyd", Role.WRITE, behind=(Person("bob", Role.WRITE),)), False),
        # Who asked for the change lends nobody an approval of it.
        (Approver("cyd", Role.WRITE, behind=(Person("Ada", Role.ADMIN),)), False),
    ],
)
def test_who_is_named_or_acts_for_another_counts_as_who_has_the_role(
    approver: Approver, allowed: bool
) -> None:
    rules = config("commands: {who: {approve: {users: [grace], teams: [ops]}}}")
    facts = ConsentFacts("acme", (approver,), part=frozenset({"ada"}))
    assert enough(facts, rules).allowed is allowed


LOGINS = ("ada", "bob", "cyd")
NAMES = st.sampled_from([*(f"@{each}" for each in LOGINS), "@acme/x", "@acme/y", "a@b.c"])
APPROVERS = st.lists(
    st.builds(
        Approver,
        st.sampled_from(LOGINS),
        st.sampled_from([None, *Role]),
        st.frozensets(st.sampled_from(["acme/x", "acme/y"])),
    ),
    max_size=3,
    unique_by=lambda each: each.login,
)
PATHS = st.lists(
    st.builds(Owned, st.sampled_from("abc"), st.lists(NAMES, max_size=3).map(tuple)),
    max_size=4,
)
SETTINGS = st.builds(
    Approval,
    required=st.integers(1, 2),
    teams=st.sampled_from([(), ("x",), ("x", "y")]),
    code_owners=st.booleans(),
    requester=st.sampled_from(["never", "if-alone", "always"]),
)
PARTS = st.frozensets(st.sampled_from(LOGINS))


@given(APPROVERS, PATHS, PARTS, SETTINGS, st.randoms())
def test_neither_order_nor_one_more_demand_allows_more(
    approvers: list[Approver],
    paths: list[Owned],
    part: frozenset[str],
    setting: Approval,
    chance: random.Random,
) -> None:
    def judged(who: list[Approver], what: list[Owned], approval: Approval) -> bool:
        facts = ConsentFacts("acme", tuple(who), tuple(what), part)
        return enough(facts, Config(approval=approval)).allowed

    given_ = judged(approvers, paths, setting)
    assert judged(chance.sample(approvers, len(approvers)), paths[::-1], setting) == given_
    for more in (
        {"required": setting.required + 1},
        {"teams": (*setting.teams, "y")},
        {"code_owners": True},
        {"requester": "never"},
    ):
        assert given_ or not judged(approvers, paths, setting.model_copy(update=more))
    assert given_ or not judged(approvers[1:], paths, setting)
    assert given_ or not judged(approvers, [*paths, Owned("d", ("@cyd",))], setting)
