"""Decisions in a record that are not of what stood there when they were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bot.events import Event, Type
from bot.runs.fold import fold
from bot.runs.recheck import recheck
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


def told(
    given: Mapping[str, Any], who: str = "grace", trees: Mapping[str, str] = TREES
) -> tuple[int, list[str]]:
    """Check a record again in which somebody approved and the run was merged."""
    events = record([*TO_REVIEW, (Type.APPROVED, dict(given)), (Type.MERGED, {"sha": "f" * 40})])
    events[-2] = events[-2].model_copy(update={"actor": who})
    return recheck(events, REPOSITORY, trees.get)


def test_what_was_approved_and_merged_as_it_was_shown_holds() -> None:
    assert told(GIVEN) == (2, [])


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
        in recheck(events, REPOSITORY, TREES.get)[1][0]
    )


def test_a_record_that_cannot_follow_is_told_where() -> None:
    events: list[Event] = record([*TO_REVIEW, (Type.CHECKPOINTED, {})])
    assert (
        "Event 7 of the record, `checkpointed`, cannot follow"
        in recheck(events, REPOSITORY, TREES.get)[1][0]
    )
