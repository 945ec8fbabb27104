from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.commands import COMMANDS_DEFAULT, may_command
from policies.config import Config
from policies.facts import Role
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
