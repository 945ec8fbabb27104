from __future__ import annotations

from dataclasses import replace

import pytest

from policies.approval import may_approve
from policies.commands import may_command
from policies.config import Config
from policies.facts import Person, Role
from tests.policies.builders import HEAD, approval, command, config

NEVER, ALONE, ALWAYS = (
    f"approval: {{requester: {setting}}}" for setting in ("never", "if-alone", "always")
)


def test_a_maintainer_without_a_part_in_the_change_may_approve() -> None:
    verdict = may_approve(approval(seen=HEAD), Config())
    assert verdict.allowed
    assert "had no part" in verdict.reason


@pytest.mark.parametrize("role", [None, Role.NONE, Role.READ, Role.TRIAGE, Role.WRITE])
def test_a_lesser_role_may_not_approve(role: Role | None) -> None:
    assert not may_approve(approval(role=role), Config()).allowed


def test_a_bot_may_not_approve() -> None:
    assert not may_approve(approval(role=Role.ADMIN, bot=True), Config()).allowed


@pytest.mark.parametrize(
    ("setting", "others", "allowed"),
    [
        (NEVER, True, False),
        (NEVER, False, False),
        (ALONE, True, False),
        (ALONE, False, True),
        (ALWAYS, True, True),
        (ALWAYS, False, True),
    ],
)
@pytest.mark.parametrize("part", ["requester", "co-author"])
def test_a_part_in_the_change_counts_as_configured(
    setting: str, others: bool, allowed: bool, part: str
) -> None:
    requester, authors = ("Grace", ()) if part == "requester" else ("ada", ("GRACE", "x"))
    facts = approval(requester=requester, co_authors=authors, others=others)
    assert may_approve(facts, config(setting)).allowed is allowed


@pytest.mark.parametrize(
    ("setting", "others", "allowed", "lent"),
    [
        (NEVER, True, False, False),
        (NEVER, False, False, False),
        (ALONE, True, False, False),
        (ALONE, False, True, False),
        (ALWAYS, True, True, True),
    ],
)
@pytest.mark.parametrize("requester", ["ada", "grace"])
def test_where_nobody_can_tell_who_asked_it_may_be_whoever_decides(
    setting: str, others: bool, allowed: bool, lent: bool, requester: str
) -> None:
    facts = replace(approval(others=others, requester=requester), doubted=True)
    order = replace(command("reject", Role.MAINTAIN, others=others), doubted=True)
    for verdict in (
        may_approve(facts, config(setting)),
        may_command(order, config(setting)),
    ):
        assert verdict.allowed is allowed
        assert allowed or "Merge the pull request on GitHub by hand, or `/cancel`" in verdict.reason
    # Those who lend a role may have asked as well.
    lender = Person("linus", Role.MAINTAIN)
    borrowed = replace(facts, person=Person("grace", Role.WRITE, behind=(lender,)))
    assert may_approve(borrowed, config(setting)).allowed is lent


def test_deciding_alone_is_told() -> None:
    verdict = may_approve(approval(requester="grace", others=False), Config())
    assert "because nobody else here has the role" in verdict.reason


@pytest.mark.parametrize(
    "seen", [None, HEAD, HEAD[:7], HEAD[:12], HEAD.upper()], ids=["none", "all", "7", "12", "caps"]
)
def test_the_head_may_be_named_by_its_start(seen: str | None) -> None:
    assert may_approve(approval(seen=seen), Config()).allowed


def test_another_commit_than_the_head_is_refused_with_both_names() -> None:
    verdict = may_approve(approval(seen="abc1234"), Config())
    assert not verdict.allowed
    assert verdict.reason == (
        "`abc1234` is not the head; it is `def5678` now. Look at that and approve it."
    )


@pytest.mark.parametrize("seen", ["", HEAD[:6], HEAD + "0", "HEAD", "def567`", "def5678 "])
def test_what_names_no_head_is_refused(seen: str) -> None:
    assert not may_approve(approval(seen=seen), Config()).allowed
