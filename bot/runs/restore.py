"""A run made again from its record, on a server that knew nothing of it. All of it pure.

Nothing of it is under way then: what was in flight was lost with the server, and comes back
stopped, so that a person decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from bot.errors import Refused, UserError
from bot.events import ORCHESTRATE, SCHEMA_VERSION, Event, Type
from bot.runs.fold import STOPPED, evolve, new_run
from bot.runs.model import Approval, Delegate, Override, Repository, Run
from bot.runs.transitions import TERMINAL, State
from bot.runs.work import RESTORED, RULES, stop
from policies.verdict import code

SAID = 10
"""Decisions that were not confirmed and are told, the newest: nobody reads of more."""

UNPLANNED = (
    "GitHub does not confirm that anybody approved the plan, so nothing goes on from it: look at"
    " it, and `/approve` lets the work go on."
)

_SEGMENT = re.compile(r"(?P<run>[0-9a-z]+)-(?P<segment>\d+)\.\d+:")


@dataclass(frozen=True, slots=True)
class Restored:
    """A run as its record tells of it, the whole record, and the results of the checks on its head.

    `until` is when the record ended; `stopped` says that something was in flight then, which a
    last event that was added stops.
    """

    run: Run
    record: tuple[Event, ...]
    results: tuple[dict[str, Any], ...]
    until: datetime
    stopped: bool


def restored(
    record: Sequence[Event],
    repository: Repository,
    at: datetime,
    doubts: Mapping[str, str] | None = None,
) -> Restored:
    """Make a run from its record; raises Refused for one that this version cannot read.

    `doubts` says of decisions, by their events' ids, why they do not count. Without it nobody was
    asked, and nobody acts for another.
    """
    if not record or record[0].type != Type.REQUESTED:
        raise Refused("The record does not begin with a request.")
    run, results = _folded(record, repository)
    segment = max((_segment(run.id, event) for event in record), default=0)
    run = run.model_copy(update={"active": False, "segment": segment})
    until = record[-1].at
    stopped = run.work is not None
    added = [_halt(run, at)] if stopped or _is_trusting(run) else []
    run = evolve(run, added[0]) if added else run
    if doubts is None:
        for name in dict.fromkeys(each.to for each in run.delegates):
            taken = _event(run, at, Type.UNDELEGATED, {"to": name})
            run, added = evolve(run, taken), [*added, taken]
    elif run.state not in TERMINAL and (data := _unconfirmed(run, record, doubts)):
        taken = _event(run, at, Type.UNCONFIRMED, data)
        run, added = evolve(run, taken), [*added, taken]
        if run.waits_to_merge and run.approved_head() is None:
            halted = _halt(run, at)
            run, added = evolve(run, halted), [*added, halted]
    return Restored(run, (*record, *added), results, until, stopped=stopped)


def _doubted(run: Run, record: Sequence[Event], doubts: Mapping[str, str]) -> list[Event]:
    """Pick what is doubted and still stands: the request, and decisions."""
    decided: list[Approval | Override | Delegate] = [
        *run.approvals,
        *run.overrides,
        *run.delegates,
    ]
    standing = {(each.by, each.at) for each in decided}
    return [
        each
        for each in record
        if each.id in doubts and (each.type == Type.REQUESTED or (each.actor, each.at) in standing)
    ]


def _unconfirmed(run: Run, record: Sequence[Event], doubts: Mapping[str, str]) -> dict[str, Any]:
    """Name what does not count, and say of each why not and what to do; empty where all does."""
    events, plan = _doubted(run, record, doubts), _is_unplanned(run, record, doubts)
    told = [*events[:1], *events[1:][-SAID:]]
    said = [_said(each, doubts[each.id], plan=plan) for each in told]
    about = [_about(each) for each in told]
    if plan and all(each["of"] != "plan" for each in about):
        said.append(UNPLANNED)
        about.append({"of": "plan"})
    if not said:
        return {}
    decisions = [each for each in events if each.type != Type.REQUESTED]
    return {
        "decisions": [{"by": each.actor, "at": each.at.isoformat()} for each in decisions],
        "said": said,
        "about": about,
        "plan": plan,
        "requester": len(decisions) < len(events),
    }


def _is_unplanned(run: Run, record: Sequence[Event], doubts: Mapping[str, str]) -> bool:
    """Whether work would go on from a plan that was to be approved, and is not, by GitHub."""
    before = (State.QUEUED, State.PLANNING, State.AWAITING_APPROVAL)
    if not run.wants_plan or run.state not in STOPPED or run.resume_to in before:
        return False
    if run.next_task() is None:
        return False  # It is carried out, and what came of it is approved by itself.
    planned = max((n for n, each in enumerate(record) if each.type == Type.PLANNED), default=-1)
    later = (each for each in record[planned + 1 :] if each.type == Type.APPROVED)
    return not any(each.data.get("of") == "plan" and each.id not in doubts for each in later)


def _about(event: Event) -> dict[str, str]:
    """Say what a decision is about, so that the one that takes its place is known."""
    data, by = event.data, {"by": event.actor}
    if event.type == Type.REQUESTED:
        return {"of": "request", **by}
    if event.type == Type.DELEGATED:
        return {"of": "delegate", "what": str(data.get("to")), **by}
    if event.type == Type.OVERRIDDEN:
        return {"of": "override", "what": str(data.get("check")), **by}
    return {"of": "plan" if data.get("of") == "plan" else "head", **by}


def _said(event: Event, why: str, *, plan: bool) -> str:
    data, by = event.data, code(event.actor)
    if event.type == Type.REQUESTED:
        return (
            f"GitHub does not confirm that {by} asked for this run, and who wrote at it: {why}; so"
            " whoever decides on it counts as one of them, and `approval: requester:` says whether"
            " they may."
        )
    if event.type == Type.DELEGATED:
        what, again = f"that {code(str(data.get('to')))} acts for {by}", "`/delegate` it again"
    elif event.type == Type.OVERRIDDEN:
        what = f"that {by} set {code(str(data.get('check')))} aside"
        again = "`/retry` runs the checks again"
    elif data.get("of") == "plan":
        what, again = f"that {by} approved the plan", "look at what came of it"
        again = "look at it, and `/approve` lets the work go on" if plan else again
    else:
        what = f"that {by} approved {code(str(data.get('sha'))[:7])}"
        again = "whoever did may `/approve` it again"
    return f"GitHub does not confirm {what}, so it does not count: {why}; {again}."


def _is_trusting(run: Run) -> bool:
    """Whether a stranger's commit could still be worked on, on somebody's word.

    That word may have been written by whoever may push to the record, so it is asked for again.
    """
    return bool(run.trusted or run.onto) and run.state not in TERMINAL


def _folded(
    record: Sequence[Event], repository: Repository
) -> tuple[Run, tuple[dict[str, Any], ...]]:
    """Fold a record, and keep the results of the checks on what becomes the head."""
    run: Run | None = None
    results: dict[str, dict[str, Any]] = {}
    for event in record:
        head = run.head if run else ""
        run = following(run, event, repository)
        if run.head != head:
            results = {RULES: _rules(run)} if run.checkpoints else {}
        if event.type == Type.CHECKED and event.data["sha"] == run.head:
            results |= {each["name"]: _result(run, each) for each in event.data["checks"]}
    assert run is not None
    return run, tuple(results.values())


def following(run: Run | None, event: Event, repository: Repository) -> Run:
    """Return the run as an event leaves it; raises Refused where that cannot follow."""
    try:
        return _next(run, event, repository)
    except (
        UserError,
        ValidationError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise Refused(
            f"Event {event.seq} of the record, `{event.type}`, cannot follow what came before "
            f"it: {_first_line(error)}."
        ) from error


def _next(run: Run | None, event: Event, repository: Repository) -> Run:
    if event.v > SCHEMA_VERSION:
        raise ValueError("it was written by a newer version of Orchestrate, so update this one")
    return evolve(run or new_run(event, repository), event)


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return (said[0] if said else type(error).__name__).rstrip(".")


def _rules(run: Run) -> dict[str, Any]:
    """What became a checkpoint had passed them."""
    summary = "The changes pass the repository's rules."
    return _result(run, {"name": RULES, "conclusion": "success", "summary": summary})


def _result(run: Run, told: dict[str, Any]) -> dict[str, Any]:
    """Make the result of a check as the store keeps it, from the line that an event has of it.

    Records of the first version do not say of which attempt it is; then it is of the newest.
    """
    return {
        "summary": "",
        "seconds": 0.0,
        "attempt": run.attempt,
        **told,
        "text": "",
        "annotations": [],
        RESTORED: True,
    }


def _segment(run: str, event: Event) -> int:
    """Return the segment that recorded an event, 0 for what people caused.

    The next one must have another number: its steps are recorded under it, once.
    """
    found = _SEGMENT.match(event.id)
    return int(found["segment"]) if found and found["run"] == run else 0


def _halt(run: Run, at: datetime) -> Event:
    """Make the event that stops what was in flight."""
    reason = "The server was rebuilt from the record while this run was at work."
    step = "`/resume` goes on from the last checkpoint."
    kind = Type.PAUSED
    if _is_trusting(run):
        kind = Type.CANCELLED
        reason = "The server was rebuilt, and asks again for the word of who trusts this commit."
        step = "`/orchestrate trust SHA` trusts the head as it is now."
        step += " `/orchestrate REQUEST` then goes on from it." if run.onto else ""
    elif run.state is State.MERGING:
        # Whoever may push to the record could have written the approval into it.
        kind = Type.BLOCKED
        reason = "The server was rebuilt from the record while this run was being merged."
        step = "`/resume` checks the head again; then it can be approved."
    elif run.state in STOPPED or run.state in TERMINAL:
        kind = Type.BLOCKED  # It stays where it is; what a stopped turn left behind is gone.
    return _event(run, at, kind, stop(reason, step))


def _event(run: Run, at: datetime, kind: Type, data: dict[str, Any]) -> Event:
    id = f"rebuilt:{run.seq}"
    return Event(id=id, seq=run.seq + 1, at=at, actor=ORCHESTRATE, type=kind, data=data)
