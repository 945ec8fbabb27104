"""The states of a run and the one table that decides what comes next.

`transition(state, trigger)` is pure: it takes what happened, as a trigger, and gives the state
that follows with the work that is now to be done, or None where the run waits. Nothing else in
the program decides either. Whatever led away from a plan that nobody approved yet, as a push does,
leads back to it before an agent works.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    PLANNING = "planning"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    VALIDATING = "validating"
    AWAITING_REVIEW = "awaiting_review"
    MERGING = "merging"
    PAUSED = "paused"
    BLOCKED = "blocked"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


TERMINAL = frozenset({State.DONE, State.CANCELLED})
"""States that nothing leaves."""

LIVE = frozenset(State) - TERMINAL - {State.FAILED}
"""States in which a run may still be steered; a failed run can only be resumed or cancelled."""

STOPPED = frozenset({State.PAUSED, State.BLOCKED, State.FAILED})
"""States that somebody has to lead on from."""

ACTIVE = LIVE - {State.PAUSED, State.BLOCKED}
"""States in which the run goes on by itself, or waits for a decision that it asked for."""


class Work(StrEnum):
    """What a segment does next; each is one step that looks before it leaps."""

    START = "start"  # resolve the base, read the configuration, name the branch
    PLAN = "plan"  # write the plan down for approval
    TURN = "turn"  # one prompt to the agent
    JUDGE = "judge"  # the rules over what the turn left, then the checkpoint
    CHECK = "check"  # the checks on the head
    RESTORE = "restore"  # a new commit with an earlier tree, or with what passes of a refused one
    UPDATE = "update"  # the base merged into the branch
    ADOPT = "adopt"  # a person's commits become a checkpoint
    MERGE = "merge"  # the approved head, and no other
    HAND = "hand"  # the head published, for a person who took the branch


class Trigger(StrEnum):
    """What happened, in the words of the table."""

    STARTED = "started"
    STARTED_TO_CHECK = "started on a stranger's commit"
    STARTED_WITH_PLAN = "started with a plan to make"
    PLAN_READY = "plan ready"
    PLAN_NEEDS_APPROVAL = "plan ready, approval asked"
    APPROVED = "approved"
    REJECTED = "rejected"
    TURN_ENDED = "turn ended"
    TURN_INTERRUPTED = "turn interrupted"
    TURN_CAME_TO_NOTHING = "turn interrupted before it changed anything"
    TURN_FAILED = "agent failed, or a limit was reached"
    CANDIDATE_REFUSED = "candidate refused"
    NOTHING_CHANGED = "nothing changed"
    NOTHING_LEFT = "nothing changed after a human's commits"
    NOTHING_TO_DO = "a scheduled run found nothing to do"
    CHECKPOINTED = "checkpoint made"
    CHECKPOINTED_HALFWAY = "checkpoint made of an interrupted turn"
    CHECKPOINTED_PARTLY = "checkpoint made of a failed turn"
    RESTORED = "tree restored, or the base brought in"
    GREEN = "checks passed, plan finished"
    GREEN_TASKS_LEFT = "checks passed, tasks left"
    RED = "checks failed, turns left"
    ONLY_CHECKED = "a stranger's commit checked"
    RED_NO_TURNS = "checks failed, no turns left"
    CHANGES_ASKED = "changes asked"
    RESTORE_ASKED = "rollback or undo asked"
    UPDATE_ASKED = "update from base asked"
    RETRY_ASKED = "retry asked"
    HUMAN_PUSHED = "a human pushed"
    PAUSE_ASKED = "pause asked"
    TAKEN = "a human took the branch"
    OVERRIDDEN = "the last red check set aside, plan finished"
    OVERRIDDEN_TASKS_LEFT = "the last red check set aside, tasks left"
    SET_ASIDE = "the last red check of the repository's own set aside, approved"
    MERGE_AWAITED = "the merge waits for checks, reviews or a queue"
    REPORTED = "news of what the merge waits for"
    RESUME_ASKED = "resume asked"
    GIVEN_BACK = "resume asked, a human's commits are on the branch"
    MERGED = "merged"
    REFUSED = "merge, push or work refused"
    CANCELLED = "cancelled"
    FAILED = "our own error"


BACK = "back"
"""In the table: the state that the run was in before it was paused, blocked or failed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One cell of the table: the state that follows, the work, and where a stop resumes."""

    to: State | str
    work: Work | None = None
    resume_to: State | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """What follows: the state, the work or None to wait, and where `/resume` would lead."""

    state: State
    work: Work | None
    resume_to: State | None


WORK_OF = MappingProxyType(
    {
        State.QUEUED: Work.START,
        State.PLANNING: Work.PLAN,
        State.RUNNING: Work.TURN,
        State.VALIDATING: Work.CHECK,
        State.MERGING: Work.MERGE,
    }
)
"""The work with which a state is entered anew; the others wait."""

_S, _T, _W = State, Trigger, Work
_BLOCKED = Row(_S.BLOCKED, None, _S.RUNNING)

_TABLE: dict[tuple[State, Trigger], Row] = {
    (_S.QUEUED, _T.STARTED): Row(_S.RUNNING, _W.TURN),
    (_S.QUEUED, _T.STARTED_WITH_PLAN): Row(_S.PLANNING, _W.PLAN),
    (_S.QUEUED, _T.STARTED_TO_CHECK): Row(_S.VALIDATING, _W.CHECK),
    (_S.QUEUED, _T.REFUSED): Row(_S.BLOCKED, None, _S.QUEUED),
    (_S.PLANNING, _T.PLAN_READY): Row(_S.RUNNING, _W.TURN),
    (_S.PLANNING, _T.PLAN_NEEDS_APPROVAL): Row(_S.AWAITING_APPROVAL),
    (_S.AWAITING_APPROVAL, _T.APPROVED): Row(_S.RUNNING, _W.TURN),
    (_S.AWAITING_APPROVAL, _T.REJECTED): Row(_S.PLANNING, _W.PLAN),
    (_S.RUNNING, _T.TURN_ENDED): Row(_S.RUNNING, _W.JUDGE),
    (_S.RUNNING, _T.TURN_INTERRUPTED): Row(_S.RUNNING, _W.JUDGE),
    (_S.RUNNING, _T.TURN_CAME_TO_NOTHING): Row(_S.RUNNING, _W.TURN),
    (_S.RUNNING, _T.TURN_FAILED): _BLOCKED,
    (_S.RUNNING, _T.CANDIDATE_REFUSED): _BLOCKED,
    (_S.RUNNING, _T.NOTHING_CHANGED): _BLOCKED,
    (_S.RUNNING, _T.NOTHING_LEFT): Row(_S.VALIDATING, _W.CHECK),
    (_S.RUNNING, _T.NOTHING_TO_DO): Row(_S.DONE),
    (_S.RUNNING, _T.REFUSED): _BLOCKED,
    (_S.RUNNING, _T.CHECKPOINTED): Row(_S.VALIDATING, _W.CHECK),
    (_S.RUNNING, _T.CHECKPOINTED_HALFWAY): Row(_S.RUNNING, _W.TURN),
    (_S.RUNNING, _T.CHECKPOINTED_PARTLY): _BLOCKED,
    (_S.VALIDATING, _T.RESTORED): Row(_S.VALIDATING, _W.CHECK),
    (_S.VALIDATING, _T.GREEN): Row(_S.AWAITING_REVIEW),
    (_S.VALIDATING, _T.GREEN_TASKS_LEFT): Row(_S.RUNNING, _W.TURN),
    (_S.VALIDATING, _T.RED): Row(_S.RUNNING, _W.TURN),
    (_S.VALIDATING, _T.RED_NO_TURNS): _BLOCKED,
    (_S.VALIDATING, _T.ONLY_CHECKED): Row(_S.DONE),
    (_S.VALIDATING, _T.REFUSED): Row(_S.BLOCKED, None, _S.VALIDATING),
    (_S.AWAITING_REVIEW, _T.CHANGES_ASKED): Row(_S.RUNNING, _W.TURN),
    (_S.AWAITING_REVIEW, _T.RESTORE_ASKED): Row(_S.VALIDATING, _W.RESTORE),
    (_S.AWAITING_REVIEW, _T.UPDATE_ASKED): Row(_S.VALIDATING, _W.UPDATE),
    (_S.AWAITING_REVIEW, _T.RETRY_ASKED): Row(_S.VALIDATING, _W.CHECK),
    (_S.AWAITING_REVIEW, _T.APPROVED): Row(_S.MERGING, _W.MERGE),
    (_S.AWAITING_REVIEW, _T.HUMAN_PUSHED): Row(_S.VALIDATING, _W.ADOPT),
    (_S.MERGING, _T.MERGED): Row(_S.DONE),
    (_S.MERGING, _T.MERGE_AWAITED): Row(_S.MERGING),
    (_S.MERGING, _T.REPORTED): Row(_S.MERGING, _W.MERGE),
    (_S.MERGING, _T.SET_ASIDE): Row(_S.MERGING, _W.MERGE),
    (_S.MERGING, _T.REFUSED): Row(_S.BLOCKED, None, _S.VALIDATING),
    (_S.PAUSED, _T.RESUME_ASKED): Row(BACK),
    (_S.PAUSED, _T.GIVEN_BACK): Row(_S.VALIDATING, _W.ADOPT),
    (_S.BLOCKED, _T.GIVEN_BACK): Row(_S.VALIDATING, _W.ADOPT),
    (_S.BLOCKED, _T.RESUME_ASKED): Row(BACK),
    (_S.BLOCKED, _T.CHANGES_ASKED): Row(_S.RUNNING, _W.TURN),
    (_S.BLOCKED, _T.RETRY_ASKED): Row(_S.VALIDATING, _W.CHECK),
    (_S.BLOCKED, _T.RESTORE_ASKED): Row(_S.VALIDATING, _W.RESTORE),
    (_S.BLOCKED, _T.UPDATE_ASKED): Row(_S.VALIDATING, _W.UPDATE),
    (_S.BLOCKED, _T.SET_ASIDE): Row(_S.MERGING, _W.MERGE),
    (_S.BLOCKED, _T.OVERRIDDEN): Row(_S.AWAITING_REVIEW),
    (_S.BLOCKED, _T.OVERRIDDEN_TASKS_LEFT): Row(_S.RUNNING, _W.TURN),
    (_S.FAILED, _T.RESUME_ASKED): Row(BACK),
    (_S.FAILED, _T.GIVEN_BACK): Row(_S.VALIDATING, _W.ADOPT),
    (_S.FAILED, _T.CANCELLED): Row(_S.CANCELLED),
}

for _state in LIVE:
    _TABLE[(_state, _T.CANCELLED)] = Row(_S.CANCELLED)
    _TABLE[(_state, _T.MERGED)] = Row(_S.DONE)
    _TABLE[(_state, _T.FAILED)] = Row(_S.FAILED)
    if _state not in (_S.AWAITING_REVIEW, _S.PAUSED):
        _TABLE[(_state, _T.HUMAN_PUSHED)] = Row(_S.PAUSED)
    if _state not in (_S.PAUSED, _S.BLOCKED):
        _TABLE[(_state, _T.PAUSE_ASKED)] = Row(_S.PAUSED)
    # Before its start a run has no branch, and a merge is over in a moment.
    if _state not in (_S.QUEUED, _S.MERGING):
        _TABLE[(_state, _T.TAKEN)] = Row(_S.PAUSED)

TABLE = MappingProxyType(_TABLE)
"""Every way from one state to another; what is not here cannot happen."""

UNPLANNED = frozenset({State.PLANNING, State.AWAITING_APPROVAL})
"""States that a run leaves by itself only once its plan is approved."""

_ON_THE_PLAN = frozenset({State.RUNNING, State.AWAITING_REVIEW, State.MERGING})
_PLAN_HOLDS = frozenset(
    {(State.PLANNING, Trigger.PLAN_READY), (State.AWAITING_APPROVAL, Trigger.APPROVED)}
)

OUTCOMES = frozenset(
    {
        *(_T.STARTED_TO_CHECK, _T.ONLY_CHECKED),
        *(_T.STARTED, _T.STARTED_WITH_PLAN, _T.PLAN_READY, _T.PLAN_NEEDS_APPROVAL),
        *(_T.TURN_ENDED, _T.TURN_INTERRUPTED, _T.TURN_CAME_TO_NOTHING, _T.TURN_FAILED),
        *(_T.NOTHING_CHANGED, _T.NOTHING_LEFT, _T.NOTHING_TO_DO, _T.CANDIDATE_REFUSED, _T.RESTORED),
        *(_T.CHECKPOINTED, _T.CHECKPOINTED_HALFWAY, _T.CHECKPOINTED_PARTLY),
        *(_T.GREEN, _T.GREEN_TASKS_LEFT, _T.RED, _T.RED_NO_TURNS),
        *(_T.REFUSED, _T.FAILED, _T.HUMAN_PUSHED, _T.MERGED, _T.MERGE_AWAITED, _T.REPORTED),
    }
)
"""What work in flight may still report after the run was paused, cancelled or merged by hand."""


def transition(
    state: State, trigger: Trigger, resume_to: State | None = None, *, unplanned: bool = False
) -> Next | None:
    """Say what follows when `trigger` happens in `state`; None when it cannot happen there.

    `resume_to` is the state that a paused, blocked or failed run goes back to. `unplanned` says
    that its plan still has to be approved.
    """
    follows = _following(state, trigger, resume_to)
    if follows is None or not unplanned or (state, trigger) in _PLAN_HOLDS:
        return follows
    back = follows.state in _ON_THE_PLAN
    return Next(State.AWAITING_APPROVAL, None, None) if back else follows


def _following(state: State, trigger: Trigger, resume_to: State | None) -> Next | None:
    row = TABLE.get((state, trigger))
    if row is None:
        return _late(state, trigger, resume_to)
    if row.to == BACK:
        back = resume_to or State.RUNNING
        return Next(back, WORK_OF.get(back), None)
    to = State(row.to)
    if to in (State.PAUSED, State.FAILED):
        return Next(to, None, resume_to if state in (State.BLOCKED, State.PAUSED) else state)
    return Next(to, row.work, row.resume_to)


def possible(state: State) -> frozenset[Trigger]:
    """Name what can happen to a run in `state`."""
    return frozenset(trigger for at, trigger in TABLE if at is state)


def _late(state: State, trigger: Trigger, resume_to: State | None) -> Next | None:
    if state not in TERMINAL | STOPPED or trigger not in OUTCOMES:
        return None
    if state is State.DONE and trigger is Trigger.MERGED:
        return None  # Whoever told it first, it is merged once.
    # What a stopped turn left behind is work done: it becomes a checkpoint before the run waits.
    left = trigger in (Trigger.TURN_ENDED, Trigger.TURN_INTERRUPTED)
    return Next(state, Work.JUDGE if left else None, resume_to)
