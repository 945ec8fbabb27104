"""A run as a value, and how an event changes it.

A run is the fold of its events: `evolve(run, event)` is pure, so the same record gives the same
run on any server. The states themselves are decided in `transitions.py`.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.errors import UserError
from bot.events import Event, Type
from bot.runs.transitions import State, Trigger, Work, transition

ID_LENGTH = 10
"""Characters of a run's id: 50 bits, so that a million runs collide with a chance of 1 in 2,000."""

STOPPED = frozenset({State.BLOCKED, State.PAUSED, State.FAILED, State.CANCELLED})
"""States that say why the run stands still, as far as there is something to say."""

CheckpointKind = Literal["agent", "interrupted", "partial", "rollback", "undo", "human"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Repository(_Value):
    """A repository: GitHub's numeric id, and what may change about it.

    A local repository has installation 0, and its path as `url`.
    """

    id: int
    owner: str
    name: str
    installation: int
    default_branch: str = "main"
    url: str = ""

    @property
    def full_name(self) -> str:
        """The name that people write, `owner/name`."""
        return f"{self.owner}/{self.name}"


class Source(_Value):
    """What a run came from; the same source is the same run.

    `kind` and `key` identify it (a comment's id and line, a schedule and its fire time);
    `url` is where a person can read it.
    """

    kind: Literal["comment", "label", "schedule", "cli"]
    key: str
    url: str = ""


class Task(_Value):
    """A piece of the plan for one agent, after the tasks that it `needs`."""

    id: str
    title: str
    agent: str | None = None
    areas: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    done: bool = False


class Plan(_Value):
    """A graph of tasks; a plan of one task is a plan."""

    tasks: tuple[Task, ...] = ()

    def ready(self) -> tuple[Task, ...]:
        """Return the tasks that can be done now: not done, and all that they need is."""
        done = {task.id for task in self.tasks if task.done}
        return tuple(t for t in self.tasks if not t.done and done.issuperset(t.needs))

    def finish(self, task: str) -> Plan:
        """Return the plan with `task` done."""
        return Plan(
            tasks=tuple(
                t.model_copy(update={"done": True}) if t.id == task else t for t in self.tasks
            )
        )


class Checkpoint(_Value):
    """A candidate that passed the rules: (run, number, tree), published as a commit."""

    number: int
    sha: str
    tree: str
    parent: str
    kind: CheckpointKind = "agent"
    title: str = ""
    turn: int | None = None
    files: int = 0
    added: int = 0
    deleted: int = 0
    author: str = ""
    by: tuple[str, ...] = ()
    at: datetime | None = None


class Outcome(_Value):
    """How one check ended on one checkpoint, in a line."""

    name: str
    conclusion: str
    summary: str = ""
    seconds: float = 0.0


class Approval(_Value):
    """Who approved which head and tree, and how."""

    by: str
    sha: str
    tree: str
    how: Literal["command", "review", "button", "cli"]
    at: datetime
    reason: str = ""


class Answer(_Value):
    """A review's thread, by its first comment, and the commit that answered it, if one did."""

    comment: int
    sha: str = ""


class Run(_Value):
    """One request carried out.

    `work` is what the segment under way or next to come does, None where the run waits;
    `segment` counts the segments, and `active` says that one of them is not over. `own_agent` and
    `own_checks` are commands given with the request itself, on the command line.
    """

    id: str
    repository: Repository
    source: Source
    requester: str
    email: str = ""
    request: str
    context: str = ""
    title: str = ""
    issue: int | None = None
    pull_request: int | None = None
    agent: str = ""
    base: str = ""
    wants_plan: bool = False
    minutes: int | None = None
    label: str = ""
    own_agent: str = ""
    own_checks: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime

    state: State = State.QUEUED
    work: Work | None = Work.START
    resume_to: State | None = None
    reason: str = ""
    next_step: str = ""
    seq: int = 0
    segment: int = 0
    active: bool = False

    branch: str = ""
    base_sha: str = ""
    base_tree: str = ""
    head: str = ""
    config: str = ""
    plan: Plan = Plan()
    turns: int = 0
    turn_limit: int = 1
    turn_open: bool = False
    candidate: dict[str, Any] = Field(default_factory=dict)
    instructions: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    restore: dict[str, Any] = Field(default_factory=dict)
    foreign: str = ""
    pushers: tuple[str, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    checked: str = ""
    refused: tuple[str, ...] = ()
    approvals: tuple[Approval, ...] = ()
    merge_sha: str = ""
    attempt: int = 0
    retry: str = ""

    @property
    def last(self) -> Checkpoint | None:
        """The newest checkpoint, or None before the first."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def tree(self) -> str:
        """The tree at the head: the newest checkpoint's, or the base's."""
        return self.checkpoints[-1].tree if self.checkpoints else self.base_tree

    @property
    def is_local(self) -> bool:
        """Whether the run works on a local repository, without GitHub."""
        return self.repository.installation == 0

    def next_task(self) -> Task | None:
        """Return the task that the next turn works on, or None when the plan is finished."""
        return next(iter(self.plan.ready()), None)

    def approved_head(self) -> Approval | None:
        """Return the approval that holds for exactly the present head, or None."""
        return next((a for a in self.approvals if a.sha == self.head), None)


def run_id(repository: int, source: Source) -> str:
    """Derive a run's id from its source: lower-case base32, safe in a ref, ten characters."""
    digest = hashlib.sha256(f"{repository}\0{source.kind}\0{source.key}".encode()).digest()
    return b32encode(digest).decode().lower()[:ID_LENGTH]


def new_run(event: Event, repository: Repository) -> Run:
    """Make the run that a `requested` event begins."""
    data = event.data
    source = Source.model_validate(data["source"])
    return Run(
        id=run_id(repository.id, source),
        repository=repository,
        source=source,
        requester=event.actor,
        email=data.get("email") or f"{event.actor}@users.noreply.github.com",
        request=data["request"],
        context=data.get("context", ""),
        title=data.get("title") or _title(data["request"]),
        issue=data.get("issue"),
        agent=data.get("agent") or "",
        base=data.get("base") or "",
        wants_plan=bool(data.get("plan")),
        minutes=data.get("minutes"),
        label=data.get("label") or "",
        own_agent=data.get("agent_command") or "",
        own_checks=tuple(data.get("checks") or ()),
        created_at=event.at,
        updated_at=event.at,
    )


def fold(events: Iterable[Event], repository: Repository) -> Run:
    """Make a run from its whole record, the `requested` event first."""
    record = iter(events)
    first = next(record)
    run = evolve(new_run(first, repository), first)
    for event in record:
        run = evolve(run, event)
    return run


def evolve(run: Run, event: Event) -> Run:
    """Return `run` as `event` leaves it.

    Raises `UserError` when the event cannot happen in the run's state.
    """
    update: dict[str, Any] = {"seq": event.seq or run.seq + 1, "updated_at": event.at}
    apply = _APPLY.get(event.type)
    if apply is not None:
        update |= apply(run, event)
    trigger = trigger_of(run, event)
    if trigger is not None:
        follows = transition(run.state, trigger, run.resume_to)
        if follows is None:
            raise UserError(_cannot(run, trigger))
        update |= {
            "state": follows.state,
            "work": follows.work,
            "resume_to": follows.resume_to,
        }
        if follows.state not in STOPPED:
            update |= {"reason": "", "next_step": ""}
        elif follows.state is run.state and trigger is not Trigger.HUMAN_PUSHED:
            # Work in flight ended after the run was stopped: what stopped it is still why.
            update |= {"reason": run.reason, "next_step": run.next_step}
    changed = run.model_copy(update=update)
    return _wake(changed)


def _wake(run: Run) -> Run:
    """Begin a segment where there is work and none is under way."""
    if run.work is None or run.active:
        return run
    return run.model_copy(update={"segment": run.segment + 1, "active": True})


def rest(run: Run) -> Run | None:
    """Return the run with its segment closed, or None when there is work for it after all."""
    return run.model_copy(update={"active": False}) if run.work is None else None


def trigger_of(run: Run, event: Event) -> Trigger | None:
    """Name what `event` means for the run's state; None for facts that change nothing in it."""
    data = event.data
    match event.type:
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
        case Type.RESUMED:
            return Trigger.GIVEN_BACK if run.foreign else Trigger.RESUME_ASKED
        case _:
            return _TRIGGERS.get(event.type)


def _verdict_of_checks(run: Run, green: bool) -> Trigger:
    if green:
        return Trigger.GREEN_TASKS_LEFT if _tasks_left(run) else Trigger.GREEN
    # A person who asked for a rollback decides what is next; the agent does not undo it again.
    by_agent = run.last is None or run.last.kind in ("agent", "interrupted")
    return Trigger.RED if by_agent and run.turns < run.turn_limit else Trigger.RED_NO_TURNS


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
        case "ended":
            return Trigger.TURN_ENDED if changed else Trigger.NOTHING_CHANGED
        case "failed":
            return Trigger.TURN_ENDED if changed else Trigger.TURN_FAILED
        case _:
            return Trigger.TURN_INTERRUPTED if changed else Trigger.TURN_CAME_TO_NOTHING


_CHECKPOINTS = {
    "agent": Trigger.CHECKPOINTED,
    "interrupted": Trigger.CHECKPOINTED_HALFWAY,
    "partial": Trigger.CHECKPOINTED_PARTLY,
    "rollback": Trigger.RESTORED,
    "undo": Trigger.RESTORED,
    "human": Trigger.RESTORED,
}
_TRIGGERS: dict[str, Trigger] = {
    Type.CANDIDATE_REFUSED: Trigger.CANDIDATE_REFUSED,
    Type.CHANGES_ASKED: Trigger.CHANGES_ASKED,
    Type.APPROVED: Trigger.APPROVED,
    Type.REJECTED: Trigger.REJECTED,
    Type.PAUSED: Trigger.PAUSE_ASKED,
    Type.RETRIED: Trigger.RETRY_ASKED,
    Type.ROLLBACK_ASKED: Trigger.RESTORE_ASKED,
    Type.HUMAN_PUSHED: Trigger.HUMAN_PUSHED,
    Type.MERGED: Trigger.MERGED,
    Type.BLOCKED: Trigger.REFUSED,
    Type.CANCELLED: Trigger.CANCELLED,
    Type.FAILED: Trigger.FAILED,
}


def _started(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    return {
        "base": data["base"],
        "base_sha": data["base_sha"],
        "base_tree": data["base_tree"],
        "head": run.head or data["base_sha"],
        "branch": data["branch"],
        "config": data.get("config", ""),
        "agent": data["agent"],
        "minutes": data["minutes"],
        "turn_limit": run.turns + data["turns"],
        "plan": Plan(tasks=(Task(id="1", title=run.title, agent=data["agent"]),)),
    }


def _planned(run: Run, event: Event) -> dict[str, Any]:
    return {"plan": Plan.model_validate(event.data["plan"])}


def _turn_started(run: Run, event: Event) -> dict[str, Any]:
    return {"turns": event.data["turn"], "turn_open": True, "agent": event.data["agent"]}


def _turn_ended(run: Run, event: Event) -> dict[str, Any]:
    return {"turn_open": False, "candidate": dict(event.data), **_stop(event)}


def _candidate_refused(run: Run, event: Event) -> dict[str, Any]:
    return {"candidate": {}, "refused": tuple(event.data["violations"]), **_stop(event)}


def _checkpointed(run: Run, event: Event) -> dict[str, Any]:
    by = run.pushers if event.data["kind"] == "human" else ()
    made = Checkpoint.model_validate({**event.data, "at": event.at, "by": by})
    if run.last is not None and made.number <= run.last.number:
        return {}
    return {
        "checkpoints": (*run.checkpoints, made),
        "head": made.sha,
        "candidate": {},
        "refused": (),
        "restore": {},
        "reason": run.candidate.get("reason", ""),
        "next_step": run.candidate.get("next_step", ""),
        "foreign": "" if made.kind == "human" else run.foreign,
        "pushers": () if made.kind == "human" else run.pushers,
        **(_answered(run, made) if made.kind == "agent" else {}),
    }


def _answered(run: Run, made: Checkpoint) -> dict[str, Any]:
    """What was asked is done with an agent's whole turn; a turn cut short leaves it open."""
    answers = tuple(
        each if each.sha else Answer(comment=each.comment, sha=made.sha) for each in run.answers
    )
    return {"instructions": (), "answers": answers}


def _checked(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    outcomes = tuple(Outcome.model_validate(each) for each in data["checks"])
    update: dict[str, Any] = {"outcomes": outcomes, "checked": data["sha"]}
    if data["green"]:
        task = run.next_task()
        return update | ({"plan": run.plan.finish(task.id)} if task else {})
    return update | _stop(event)


def _changes_asked(run: Run, event: Event) -> dict[str, Any]:
    return {
        "instructions": (*run.instructions, event.data["text"]),
        "answers": (
            *run.answers,
            *(Answer(comment=each) for each in event.data.get("threads", ())),
        ),
        "agent": event.data.get("agent") or run.agent,
        "turn_limit": run.turns + event.data["turns"],
        "plan": run.plan if run.next_task() else _one_more(run),
    }


def _one_more(run: Run) -> Plan:
    """What people ask of a finished plan is one more task of it."""
    number = str(len(run.plan.tasks) + 1)
    return Plan(tasks=(*run.plan.tasks, Task(id=number, title="Changes asked for")))


def _approved(run: Run, event: Event) -> dict[str, Any]:
    given = Approval(by=event.actor, at=event.at, **event.data)
    return {"approvals": (*run.approvals, given)}


def _rejected(run: Run, event: Event) -> dict[str, Any]:
    why = event.data.get("why", "")
    return {"instructions": (*run.instructions, why)} if why else {}


def _resumed(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    return {
        "agent": data.get("agent") or run.agent,
        "turn_limit": run.turns + data["turns"],
        "attempt": run.attempt + 1,
        "retry": "",
        "candidate": {},
        "outcomes": (),
        "checked": "",
    }


def _retried(run: Run, event: Event) -> dict[str, Any]:
    check = event.data.get("check", "")
    return {"attempt": run.attempt + 1, "retry": check, "outcomes": (), "checked": ""}


def _rollback_asked(run: Run, event: Event) -> dict[str, Any]:
    return {"restore": dict(event.data)}


def _human_pushed(run: Run, event: Event) -> dict[str, Any]:
    who, after = event.data["who"], event.data["after"]
    return {
        "foreign": after,
        "pushers": tuple(dict.fromkeys((*run.pushers, event.actor))),
        "reason": f"{who} pushed {after[:7]} to the branch.",
        "next_step": "`/resume` takes these commits in as a checkpoint and goes on from them.",
    }


def _pull_request_opened(run: Run, event: Event) -> dict[str, Any]:
    return {"pull_request": event.data["number"]}


def _merged(run: Run, event: Event) -> dict[str, Any]:
    return {"merge_sha": event.data.get("sha", "")}


def _stop(event: Event) -> dict[str, Any]:
    return {
        "reason": event.data.get("reason", ""),
        "next_step": event.data.get("next_step", ""),
    }


def _stopped(run: Run, event: Event) -> dict[str, Any]:
    return _stop(event)


_APPLY: dict[str, Callable[[Run, Event], dict[str, Any]]] = {
    Type.STARTED: _started,
    Type.PLANNED: _planned,
    Type.TURN_STARTED: _turn_started,
    Type.TURN_ENDED: _turn_ended,
    Type.CANDIDATE_REFUSED: _candidate_refused,
    Type.CHECKPOINTED: _checkpointed,
    Type.CHECKED: _checked,
    Type.CHANGES_ASKED: _changes_asked,
    Type.APPROVED: _approved,
    Type.REJECTED: _rejected,
    Type.PAUSED: _stopped,
    Type.RESUMED: _resumed,
    Type.RETRIED: _retried,
    Type.ROLLBACK_ASKED: _rollback_asked,
    Type.HUMAN_PUSHED: _human_pushed,
    Type.PULL_REQUEST_OPENED: _pull_request_opened,
    Type.MERGED: _merged,
    Type.BLOCKED: _stopped,
    Type.CANCELLED: _stopped,
    Type.FAILED: _stopped,
}


def _title(request: str) -> str:
    line = request.strip().splitlines()[0] if request.strip() else "Untitled"
    line = line[0].upper() + line[1:]
    return line if len(line) <= 72 else line[:71].rstrip() + "…"


def _cannot(run: Run, trigger: Trigger) -> str:
    name = run.state.value.replace("_", " ")
    if run.state in (State.DONE, State.CANCELLED):
        return f"Run `{run.id}` is {name}; `/orchestrate …` starts a new one."
    ways = {
        State.PAUSED: "`/resume` goes on, `/cancel` ends it",
        State.BLOCKED: "`/resume`, `/retry` or `/rollback` goes on, `/cancel` ends it",
        State.FAILED: "`/resume` tries again, `/cancel` ends it",
        State.AWAITING_REVIEW: "`/approve` merges it, `/rollback` and `/orchestrate …` change it",
        State.AWAITING_APPROVAL: "`/approve` starts the work, `/reject WHY` asks for another plan",
    }
    way = ways.get(run.state, "`/pause` stops it, `/cancel` ends it")
    return f"That is not possible while run `{run.id}` is {name}: {way}."
