from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.runs.transitions import (
    LIVE,
    OUTCOMES,
    TABLE,
    TERMINAL,
    UNPLANNED,
    WORK_OF,
    Next,
    State,
    Trigger,
    Work,
    possible,
    transition,
)

S, T, W = State, Trigger, Work


@pytest.mark.parametrize(
    ("state", "trigger", "to", "work"),
    [
        (S.QUEUED, T.STARTED, S.RUNNING, W.TURN),
        (S.QUEUED, T.STARTED_WITH_PLAN, S.PLANNING, W.PLAN),
        (S.PLANNING, T.PLAN_NEEDS_APPROVAL, S.AWAITING_APPROVAL, None),
        (S.PLANNING, T.PLAN_READY, S.RUNNING, W.TURN),
        (S.AWAITING_APPROVAL, T.APPROVED, S.RUNNING, W.TURN),
        (S.AWAITING_APPROVAL, T.REJECTED, S.PLANNING, W.PLAN),
        (S.RUNNING, T.TURN_ENDED, S.RUNNING, W.JUDGE),
        (S.RUNNING, T.CHECKPOINTED, S.VALIDATING, W.CHECK),
        (S.RUNNING, T.CANDIDATE_REFUSED, S.BLOCKED, None),
        (S.RUNNING, T.NOTHING_CHANGED, S.BLOCKED, None),
        (S.RUNNING, T.TURN_FAILED, S.BLOCKED, None),
        (S.VALIDATING, T.GREEN, S.AWAITING_REVIEW, None),
        (S.VALIDATING, T.GREEN_TASKS_LEFT, S.RUNNING, W.TURN),
        (S.VALIDATING, T.RED, S.RUNNING, W.TURN),
        (S.VALIDATING, T.RED_NO_TURNS, S.BLOCKED, None),
        (S.AWAITING_REVIEW, T.CHANGES_ASKED, S.RUNNING, W.TURN),
        (S.AWAITING_REVIEW, T.RESTORE_ASKED, S.VALIDATING, W.RESTORE),
        (S.AWAITING_REVIEW, T.UPDATE_ASKED, S.VALIDATING, W.UPDATE),
        (S.AWAITING_REVIEW, T.APPROVED, S.MERGING, W.MERGE),
        (S.AWAITING_REVIEW, T.HUMAN_PUSHED, S.VALIDATING, W.ADOPT),
        (S.MERGING, T.MERGED, S.DONE, None),
        (S.MERGING, T.REFUSED, S.BLOCKED, None),
        (S.RUNNING, T.HUMAN_PUSHED, S.PAUSED, None),
        (S.RUNNING, T.PAUSE_ASKED, S.PAUSED, None),
        (S.BLOCKED, T.RETRY_ASKED, S.VALIDATING, W.CHECK),
        (S.BLOCKED, T.RESTORE_ASKED, S.VALIDATING, W.RESTORE),
        (S.BLOCKED, T.UPDATE_ASKED, S.VALIDATING, W.UPDATE),
        (S.FAILED, T.CANCELLED, S.CANCELLED, None),
        (S.RUNNING, T.TAKEN, S.PAUSED, None),
        (S.BLOCKED, T.TAKEN, S.PAUSED, None),
        (S.BLOCKED, T.OVERRIDDEN, S.AWAITING_REVIEW, None),
        (S.BLOCKED, T.OVERRIDDEN_TASKS_LEFT, S.RUNNING, W.TURN),
        (S.RUNNING, T.NOTHING_LEFT, S.VALIDATING, W.CHECK),
    ],
)
def test_the_table_of_the_life_of_a_run(
    state: State, trigger: Trigger, to: State, work: Work | None
) -> None:
    follows = transition(state, trigger)
    assert follows is not None
    assert (follows.state, follows.work) == (to, work)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_any_live_run_can_be_cancelled_merged_by_hand_and_break(state: State) -> None:
    for trigger, to in (
        (T.CANCELLED, S.CANCELLED),
        (T.MERGED, S.DONE),
        (T.FAILED, S.FAILED),
    ):
        follows = transition(state, trigger)
        assert follows is not None
        assert follows.state is to


@pytest.mark.parametrize("state", [S.QUEUED, S.RUNNING, S.VALIDATING, S.AWAITING_REVIEW])
def test_a_pause_and_a_resume_lead_back_to_where_it_was(state: State) -> None:
    paused = transition(state, T.PAUSE_ASKED)
    assert paused is not None
    assert paused == Next(S.PAUSED, None, state)
    back = transition(S.PAUSED, T.RESUME_ASKED, paused.resume_to)
    assert back == Next(state, WORK_OF.get(state), None)


