from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.commands import COMMANDS_DEFAULT, may_command
from policies.config import Config
from policies.facts import CommandFacts, Person, Role
from policies.sections import Commands, Who
from policies.who import floor
from tests.policies.builders import command, config

BELOW = {
    Role.READ: Role.NONE,
    Role.WRITE: Role.TRIAGE,
    Role.MAINTAIN: Role.WRITE,
}


@pytest.mark.parametrize(("name", "least"), COMMANDS_DEFAULT.items())
def test_each_command_needs_its_role_and_no_less(name: str, least: Role) -> None:
    assert may_command(command(name, least), Config()).allowed
    assert not may_command(command(name, BELOW[least]), Config()).allowed


def test_a_role_too_low_is_refused_in_one_sentence() -> None:
    verdict = may_command(command("orchestrate", Role.READ), Config())
    assert verdict.reason == (
        "`/orchestrate` needs the write role on this repository; you have read,"
        " so ask somebody who has it."
    )


def test_a_role_that_github_did_not_tell_is_refused() -> None:
    verdict = may_command(command("status", None), Config())
    assert not verdict.allowed
    assert verdict.reason == (
        "GitHub did not say what your role is; try again, or ask a maintainer."
    )


def test_an_unknown_command_is_refused_to_everybody() -> None:
    verdict = may_command(command("destroy`", Role.ADMIN), Config())
    assert not verdict.allowed
    assert "`` /destroy` ``" in verdict.reason


@pytest.mark.parametrize(("login", "bot"), [("ci", True), ("dependabot[bot]", False)])
def test_bots_give_no_commands(login: str, bot: bool) -> None:
    facts = command("help", Role.ADMIN, login=login, bot=bot)
    verdict = may_command(facts, Config())
    assert not verdict.allowed
    assert "person" in verdict.reason


def test_a_configured_role_takes_the_place_of_the_default() -> None:
    rules = config("commands: {who: {approve: write, orchestrate: admin}}")
    assert may_command(command("approve", Role.WRITE), rules).allowed
    assert not may_command(command("orchestrate", Role.MAINTAIN), rules).allowed
    assert may_command(command("rollback", Role.WRITE), rules).allowed


@pytest.mark.parametrize("name", ["approve", "reject"])
def test_the_requester_does_not_decide_while_others_can(name: str) -> None:
    facts = command(name, Role.ADMIN, login="Ada", requester="ada")
    verdict = may_command(facts, Config())
    assert not verdict.allowed
    assert "asked for this change" in verdict.reason


def test_the_requester_may_do_all_else_with_their_own_run() -> None:
    for name in ("cancel", "rollback", "orchestrate", "override"):
        assert may_command(command(name, Role.ADMIN, login="ada"), Config()).allowed


def test_who_lacks_the_role_hears_of_that_alone() -> None:
    verdict = may_command(command("approve", Role.WRITE, login="ada"), Config())
    assert "maintain role" in verdict.reason
    assert "asked for" not in verdict.reason


@given(
    st.sampled_from(sorted(COMMANDS_DEFAULT)) | st.text(max_size=10),
    st.sampled_from(Role),
    st.sampled_from(Role),
    st.booleans(),
)
def test_a_higher_role_may_never_do_less(
    name: str, one: Role, other: Role, others_can: bool
) -> None:
    low, high = sorted((one, other), key=list(Role).index)
    if may_command(command(name, low, others=others_can), Config()).allowed:
        assert may_command(command(name, high, others=others_can), Config()).allowed


NAMED = """
commands:
  who: {orchestrate: {role: maintain, teams: [Ops], users: ['@Ada'], author: true}}
"""


@pytest.mark.parametrize(
    ("person", "allowed", "said"),
    [
        (Person("cyd", Role.MAINTAIN), True, "the role is maintain"),
        (Person("cyd", Role.WRITE), False, "needs the maintain role"),
        (Person("ADA", Role.TRIAGE), True, "ADA is named for it"),
        (Person("ada", Role.READ), False, "takes at least the triage role"),
        (Person("ada", None), False, "did not say"),
        (Person("ada", Role.ADMIN, is_bot=True), False, "Bots"),
        (Person("cyd", Role.TRIAGE, teams=frozenset({"ops"})), True, "in the team `ops`"),
        (Person("cyd", Role.TRIAGE, teams=frozenset({"other"})), False, "needs the maintain"),
        (Person("cyd", Role.TRIAGE, is_author=True), True, "opened the issue"),
        (Person("cyd", Role.NONE, is_author=True), False, "takes at least the triage role"),
    ],
)
def test_teams_people_and_the_author_are_named_beside_the_role(
    person: Person, allowed: bool, said: str
) -> None:
    facts = CommandFacts("orchestrate", person, None, others_can_approve=True)
    verdict = may_command(facts, config(NAMED))
    assert verdict.allowed is allowed
    assert said in verdict.reason
    # What is named for one command says nothing of another.
    other = replace(facts, command="override")
    assert may_command(other, config(NAMED)).allowed is may_command(other, Config()).allowed


