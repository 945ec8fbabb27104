"""Who may approve a checkpoint, and which."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from policies.config import Config
from policies.facts import ApprovalFacts, Person
from policies.roles import may_act
from policies.verdict import Verdict, code, in_turn

RULE = "approval"

# Git itself shortens to 7 at least (core.abbrev); fewer characters are easily another commit.
SHORTEST_SHA = 7
_HEX = re.compile(r"[0-9a-f]+")


def may_approve(facts: ApprovalFacts, config: Config) -> Verdict:
    """Judge an approval: by whom it is, what part they had, and which head they saw."""
    others = facts.others_can
    took_part = (*facts.co_authors, *((facts.requester,) if facts.requester else ()))
    part = with_a_part(took_part, config)
    person = alone(facts.person, config) if facts.doubted else facts.person
    return in_turn(
        RULE,
        (
            may_act("approve", person, config, part),
            doubtless(person, others, config)
            if facts.doubted
            else independent(person, facts.requester, facts.co_authors, others, config),
            _of_the_head(facts.seen_sha, facts.head_sha),
        ),
    )


def with_a_part(logins: Iterable[str], config: Config) -> frozenset[str]:
    """Return, in small letters, those who may lend nobody their approval: it is not theirs."""
    if config.approval.requester == "always":
        return frozenset()
    return frozenset(login.lower() for login in logins)


def alone(person: Person, config: Config) -> Person:
    """Return somebody without those who delegated to them: each of them may have had a part."""
    return person if config.approval.requester == "always" else replace(person, behind=())


def doubtless(person: Person, others_can: bool, config: Config) -> Verdict:
    """Judge a decision where nobody can tell who had a part: as if it were everybody."""
    part = "may have had a part in this change, since GitHub does not confirm who had one"
    allowed = _with_a_part(person.login, part, others_can, config)
    if allowed is not None:
        return allowed
    return Verdict(
        False,
        "independence",
        f"Nobody can decide on this here: {person.login} {part}. Merge the pull request on GitHub "
        "by hand, or `/cancel` and ask for it anew.",
    )


def independent(
    person: Person,
    requester: str | None,
    co_authors: tuple[str, ...],
    others_can: bool,
    config: Config,
) -> Verdict:
    """Judge whether a person's own part in the change stands against their decision.

    `requester` and `co_authors` are logins, compared whatever their case as GitHub does.
    """
    part = _part(person.login, requester, co_authors)
    if part is None:
        return Verdict(True, "independence", f"{person.login} had no part in the change.")
    allowed = _with_a_part(person.login, part, others_can, config)
    if allowed is not None:
        return allowed
    who = "Ask somebody who had no part in it to decide"
    if config.approval.requester == "never" and not others_can:
        who = "Give somebody else the role, or have a maintainer change `approval: requester:`"
    reason = f"You cannot decide on this: {person.login} {part}. {who}."
    return Verdict(False, "independence", reason)


def _with_a_part(login: str, part: str, others_can: bool, config: Config) -> Verdict | None:
    """Allow a decision by somebody who had a part where the policy does; None where it does not."""
    rule = "independence"
    setting = config.approval.requester
    if setting == "always":
        return Verdict(
            True, rule, f"{login} {part}; `approval: requester: always` allows the decision."
        )
    if setting == "if-alone" and not others_can:
        return Verdict(
            True,
            rule,
            f"{login} {part}, and decides alone because nobody else here has the role for it.",
        )
    return None


def _part(login: str, requester: str | None, co_authors: tuple[str, ...]) -> str | None:
    name = login.casefold()
    if requester is not None and requester.casefold() == name:
        return "asked for this change"
    if name in {author.casefold() for author in co_authors}:
        return "is an author of this change"
    return None


def _of_the_head(seen: str | None, head: str) -> Verdict:
    rule = "head"
    now = code(head[:SHORTEST_SHA])
    if seen is None:
        return Verdict(True, rule, f"The approval is of the head, {now}.")
    name = seen.lower()
    if not _HEX.fullmatch(name) or len(name) < SHORTEST_SHA:
        return Verdict(
            False,
            rule,
            f"{code(seen)} is no commit's name: give at least {SHORTEST_SHA} of its characters."
            f" The head is {now}.",
        )
    if head.lower().startswith(name):
        return Verdict(True, rule, f"The approval is of the head, {now}.")
    return Verdict(
        False,
        rule,
        f"{code(seen[:SHORTEST_SHA])} is not the head; it is {now} now."
        " Look at that and approve it.",
    )
