"""Decisions in a record that are not of what stood there when they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bot.events import Event, Type
from bot.runs.fold import fold
from bot.runs.grounds import Grounds, grounds_of, made_again
from bot.runs.inforce import Above, InForce, read_config
from bot.runs.model import Repository
from bot.runs.ports import Base
from bot.runs.recheck import Rechecked, recheck
from policies.bounds import bounded
from policies.config import digest, form, parse
from policies.organisation import parse_organisation
from tests.bot.runs.test_restore import REPOSITORY, TO_REVIEW, record

PLAN = fold(record(TO_REVIEW), REPOSITORY).plan.digest
OTHER = "2" * 40
TREES = {"1" * 40: "1" * 40, OTHER: OTHER}
GIVEN = {
    "of": "head",
    "sha": "1" * 40,
    "tree": "1" * 40,
    "plan": PLAN,
    "policy": "abc",
    "how": "command",
    "missing": 0,
    "lacks": "",
}


OWN, OF_ALL = "limits: {turns: 4}\n", "limits: {minutes: 9}\nbounds: {sign_off: true}\n"
BOUNDS = """
approval: {required: 2, requester: never, teams: [core]}
commands: {who: {approve: admin, retry: {role: write, teams: [core], users: [ada]}}}
limits: {turns: 3, usd: 2.5}
budget: {person: {usd: 7}}
paths: {protected: [deploy/, "!deploy/README.md"]}
secrets: {allowed: [tests/], comments: false}
merge: {method: squash, checks: [ci / unit]}
hold: {labels: [wait]}
freeze: [{name: Weekend, start: "fri 16:00", end: "mon 08:00"}]
trust: checks
commits: api
"""


@dataclass
class Files:
    """The files that are at hand."""

    files: dict[str, str] = field(default_factory=lambda: {"c" * 40: OWN})
    elsewhere: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    of_all: dict[str, str] = field(default_factory=lambda: {"e" * 40: OF_ALL})

    def own(self, commit: str) -> str | None:
        return self.files.get(commit)

    def was_default(self, commit: str) -> bool | None:
        return None if commit in self.doubtful else commit not in self.elsewhere

    def organisation(self, blob: str) -> str | None:
        return self.of_all.get(blob)


def looked(
    given: Mapping[str, Any],
    who: str = "grace",
    trees: Mapping[str, str] = TREES,
    files: Files | None = None,
    merged: Mapping[str, Any] | None = None,
    repository: Repository = REPOSITORY,
) -> Rechecked:
    """Check a record again in which somebody approved and the run was merged."""
    end = (Type.MERGED, {"sha": "f" * 40, **(merged or {})})
    events = record([*TO_REVIEW, (Type.APPROVED, dict(given)), end])
    events[-2] = events[-2].model_copy(update={"actor": who})
    return recheck(events, repository, trees.get, files or Files())


def told(
    given: Mapping[str, Any], who: str = "grace", trees: Mapping[str, str] = TREES
) -> tuple[int, list[str]]:
    """Check it again; how many decisions there were, and what is wrong with them."""
    found = looked(given, who, trees)
    return found.decisions, found.problems


def test_what_was_approved_and_merged_as_it_was_shown_holds() -> None:
    assert told(GIVEN) == (2, [])


def of_policy(bounds: str = "", *, of_all: bool = True) -> dict[str, Any]:
    """What a server records of the policy that holds, and what that is made of."""
    above = Above(parse_organisation(OF_ALL, "acme/.github"), "e" * 40, "", "acme/.github")
    above = above if of_all else Above()
    laid_down = parse(bounds).config
    assert laid_down is not None
    base = Base("main", "b" * 40, "0" * 40, "d" * 40, "c" * 40)
    config = bounded(read_config(OWN, above), laid_down)
    grounds = grounds_of(InForce(config, base.config), base, above, laid_down)
    return {"policy": digest(config), "under": grounds.recorded()}


@pytest.mark.parametrize("of_all", [True, False])
@pytest.mark.parametrize("bounds", ["", BOUNDS, *BOUNDS.strip().splitlines()])
def test_a_policy_is_made_again_of_what_the_record_names(bounds: str, of_all: bool) -> None:
    policy = of_policy(bounds, of_all=of_all)
    found = looked({**GIVEN, **policy}, merged=policy)
    assert found == Rechecked(2, [], 2, [])
    # As it comes back from JSON, with what it binds and what it leaves free.
    again = made_again(Grounds.model_validate(policy["under"]), OWN, OF_ALL if of_all else "")
    assert again.sign_off is of_all
    assert (again.merge.method == "squash") is ("squash" in bounds)


def test_what_holds_on_ones_own_machine_is_not_taken_for_what_held_on_github() -> None:
    here = Repository(id=1, owner="local", name="clone", installation=0)
    found = looked({**GIVEN, **of_policy(BOUNDS)}, repository=here)
    assert (found.problems, found.policies) == ([], 1)


@pytest.mark.parametrize(
    ("change", "files", "said"),
    [
        ({"policy": "abc"}, Files(), "the approval of grace names the policy abc, and what it was"),
        ({}, Files(files={"c" * 40: "limits: {minutes: 1}\n"}), "was changed afterwards"),
        ({}, Files(files={"c" * 40: "chekcs: []\n"}), "comes to nothing that can be read"),
        ({"under": {"commit": "c" * 40, "form": form()}}, Files(), "was changed afterwards"),
        ({"under": {"bounds": 7}}, Files(), "says that its policy was made of cannot be read"),
        ({}, Files(elsewhere=frozenset({"c" * 40})), "the default branch has no such commit"),
    ],
)
def test_a_policy_that_was_another_is_named(
    change: dict[str, Any], files: Files, said: str
) -> None:
    found = looked({**GIVEN, **of_policy(BOUNDS), **change}, files=files)
    assert said in " ".join(found.problems)
    assert found.unchecked == []


@pytest.mark.parametrize(
    ("given", "files", "said"),
    [
        (GIVEN, Files(), "what it was made of is not recorded"),
        (of_policy(), Files(files={}), "`git fetch origin` in the clone brings it in"),
        (
            of_policy(),
            Files(doubtful=frozenset({"c" * 40})),
            "whether the default branch ever stood at cccccccccccc",
        ),
        (of_policy(), Files(of_all={}), "also of what `acme/.github` said, which is not here"),
        (
            {"policy": "abc", "under": {"commit": "c" * 40, "form": "older"}},
            Files(),
            "made by a version of Orchestrate with other settings",
        ),
    ],
)
def test_what_cannot_be_made_again_here_is_said_and_nothing_is_wrong(
    given: dict[str, Any], files: Files, said: str
) -> None:
    found = looked({**GIVEN, **given}, files=files)
    assert (found.decisions, found.problems, found.policies) == (2, [], 0)
    (line,) = found.unchecked
    assert line.startswith("Event 7: the policy of the approval of grace is not made again: ")
    assert said in line


def test_a_merge_under_another_policy_than_was_approved_is_named() -> None:
    problems = looked({**GIVEN, **of_policy()}, merged=of_policy(BOUNDS)).problems
    assert problems == [
        "Event 8: 111111111111 was merged under another policy than it was approved under."
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"sha": OTHER},
            "of grace is of 222222222222, and the head was 111111111111.",
        ),
        ({"tree": OTHER}, "names other files than the head had"),
        ({"plan": "another"}, "is of another plan than the run had"),
        ({"policy": ""}, "does not say which policy held"),
        ({"lacks": "It needs 1 more."}, "was merged before all had approved who must"),
    ],
)
def test_an_approval_of_anything_else_is_named(change: dict[str, Any], said: str) -> None:
    _, problems = told({**GIVEN, **change})
    assert any(said in each for each in problems), problems


def test_a_commit_with_other_files_than_were_approved_is_named() -> None:
    assert told(GIVEN, trees={"1" * 40: OTHER})[1] == [
        "Event 7: 111111111111 has other files than were decided on."
    ]
    assert "is absent" in told(GIVEN, trees={})[1][0]


@pytest.mark.parametrize("who", ["orchestrate", "helper[bot]"])
def test_what_no_person_approved_is_named(who: str) -> None:
    assert f"Event 7: {who} approved, and is no person." in told(GIVEN, who)[1]


def test_a_merge_of_what_nobody_approved_is_named() -> None:
    older = {"sha": "b" * 40, "tree": "0" * 40, "plan": "", "policy": "abc"}
    problems = told({**GIVEN, **older}, trees={**TREES, "b" * 40: "0" * 40})[1]
    assert "Event 8: 111111111111 was merged, and nobody had approved it as it was." in problems


def test_an_override_of_another_head_is_named() -> None:
    data = {"check": "tests", "why": "Known.", "sha": OTHER, "tree": OTHER}
    events = record([*TO_REVIEW, (Type.OVERRIDDEN, data)])
    assert (
        "what orchestrate set aside is of 222222222222"
        in recheck(events, REPOSITORY, TREES.get, Files()).problems[0]
    )


def test_a_record_that_cannot_follow_is_told_where() -> None:
    events: list[Event] = record([*TO_REVIEW, (Type.CHECKPOINTED, {})])
    assert (
        "Event 7 of the record, `checkpointed`, cannot follow"
        in recheck(events, REPOSITORY, TREES.get, Files()).problems[0]
    )