LENDER = Person("boss", Role.MAINTAIN)


@pytest.mark.parametrize(
    ("name", "role", "lender", "allowed"),
    [
        ("approve", Role.WRITE, LENDER, True),
        ("override", Role.WRITE, LENDER, True),
        ("approve", Role.TRIAGE, LENDER, False),
        ("pause", Role.TRIAGE, LENDER, True),
        ("pause", Role.READ, LENDER, False),
        # Who delegated has lost the role, is not told of, is a bot, or asked for the change.
        ("approve", Role.WRITE, Person("boss", Role.WRITE), False),
        ("approve", Role.WRITE, Person("boss", None), False),
        ("approve", Role.WRITE, Person("boss[bot]", Role.ADMIN), False),
        ("approve", Role.WRITE, Person("Asker", Role.ADMIN), False),
        ("override", Role.WRITE, Person("asker", Role.ADMIN), True),
        # Nobody lends what was lent, and nobody hands on the right to.
        ("approve", Role.WRITE, Person("mid", Role.WRITE, behind=(LENDER,)), False),
        ("delegate", Role.WRITE, LENDER, False),
        ("trust", Role.WRITE, LENDER, False),
    ],
)
def test_a_delegate_may_do_what_the_one_who_delegated_may_do_now(
    name: str, role: Role, lender: Person, allowed: bool
) -> None:
    person = Person("grace", role, behind=(lender,))
    facts = CommandFacts(name, person, "asker", others_can_approve=True)
    verdict = may_command(facts, Config())
    assert verdict.allowed is allowed
    assert ("acts for" in verdict.reason) is allowed
    assert not may_command(facts, config("commands: {delegation: false}")).allowed


PEOPLE = st.builds(
    Person,
    st.sampled_from(["ada", "grace", "boss"]),
    st.sampled_from([None, *Role]),
    st.booleans(),
    st.frozensets(st.sampled_from(["ops", "qa"])),
    st.booleans(),
)
WITH_LENDERS = st.builds(
    lambda person, behind: replace(person, behind=tuple(behind)),
    PEOPLE,
    st.lists(PEOPLE, max_size=3),
)
WHO = st.builds(
    Who,
    role=st.sampled_from([None, Role.WRITE, Role.ADMIN]),
    teams=st.lists(st.sampled_from(["ops", "qa"]), max_size=2).map(tuple),
    users=st.lists(st.sampled_from(["ada", "grace"]), max_size=2).map(tuple),
    author=st.booleans(),
)


@given(st.sampled_from(sorted(COMMANDS_DEFAULT)), WITH_LENDERS, WHO, st.booleans(), st.randoms())
def test_neither_order_nor_one_more_restriction_lets_more_people_command(
    name: str, person: Person, who: Who, delegation: bool, chance: random.Random
) -> None:
    def judged(person: Person, who: Who, delegation: bool) -> bool:
        rules = Config(commands=Commands(who={name: who}, delegation=delegation))
        return may_command(CommandFacts(name, person, "ada", True), rules).allowed

    def mixed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(chance.sample(names, len(names)))

    given_ = judged(person, who, delegation)
    behind = tuple(chance.sample(person.behind, len(person.behind)))
    other = who.model_copy(update={"teams": mixed(who.teams), "users": mixed(who.users)})
    assert judged(replace(person, behind=behind), other, delegation) == given_
    for less in (
        {"role": Role.ADMIN},
        {"teams": who.teams[1:]},
        {"users": who.users[1:]},
        {"author": False},
    ):
        assert given_ or not judged(person, who.model_copy(update=less), delegation)
    assert given_ or not judged(person, who, delegation=False)
    assert given_ or not judged(replace(person, behind=person.behind[1:]), who, delegation)
    # Nobody below the floor ever, whoever is named or lends.
    assert not given_ or (person.role is not None and person.role.at_least(floor(name)))
