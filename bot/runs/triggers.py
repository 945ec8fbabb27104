"""What an event means for a run's state: the step from data to the words of the table."""

from __future__ import annotations

from typing import Any

from bot.events import Event, Type
from bot.runs.model import Run
from bot.runs.transitions import Trigger


def trigger_of(run: Run, event: Event) -> Trigger | None:
    """Name what `event` means for the run's state; None for facts that change nothing in it."""
    data = event.data
    match event.type:
        case Type.STARTED if run.trusted:
            return Trigger.STARTED_TO_CHECK
        case Type.CHECKED if run.trusted:
            return Trigger.ONLY_CHECKED
        case Type.STARTED:
            return Trigger.STARTED_WITH_PLAN if run.wants_plan else Trigger.STARTED
        case Type.PLANNED:
            return Trigger.PLAN_NEEDS_APPROVAL if data["approval"] else Trigger.PLAN_READY
        case Type.TURN_ENDED:
            return _turn(run, data)
        case Type.CHECKPOINTED:
            return _CHECKPOINTS[data["kind"]]
        case Type.CHECKED:
            return _verdict_of_checks(run, bool(data["green"]))
        case Type.APPROVED:
            return None if data.get("missing") else Trigger.APPROVED
        case Type.RESUMED:
            return Trigger.GIVEN_BACK if run.foreign else Trigger.RESUME_ASKED
        case Type.GIVEN:
            theirs = run.foreign or data["after"]
            return Trigger.GIVEN_BACK if theirs else Trigger.RESUME_ASKED
        case Type.OVERRIDDEN:
            return _set_aside(run, data["check"])
        case Type.MERGE_AWAITED:
            # What was said while GitHub was asked may not be in its answer.
            is_news = data.get("seen", run.news) != run.news
            return Trigger.REPORTED if is_news else Trigger.MERGE_AWAITED
        case _:
            return _TRIGGERS.get(event.type)


def _verdict_of_checks(run: Run, green: bool) -> Trigger:
    if green:
        goes_on = run.given and run.next_task() is not None and run.turns < run.turn_limit
        more = goes_on or _tasks_left(run) or is_told_more(run)
        return Trigger.GREEN_TASKS_LEFT if more else Trigger.GREEN
    # A person who asked for a rollback decides what is next; the agent does not undo it again.
    by_agent = run.last is None or run.last.kind in ("agent", "interrupted")
    return Trigger.RED if by_agent and run.turns < run.turn_limit else Trigger.RED_NO_TURNS


def _set_aside(run: Run, check: str) -> Trigger | None:
    """Say what follows when a red check does not count; nothing while another one is red."""
    if run.still_red(besides=check) or run.unmet(besides=check):
        return None
    if any(each.name == check for each in run.outside):
        return Trigger.SET_ASIDE if run.approved() else Trigger.OVERRIDDEN
    return Trigger.OVERRIDDEN_TASKS_LEFT if _tasks_left(run) else Trigger.OVERRIDDEN


def is_told_more(run: Run) -> bool:
    """Say whether people said something that waits for the agent's next turn, and it has one."""
    return bool(run.unheard()) and run.turns < run.turn_limit


def _tasks_left(run: Run) -> bool:
    task = run.next_task()
    left = run.plan.finish(task.id) if task else run.plan
    return bool(left.ready())


def _turn(run: Run, data: dict[str, Any]) -> Trigger:
    """Work that a stopped or failed turn left behind is judged like any other, then kept."""
    changed = bool(data.get("tree"))
    match data["outcome"]:
        case "ended" if not changed and run.source.kind == "schedule" and not run.checkpoints:
            return Trigger.NOTHING_TO_DO
        case "ended" if not changed and is_told_more(run):
            return Trigger.TURN_CAME_TO_NOTHING
        case "ended" if not changed and run.given:
            return Trigger.NOTHING_LEFT
        case "ended":
            return Trigger.TURN_ENDED if changed else Trigger.NOTHING_CHANGED
        case "failed" | "budget":
            return Trigger.TURN_ENDED if changed else Trigger.TURN_FAILED
        case _:
            return Trigger.TURN_INTERRUPTED if changed else Trigger.TURN_CAME_TO_NOTHING


_CHECKPOINTS = {
    "agent": Trigger.CHECKPOINTED,
    "interrupted": Trigger.CHECKPOINTED_HALFWAY,
    "partial": Trigger.CHECKPOINTED_PARTLY,
    "rollback": Trigger.RESTORED,
    "undo": Trigger.RESTORED,
    "kept": Trigger.RESTORED,
    "update": Trigger.RESTORED,
    "human": Trigger.RESTORED,
}
_TRIGGERS: dict[str, Trigger] = {
    Type.CANDIDATE_REFUSED: Trigger.CANDIDATE_REFUSED,
    Type.CHANGES_ASKED: Trigger.CHANGES_ASKED,
    Type.REJECTED: Trigger.REJECTED,
    Type.PAUSED: Trigger.PAUSE_ASKED,
    Type.TAKEN: Trigger.TAKEN,
    Type.RETRIED: Trigger.RETRY_ASKED,
    Type.ROLLBACK_ASKED: Trigger.RESTORE_ASKED,
    Type.UPDATE_ASKED: Trigger.UPDATE_ASKED,
    Type.HUMAN_PUSHED: Trigger.HUMAN_PUSHED,
    Type.REPORTED: Trigger.REPORTED,
    Type.MERGED: Trigger.MERGED,
    Type.BLOCKED: Trigger.REFUSED,
    Type.CANCELLED: Trigger.CANCELLED,
    Type.FAILED: Trigger.FAILED,
}