def test_what_a_stopped_turn_left_is_judged_while_the_run_stays_stopped() -> None:
    for state in (S.PAUSED, S.CANCELLED):
        follows = transition(state, T.TURN_INTERRUPTED, S.RUNNING)
        assert follows == Next(state, W.JUDGE, S.RUNNING)
        follows = transition(state, T.CHECKPOINTED_HALFWAY, S.RUNNING)
        assert follows == Next(state, None, S.RUNNING)


def test_a_run_paused_by_a_push_takes_the_commits_in_first() -> None:
    assert transition(S.PAUSED, T.GIVEN_BACK, S.RUNNING) == Next(S.VALIDATING, W.ADOPT, None)


@pytest.mark.parametrize(
    ("state", "trigger", "resume_to", "to", "work"),
    [
        (S.VALIDATING, T.GREEN, None, S.AWAITING_APPROVAL, None),
        (S.VALIDATING, T.GREEN_TASKS_LEFT, None, S.AWAITING_APPROVAL, None),
        (S.VALIDATING, T.RED, None, S.AWAITING_APPROVAL, None),
        (S.VALIDATING, T.RED_NO_TURNS, None, S.BLOCKED, None),
        (S.BLOCKED, T.RESUME_ASKED, S.RUNNING, S.AWAITING_APPROVAL, None),
        (S.BLOCKED, T.OVERRIDDEN, S.RUNNING, S.AWAITING_APPROVAL, None),
        (S.BLOCKED, T.OVERRIDDEN_TASKS_LEFT, S.RUNNING, S.AWAITING_APPROVAL, None),
        (S.BLOCKED, T.CHANGES_ASKED, S.RUNNING, S.AWAITING_APPROVAL, None),
        (S.PAUSED, T.GIVEN_BACK, S.AWAITING_APPROVAL, S.VALIDATING, W.ADOPT),
        (S.PAUSED, T.RESUME_ASKED, S.PLANNING, S.PLANNING, W.PLAN),
        (S.PLANNING, T.PLAN_READY, None, S.RUNNING, W.TURN),
        (S.AWAITING_APPROVAL, T.APPROVED, None, S.RUNNING, W.TURN),
        (S.AWAITING_APPROVAL, T.REJECTED, None, S.PLANNING, W.PLAN),
    ],
)
def test_what_led_away_from_a_plan_leads_back_to_it(
    state: State, trigger: Trigger, resume_to: State | None, to: State, work: Work | None
) -> None:
    follows = transition(state, trigger, resume_to, unplanned=True)
    assert follows is not None
    assert (follows.state, follows.work) == (to, work)


@given(
    st.sampled_from(sorted(UNPLANNED)),
    st.lists(st.sampled_from(sorted(set(Trigger) - {T.PLAN_READY})), max_size=60),
)
def test_no_walk_leads_to_work_or_a_merge_before_the_plan_is_approved(
    state: State, triggers: list[Trigger]
) -> None:
    resume_to = None
    for trigger in triggers:
        if (state, trigger) == (S.AWAITING_APPROVAL, T.APPROVED):
            continue
        follows = transition(state, trigger, resume_to, unplanned=True)
        if follows is not None:
            assert follows.state not in (S.RUNNING, S.AWAITING_REVIEW, S.MERGING)
            assert follows.work not in (W.TURN, W.MERGE)
            state, resume_to = follows.state, follows.resume_to


@given(st.lists(st.sampled_from(sorted(Trigger)), max_size=60))
def test_no_walk_leaves_the_table_or_a_terminal_state(triggers: list[Trigger]) -> None:
    state, resume_to = S.QUEUED, None
    for trigger in triggers:
        follows = transition(state, trigger, resume_to)
        if follows is None:
            assert trigger not in possible(state)
            continue
        if state in TERMINAL:
            assert follows.state is state
            assert follows.work in (None, W.JUDGE)
        if follows.state in (S.BLOCKED, S.PAUSED, S.AWAITING_REVIEW, S.AWAITING_APPROVAL):
            assert follows.work in (None, W.JUDGE)
        if follows.state is S.PAUSED:
            assert follows.resume_to is not S.PAUSED
        state, resume_to = follows.state, follows.resume_to


def test_every_state_can_be_reached_and_every_live_one_can_end() -> None:
    reached = {S.QUEUED}
    while True:
        ways = [row.to for (state, _), row in TABLE.items() if state in reached]
        more = {State(to) for to in ways if to != "back"}
        if more <= reached:
            break
        reached |= more
    assert reached == set(State)


def test_a_person_cannot_do_in_a_terminal_state_what_work_may_still_report() -> None:
    asked = {T.RESUME_ASKED, T.RETRY_ASKED, T.APPROVED, T.CHANGES_ASKED, T.CANCELLED}
    asked |= {T.RESTORE_ASKED, T.UPDATE_ASKED}
    assert not asked & OUTCOMES
    for state in TERMINAL:
        for trigger in asked:
            assert transition(state, trigger) is None
