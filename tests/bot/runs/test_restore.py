"""Runs made again from their records, wherever these end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.errors import Refused, UserError
from bot.events import Event, Type
from bot.runs.fold import evolve, fold
from bot.runs.model import Repository, Run, Source, run_id
from bot.runs.restore import Restored, restored
from bot.runs.transitions import TERMINAL, State, Work
from bot.runs.work import RESTORED

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = AT + timedelta(days=3)
REPOSITORY = Repository(id=1, owner="acme", name="widgets", installation=7)
SOURCE = Source(kind="comment", key="comment:1:1")
RUN = run_id(1, SOURCE)

STARTED = {
    "base": "main",
    "base_sha": "b" * 40,
    "base_tree": "0" * 40,
    "branch": f"orchestrate/1-do-{RUN}",
    "agent": "writer",
    "turns": 3,
    "minutes": 30,
}
SEEN = {"by": "ada", "sha": "1" * 40, "tree": "1" * 40}


def made(number: int, kind: str = "agent") -> dict[str, Any]:
    digit = str(number)
    return {"number": number, "sha": digit * 40, "tree": digit * 40, "parent": "", "kind": kind}


def checked(number: int, *, green: bool, attempt: int | None = None) -> dict[str, Any]:
    conclusion = "success" if green else "failure"
    told = {"name": "tests", "conclusion": conclusion, "summary": "12 passed", "seconds": 1.5}
    if attempt is not None:
        told["attempt"] = attempt
    return {"sha": str(number) * 40, "checks": [told], "green": green}


TURN = [
    (Type.TURN_STARTED, {"turn": 1, "agent": "writer"}),
    (Type.TURN_ENDED, {"turn": 1, "outcome": "ended", "tree": "1" * 40, "violations": []}),
]
TO_REVIEW = [
    (Type.STARTED, STARTED),
    *TURN,
    (Type.CHECKPOINTED, made(1)),
    (Type.CHECKED, checked(1, green=True, attempt=0)),
]
APPROVED = (Type.APPROVED, {"sha": "1" * 40, "tree": "1" * 40, "how": "command"})

STORIES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "merged": [*TO_REVIEW, (Type.PULL_REQUEST_OPENED, {"number": 2}), APPROVED, (Type.MERGED, {})],
    "conflict": [*TO_REVIEW, APPROVED, (Type.BLOCKED, {"reason": "It conflicts."})],
    "retried": [
        *TO_REVIEW[:-1],
        (Type.CHECKED, checked(1, green=False)),
        (Type.PAUSED, {}),
        (Type.RESUMED, {"turns": 3}),
        *TURN,
        (Type.CANDIDATE_REFUSED, {"violations": ["x"], "reason": "No."}),
        (Type.RETRIED, {}),
        (Type.CHECKED, checked(1, green=True, attempt=2)),
    ],
    "rolled back": [
        *TO_REVIEW,
        (Type.ROLLBACK_ASKED, {"kind": "rollback", "tree": "0" * 40, "title": "Back"}),
        (Type.CHECKPOINTED, made(2, "rollback")),
        (Type.CHECKED, checked(2, green=False)),
    ],
    "pushed to": [
        *TO_REVIEW,
        (Type.HUMAN_PUSHED, {"who": "ada", "after": "2" * 40}),
        (Type.CHECKPOINTED, made(2, "human")),
        (Type.CHECKED, checked(2, green=True)),
    ],
    "stopped at work": [*TO_REVIEW[:2], (Type.PAUSED, {"reason": "Wait."}), TURN[1]],
    "cancelled at work": [*TO_REVIEW[:2], (Type.CANCELLED, {}), TURN[1]],
    "failed": [*TO_REVIEW[:1], (Type.FAILED, {"reason": "Our fault."})],
    "of a later version": [*TO_REVIEW[:2], ("weather_changed", {"to": "rain"}), *TO_REVIEW[2:]],
}


def record(story: Sequence[tuple[str, dict[str, Any]]], segments: int = 1) -> list[Event]:
    """A record with the given events after its request; a segment recorded each of them."""
    data = {"request": "Do", "source": SOURCE.model_dump(), "repository": REPOSITORY.identity()}
    first = Event(id="comment:1:1", seq=1, at=AT, actor="ada", type=Type.REQUESTED, data=data)
    events = [first]
    for seq, (kind, data) in enumerate(story, 2):
        cause = f"{RUN}-{segments}.{seq}:0"
        at = AT + timedelta(seconds=seq)
        events.append(Event(id=cause, seq=seq, at=at, actor="orchestrate", type=kind, data=data))
    return events


CUT = [(name, end) for name, story in STORIES.items() for end in range(len(story) + 1)]


@pytest.mark.parametrize(("name", "end"), CUT)
def test_a_run_comes_back_at_rest_wherever_its_record_ends(name: str, end: int) -> None:
    events = record(STORIES[name][:end])
    before = fold(events, REPOSITORY)
    back = restored(events, REPOSITORY, LATER)
    run = back.run
    assert (run.work, run.active) == (None, False)
    assert back.until == events[-1].at
    assert back.stopped == (before.work is not None)
    assert back.record[: len(events)] == tuple(events)
    assert run.head == before.head
    if not back.stopped:
        assert run == before.model_copy(update={"active": False, "segment": run.segment})
        return
    assert back.record[-1].at == LATER
    if before.state in TERMINAL:
        assert run.state is before.state
        return
    assert run.state in (State.PAUSED, State.BLOCKED)
    assert "`/resume`" in run.next_step or before.state is run.state
    # And it goes on: in a segment that no event names yet.
    resumed = Event(id="r", at=LATER, actor="ada", type=Type.RESUMED, data={"turns": 3})
    on = evolve(run, resumed)
    assert on.work is not None
    assert on.active
    assert on.segment == run.segment + 1
    # A record that goes on from there says the same.
    again = restored(back.record, REPOSITORY, LATER)
    assert (again.run, again.stopped) == (run, False)


def test_an_approval_is_asked_for_again_before_anything_is_merged() -> None:
    events = record([*TO_REVIEW, APPROVED])
    assert fold(events, REPOSITORY).state is State.MERGING
    run = restored(events, REPOSITORY, LATER).run
    assert run.state is State.BLOCKED
    assert "being merged" in run.reason
    resumed = Event(id="r", at=LATER, actor="ada", type=Type.RESUMED, data={"turns": 3})
    assert evolve(run, resumed).state is State.VALIDATING


@pytest.mark.parametrize("state", [State.AWAITING_REVIEW, State.PAUSED])
def test_nobody_acts_for_another_until_that_is_said_again(state: State) -> None:
    given = [(Type.DELEGATED, {"to": "grace"}), (Type.DELEGATED, {"to": "linus"})]
    story = [*TO_REVIEW, *given, (Type.PAUSED, {})]
    story = story if state is State.PAUSED else story[:-1]
    back = restored(record(story), REPOSITORY, LATER)
    assert (back.run.state, back.run.delegates) == (state, ())
    assert fold(back.record, REPOSITORY).delegates == ()
    assert [each.seq for each in back.record] == list(range(1, len(back.record) + 1))


PLANNED: list[tuple[str, dict[str, Any]]] = [
    (Type.STARTED, STARTED),
    (Type.PLANNED, {"plan": {"tasks": [{"id": "1", "title": "Do"}]}, "approval": True}),
    (Type.APPROVED, {"of": "plan", "sha": "b" * 40, "tree": "0" * 40, "how": "command"}),
]


def asked(story: Sequence[tuple[str, dict[str, Any]]], **data: Any) -> list[Event]:
    """A record whose request says more, and in which people decided, not segments."""
    first, *rest = record(story)
    decisions = (Type.APPROVED, Type.OVERRIDDEN, Type.DELEGATED)
    rest = [
        each.model_copy(update={"id": f"comment:{each.seq}:1", "actor": "grace"})
        if each.type in decisions
        else each
        for each in rest
    ]
    return [first.model_copy(update={"data": {**first.data, **data}}), *rest]


def by(who: str, event: str, /, **data: Any) -> Event:
    """What somebody does to a restored run."""
    return Event(id=f"{who}:{event}", at=LATER, actor=who, type=event, data=data)


@pytest.mark.parametrize(
    "more",
    [
        [],
        [*TURN],
        [*TURN, (Type.CANDIDATE_REFUSED, {"violations": ["x"], "reason": "No."})],
        [(Type.TAKEN, {})],
        [(Type.HUMAN_PUSHED, {"who": "ada", "after": "2" * 40})],
        [(Type.FAILED, {"reason": "Our fault."})],
    ],
)
def test_no_work_goes_on_from_a_plan_that_github_does_not_confirm(
    more: list[tuple[str, dict[str, Any]]],
) -> None:
    events = asked([*PLANNED, *more], plan=True)
    doubted = restored(events, REPOSITORY, LATER, {"comment:4:1": "it is gone"})
    run = doubted.run
    assert (run.state, run.work, run.approvals) == (State.AWAITING_APPROVAL, None, ())
    assert [each.of for each in run.unconfirmed] == ["plan"]
    assert "`/approve` lets the work go on" in run.unconfirmed[0].said
    with pytest.raises(UserError, match="`/approve` starts the work"):
        evolve(run, by("ada", Type.RESUMED, turns=3))
    on = evolve(run, by("linus", Type.APPROVED, **PLANNED[-1][1]))
    assert (on.state, on.work, on.unconfirmed) == (State.RUNNING, Work.TURN, ())
    assert fold(doubted.record, REPOSITORY).state is State.AWAITING_APPROVAL
    # What is confirmed goes on as after any restart.
    run = restored(events, REPOSITORY, LATER, {}).run
    assert run.state in (State.PAUSED, State.BLOCKED, State.FAILED)
    assert run.unconfirmed == ()


def test_a_record_that_leaves_the_approval_of_a_plan_out_does_not_go_on_either() -> None:
    events = asked([*PLANNED[:1], (Type.PLANNED, {**PLANNED[1][1], "approval": False})], plan=True)
    run = restored(events, REPOSITORY, LATER, {}).run
    assert run.state is State.AWAITING_APPROVAL
    assert "that anybody approved the plan" in run.unconfirmed[0].said


def test_a_plan_that_was_carried_out_is_not_asked_for_again() -> None:
    events = asked([*PLANNED, *TO_REVIEW[1:]], plan=True)
    run = restored(events, REPOSITORY, LATER, {"comment:4:1": "it is gone"}).run
    assert run.state is State.AWAITING_REVIEW
    assert "look at what came of it" in run.unconfirmed[0].said


ALL = [
    (Type.STARTED, {**STARTED, "turns": 1}),
    *TO_REVIEW[1:-1],
    (Type.CHECKED, checked(1, green=False)),
    (Type.DELEGATED, {"to": "linus"}),
    (Type.OVERRIDDEN, {"check": "tests", "why": "Known.", "sha": "1" * 40, "tree": "1" * 40}),
    (Type.APPROVED, {**APPROVED[1], "of": "head", "missing": 1}),
]
OF_ALL = {f"comment:{seq}:1": "it is gone" for seq in (1, 7, 8, 9)}
GIVEN = {**APPROVED[1], "of": "head", "missing": 1}


RED = by("orchestrate", Type.CHECKED, **checked(1, green=False))


@pytest.mark.parametrize(
    ("done", "left"),
    [
        ([by("linus", Type.APPROVED, **GIVEN)], "request delegate override head"),
        ([by("Grace", Type.APPROVED, **GIVEN)], "request delegate override"),
        ([by("linus", Type.DELEGATED, to="linus")], "request delegate override head"),
        ([by("grace", Type.DELEGATED, to="linus")], "request override head"),
        ([by("linus", Type.UNDELEGATED, to="linus")], "request override head"),
        ([by("linus", Type.RETRIED), RED], "request delegate override head"),
        (
            [by("linus", Type.RETRIED), RED, by("linus", Type.OVERRIDDEN, **ALL[-2][1])],
            "request delegate head",
        ),
    ],
)
def test_what_is_unconfirmed_is_told_until_something_takes_its_place(
    done: list[Event], left: str
) -> None:
    run = restored(asked(ALL), REPOSITORY, LATER, OF_ALL).run
    assert run.doubted
    assert [each.of for each in run.unconfirmed] == ["request", "delegate", "override", "head"]
    assert (run.approvals, run.overrides, run.delegates) == ((), (), ())
    for each in done:
        run = evolve(run, each)
    assert [each.of for each in run.unconfirmed] == left.split()


def test_of_an_earlier_head_nothing_is_told_any_more() -> None:
    run = restored(asked(ALL), REPOSITORY, LATER, OF_ALL).run
    run = evolve(run, by("linus", Type.RETRIED))
    passed = evolve(run, by("orchestrate", Type.CHECKED, **checked(1, green=True)))
    assert [each.of for each in passed.unconfirmed] == ["request", "delegate", "head"]
    asked_for = by("linus", Type.ROLLBACK_ASKED, kind="rollback", tree="0" * 40, title="Back")
    run = evolve(evolve(passed, asked_for), by("x", Type.CHECKPOINTED, **made(2, "rollback")))
    assert [each.of for each in run.unconfirmed] == ["request", "delegate"]


def test_what_waits_to_be_merged_waits_no_more_where_nobody_approved_it() -> None:
    story = [*TO_REVIEW, APPROVED, (Type.MERGE_AWAITED, {"reason": "CI runs."})]
    run = restored(asked(story), REPOSITORY, LATER, {"comment:7:1": "it is gone"}).run
    assert run.state is State.BLOCKED
    assert "`/resume` checks the head again" in run.next_step
    assert restored(asked(story), REPOSITORY, LATER, {}).run.state is State.MERGING


def test_rows_and_records_of_before_tell_what_they_say() -> None:
    run = restored(record(TO_REVIEW), REPOSITORY, LATER).run
    old = by("orchestrate", Type.UNCONFIRMED, decisions=[], said=["Ask again."])
    run = evolve(run, old)
    assert [each.said for each in run.unconfirmed] == ["Ask again."]
    row = {**run.model_dump(mode="json"), "unconfirmed": ["Ask again."]}
    assert Run.model_validate(row).unconfirmed == run.unconfirmed
    assert evolve(run, by("ada", Type.APPROVED, **GIVEN)).unconfirmed == ()


@pytest.mark.parametrize("end", range(1, 5))
def test_a_strangers_commit_must_be_trusted_again(end: int) -> None:
    strange = {"source": SOURCE.model_dump(), "request": "Check", "trusted": "c" * 40, "pull": 9}
    story = [
        (Type.STARTED, {**STARTED, "branch": ""}),
        (Type.SETUP_STARTED, {}),
        (Type.PAUSED, {}),
    ]
    events = record(story)[:end]
    events[0] = events[0].model_copy(update={"data": {**events[0].data, **strange}})
    back = restored(events, REPOSITORY, LATER)
    assert (back.run.state, back.run.work, back.run.trusted) == (State.CANCELLED, None, "c" * 40)


def test_the_next_segment_is_a_new_one() -> None:
    assert restored(record(TO_REVIEW, segments=4), REPOSITORY, LATER).run.segment == 4
    assert restored(record([]), REPOSITORY, LATER).run.segment == 0


def results(back: Restored) -> dict[str, tuple[str, int]]:
    assert all(each[RESTORED] for each in back.results)
    return {each["name"]: (each["conclusion"], each["attempt"]) for each in back.results}


def test_the_results_on_the_head_come_back_with_their_attempts() -> None:
    back = restored(record(STORIES["retried"]), REPOSITORY, LATER)
    assert results(back) == {"rules": ("success", 0), "tests": ("success", 2)}
    # Those of another head do not, and a record of before attempts were told has the newest.
    assert results(restored(record(STORIES["rolled back"][:-1]), REPOSITORY, LATER)) == {
        "rules": ("success", 0)
    }
    back = restored(record(STORIES["rolled back"]), REPOSITORY, LATER)
    assert results(back) == {"rules": ("success", 0), "tests": ("failure", 0)}


def test_what_a_later_version_recorded_is_kept_as_it_is() -> None:
    events = record(STORIES["of a later version"])
    raw = events[3].model_dump(mode="json") | {"signature": "abc"}
    events[3] = Event.model_validate(raw)
    back = restored(events, REPOSITORY, LATER)
    assert back.run.state is State.AWAITING_REVIEW
    assert back.record[3].model_dump(mode="json") == raw


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([], "does not begin with a request"),
        (record(TO_REVIEW)[1:], "does not begin with a request"),
        ([*record([]), *record(TO_REVIEW)[3:]], "Event 4 of the record, `turn_ended`, cannot"),
        (record([(Type.STARTED, {"base": "main"})]), "Event 2 of the record, `started`, cannot"),
        (record([(Type.CHECKPOINTED, {"kind": "new"})]), "Event 2 of the record, `checkpointed`"),
        (
            [record([])[0].model_copy(update={"v": 2})],
            "written by a newer version of Orchestrate, so update this one",
        ),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(events: list[Event], why: str) -> None:
    with pytest.raises(Refused, match=why):
        restored(events, REPOSITORY, LATER)


def test_a_run_keeps_its_id_where_its_repository_has_another_number() -> None:
    moved = Repository(id=2, owner="local", name="moved", installation=0)
    run: Run = restored(record(TO_REVIEW), moved, LATER).run
    assert (run.id, run.repository.id) == (RUN, 2)
    old = record(TO_REVIEW)
    data = {key: value for key, value in old[0].data.items() if key != "repository"}
    old[0] = old[0].model_copy(update={"data": data})
    assert restored(old, REPOSITORY, LATER).run.id == RUN
