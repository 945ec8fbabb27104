"""How an event changes a run.

A run is the fold of its events: `evolve(run, event)` is pure, so the same record gives the same
run on any server. The states themselves are decided in `transitions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from bot.errors import UserError
from bot.events import GHOST, Event, Type
from bot.runs.model import (
    Answer,
    Approval,
    Blocked,
    Checkpoint,
    Delegate,
    Doubt,
    Hold,
    Message,
    Onto,
    Outcome,
    Override,
    Plan,
    Repository,
    Run,
    Source,
    Task,
    run_id,
)
from bot.runs.transitions import UNPLANNED, State, Trigger, Work, transition
from bot.runs.triggers import trigger_of
from bot.usage import Usage

QUARANTINED = ("tree", "commit", "turn", "violations")
"""What is remembered of a refused candidate: enough to keep what passes of it."""

MESSAGES = 50
"""What people told the agent that is remembered: nobody says more in one run that still counts."""

DELEGATES = 20
"""People acting for others on one run that are remembered, the newest: enough to keep track of."""

OF_TRUSTED = frozenset(
    {
        *(Type.REQUESTED, Type.STARTED, Type.SETUP_STARTED, Type.SETUP_ENDED, Type.CHECKED),
        *(Type.PAUSED, Type.RESUMED, Type.RETRIED, Type.BLOCKED, Type.FAILED),
        *(Type.CANCELLED, Type.MERGED),
    }
)
"""What may happen to a run that checks a stranger's commit: no turn, no push, no decision."""

GOES_ON = frozenset(
    {
        *(Type.RESUMED, Type.CHANGES_ASKED, Type.RETRIED, Type.ROLLBACK_ASKED, Type.UPDATE_ASKED),
        *(Type.APPROVED, Type.OVERRIDDEN, Type.TAKEN),
    }
)
"""What people may not ask of a run whose stranger's commit is trusted no more."""

BLOCKED_HOSTS = 20
"""Hosts that are remembered of what was not let reach: enough to see what the agent wanted."""

MEASURED = frozenset({"usage", "session", "blocked", "lost"})
"""What the record says of a turn that says nothing about the tree it left."""

SETUP_OVER = frozenset({Type.SETUP_ENDED, Type.TURN_STARTED, Type.CHECKED, Type.BLOCKED})
"""Events after which no environment is being set up; the last ones where the first was lost."""

STOPPED = frozenset({State.BLOCKED, State.PAUSED, State.FAILED, State.CANCELLED})
"""States that say why the run stands still, as far as there is something to say."""

_UNCHECKED: Mapping[str, Any] = MappingProxyType({"outcomes": (), "checked": "", "outside": ()})

TOLD_WHEN_STOPPED = frozenset({Trigger.HUMAN_PUSHED, Trigger.TAKEN})
"""What gives a stopped run another reason to stand still."""


def new_run(event: Event, repository: Repository) -> Run:
    """Make the run that a `requested` event begins."""
    data = event.data
    source = Source.model_validate(data["source"])
    # Where the run began; a local repository may have moved since, which gives it another number.
    begun = data.get("repository", {}).get("id", repository.id)
    return Run(
        id=run_id(begun, source),
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
        budget=data.get("budget"),
        label=data.get("label") or "",
        own_agent=data.get("agent_command") or "",
        own_checks=tuple(data.get("checks") or ()),
        head=data.get("trusted") or (data.get("onto") or {}).get("sha", ""),
        onto=Onto.model_validate(data["onto"]) if data.get("onto") else None,
        trusted=data.get("trusted") or "",
        pull_request=data.get("pull"),
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
    if run.trusted and event.type in set(Type) - OF_TRUSTED:
        raise UserError(
            f"Run `{run.id}` only checks a pull request that no run made; nothing else is done"
            " there. Give the request on an issue."
        )
    if run.onto:
        _still_trusted(run, run.onto, event)
    update: dict[str, Any] = {"seq": event.seq or run.seq + 1, "updated_at": event.at}
    if run.onto and event.data.get("moved"):
        update["onto"] = run.onto.model_copy(update={"moved": event.data["moved"]})
    if event.type in SETUP_OVER:
        update["setting_up"] = False
    apply = _APPLY.get(event.type)
    if apply is not None:
        update |= apply(run, event)
    trigger = trigger_of(run, event)
    if trigger is not None:
        unplanned = run.unplanned or run.state in UNPLANNED
        follows = transition(run.state, trigger, run.resume_to, unplanned=unplanned)
        if follows is None:
            raise UserError(cannot(run))
        update |= {
            "unplanned": unplanned and follows.state is not State.RUNNING,
            "state": follows.state,
            "work": follows.work,
            "resume_to": follows.resume_to,
        }
        if follows.state not in STOPPED:
            update |= {"reason": "", "next_step": ""}
        elif follows.state is run.state and trigger not in TOLD_WHEN_STOPPED and not _hands(run):
            # Work in flight ended after the run was stopped: what stopped it is still why.
            update |= {"reason": run.reason, "next_step": run.next_step}
    changed = run.model_copy(update=update)
    return _wake(_handing(changed))


def _still_trusted(run: Run, onto: Onto, event: Event) -> None:
    """Raise `UserError` for what may not be done with a stranger's commit as things are."""
    if onto.moved and event.type in GOES_ON:
        raise UserError(
            f"Run `{run.id}` goes on from `{onto.sha[:7]}`, and #{onto.pull} has moved to"
            f" `{onto.moved[:7]}` since, which nobody trusted for it: `/cancel` ends it;"
            " `/orchestrate trust SHA` and `/orchestrate REQUEST` there begin on the new head."
        )
    if event.type == Type.TAKEN and not run.checkpoints:
        # To hand it over it would be pushed, as it is, to where workflows have secrets.
        raise UserError(
            f"Run `{run.id}` has nothing of its own yet to take; #{onto.pull} has the rest."
        )


def _hands(run: Run) -> bool:
    return run.work is Work.HAND


def _handing(run: Run) -> Run:
    """A person who took the branch is to find all of the agent's work on it, as soon as it rests.

    What a stopped turn left is judged and committed first, and commits of people stay on top.
    """
    due = run.taken and run.branch and run.state is State.PAUSED and run.handed != run.head
    due = due and not run.turn_open and not run.foreign
    if due and run.work is None:
        return run.model_copy(update={"work": Work.HAND})
    return run.model_copy(update={"work": None}) if _hands(run) and not due else run


def _wake(run: Run) -> Run:
    """Begin a segment where there is work and none is under way."""
    if run.work is None or run.active:
        return run
    return run.model_copy(update={"segment": run.segment + 1, "active": True})


def rest(run: Run) -> Run | None:
    """Return the run with its segment closed, or None when there is work for it after all."""
    return run.model_copy(update={"active": False}) if run.work is None else None


def _started(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    return {
        "base": data["base"],
        "base_sha": data["base_sha"],
        "base_tree": data["base_tree"],
        "head": run.head or data["base_sha"],
        "branch": data["branch"],
        "config": data.get("config", ""),
        "organisation": data.get("organisation", ""),
        "config_wrong": data.get("config_wrong", ""),
        "config_of": data.get("config_of", ""),
        "forecast": data.get("forecast") or {},
        "agent": data["agent"],
        "minutes": data["minutes"],
        "turn_limit": run.turns + data["turns"],
        "usd_limit": data.get("usd"),
        "token_limit": data.get("tokens"),
        "onto": run.onto and run.onto.model_copy(update={"tree": data.get("onto_tree", "")}),
        "plan": Plan(tasks=(Task(id="1", title=run.title, agent=data["agent"]),)),
    }


def _planned(run: Run, event: Event) -> dict[str, Any]:
    return {"plan": Plan.model_validate(event.data["plan"])}


def _foreseen(run: Run, event: Event) -> dict[str, Any]:
    notes = dict.fromkeys((*run.notes, *event.data.get("notes", ())))
    return {"foreseen": True, "notes": tuple(notes)}


def _signatures_demanded(run: Run, event: Event) -> dict[str, Any]:
    return {"signs": True, "notes": (*run.notes, event.data["note"])}


def _setup_started(run: Run, event: Event) -> dict[str, Any]:
    return {"setting_up": True}


def _turn_started(run: Run, event: Event) -> dict[str, Any]:
    turn = event.data["turn"]
    return {
        "turns": turn,
        "turn_open": True,
        "agent": event.data["agent"],
        "day": event.data.get("day", ""),
        "messages": _told(run, event.data.get("told", ()), turn),
    }


def _turn_ended(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    candidate = {key: value for key, value in data.items() if key not in MEASURED}
    session = data.get("session")
    return {
        "turn_open": False,
        "given": False,
        "candidate": candidate,
        "quarantine": {},
        "usage": run.usage + Usage.model_validate(data.get("usage") or {}),
        "seconds": round(run.seconds + (data.get("seconds") or 0.0), 3),
        "sessions": {**run.sessions, run.agent: session} if session else run.sessions,
        "blocked_hosts": _blocked_hosts(run, data.get("blocked") or ()),
        "lost_turns": (*run.lost_turns, data["turn"]) if data.get("lost") else run.lost_turns,
        "messages": run.messages if data["outcome"] == "ended" else _tell_again(run),
        **_stop(event),
    }


def _blocked_hosts(run: Run, found: Iterable[dict[str, Any]]) -> tuple[Blocked, ...]:
    new = [Blocked.model_validate(each) for each in found]
    return tuple(dict.fromkeys((*run.blocked_hosts, *new)))[-BLOCKED_HOSTS:]


def _told(run: Run, ids: Iterable[str], turn: int) -> tuple[Message, ...]:
    """Mark messages as told to a turn."""
    now = frozenset(ids)
    return tuple(
        each.model_copy(update={"turn": turn}) if each.turn is None and each.id in now else each
        for each in run.messages
    )


def _tell_again(run: Run) -> tuple[Message, ...]:
    """Take back what a turn was told that did not end by itself."""
    return tuple(
        each.model_copy(update={"turn": None}) if each.turn == run.turns else each
        for each in run.messages
    )


def _told_more(run: Run, event: Event) -> dict[str, Any]:
    said = Message(id=event.id, by=event.actor, text=event.data["text"])
    return {"messages": (*run.messages, said)[-MESSAGES:]}


def _heard(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    # Noted late, after its turn was taken for dead: then the next one is told.
    if not run.turn_open or data["turn"] != run.turns:
        return {}
    return {"messages": _told(run, data["messages"], data["turn"])}


def _budget_low(run: Run, event: Event) -> dict[str, Any]:
    return {"budget_low": True}


def _limits(run: Run, event: Event) -> dict[str, Any]:
    """What a person gave the run with a command: more money, more tokens, longer turns."""
    data = event.data
    raised = data.get("usd") is not None or data.get("tokens") is not None
    return {
        "minutes": data.get("minutes") or run.minutes,
        "usd_limit": run.usd_limit if data.get("usd") is None else data["usd"],
        "token_limit": run.token_limit if data.get("tokens") is None else data["tokens"],
        "budget_low": run.budget_low and not raised,
    }


def _candidate_refused(run: Run, event: Event) -> dict[str, Any]:
    kept = {key: run.candidate[key] for key in QUARANTINED if key in run.candidate}
    refused = tuple(event.data["violations"])
    return {"candidate": {}, "quarantine": kept, "refused": refused, **_stop(event)}


def _checkpointed(run: Run, event: Event) -> dict[str, Any]:
    by = _wrote(run, event) if event.data["kind"] == "human" else ()
    made = Checkpoint.model_validate({**event.data, "at": event.at, "by": by})
    if run.last is not None and made.number <= run.last.number:
        return {}
    return {
        "checkpoints": (*run.checkpoints, made),
        "head": made.sha,
        "candidate": {},
        "refused": (),
        "quarantine": {},
        "restore": {},
        "reason": run.candidate.get("reason", ""),
        "next_step": run.candidate.get("next_step", ""),
        "outside": (),
        # Of an earlier head nothing counts any more, confirmed or not.
        "unconfirmed": _but(run, lambda each: each.of in ("", "head", "override")),
        "foreign": "" if made.kind == "human" else run.foreign,
        "pushers": () if made.kind == "human" else run.pushers,
        **(_answered(run, made) if made.kind in ("agent", "kept") else {}),
        **_new_base(event),
    }


def _wrote(run: Run, event: Event) -> tuple[str, ...]:
    """Name who pushed what became a checkpoint; `GHOST` among them for whom nobody knows.

    The checkpoint says what GitHub knew of it, and deliveries may have told of more.
    """
    told = event.data.get("by")
    if told is None:
        return run.pushers
    return tuple(dict.fromkeys((*told, *(each for each in run.pushers if each != GHOST))))


def _new_base(event: Event) -> dict[str, Any]:
    """From where the base was brought in, the run's own work is what differs from that."""
    data = event.data
    if data["kind"] != "update":
        return {}
    return {"base_sha": data["base_sha"], "base_tree": data["base_tree"]}


def _answered(run: Run, made: Checkpoint) -> dict[str, Any]:
    """What was asked is done with an agent's whole turn, or what a person kept of it.

    A turn cut short leaves it open.
    """
    answers = tuple(
        each if each.sha else Answer(comment=each.comment, sha=made.sha) for each in run.answers
    )
    return {"instructions": (), "answers": answers}


def _checked(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    outcomes = tuple(Outcome.model_validate(each) for each in data["checks"])
    update: dict[str, Any] = {"outcomes": outcomes, "checked": data["sha"]}
    passed = {each.name for each in outcomes if each.conclusion == "success"}
    if data["sha"] == run.head:
        update["unconfirmed"] = _but(
            run, lambda each: each.of == "override" and each.what in passed
        )
    if data["green"]:
        # A person's commits in the middle of a task, or before it, do not say that it is finished.
        task = None if run.given or run.unplanned else run.next_task()
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
        "review": event.data.get("context") or "",
        "given": False,
        "turn_limit": run.turns + event.data["turns"],
        **_limits(run, event),
        "plan": run.plan if run.next_task() else _one_more(run),
    }


def _one_more(run: Run) -> Plan:
    """What people ask of a finished plan is one more task of it."""
    number = str(len(run.plan.tasks) + 1)
    return Plan(tasks=(*run.plan.tasks, Task(id=number, title="Changes asked for")))


def _approved(run: Run, event: Event) -> dict[str, Any]:
    given = Approval(by=event.actor, at=event.at, **event.data)

    def replaced(each: Doubt) -> bool:
        # A plan takes one approval, whoever gives it; of a head each counts for who gave it.
        same = each.of == given.of and (given.of == "plan" or _is_same(each.by, given.by))
        return same or each.of == ""

    return {
        "approvals": (*run.approvals, given),
        "outside": (),
        "awaits": "",
        "unconfirmed": _but(run, replaced),
    }


def _but(run: Run, replaced: Callable[[Doubt], bool]) -> tuple[Doubt, ...]:
    """Leave out of what is told as unconfirmed what something else has taken the place of."""
    return tuple(each for each in run.unconfirmed if not replaced(each))


def _is_same(one: str, other: str) -> bool:
    """Whether two logins are of the same person."""
    return one.casefold() == other.casefold()


def _rejected(run: Run, event: Event) -> dict[str, Any]:
    why = event.data.get("why", "")
    return {"instructions": (*run.instructions, why)} if why else {}


def _resumed(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    return {
        "agent": data.get("agent") or run.agent,
        "turn_limit": run.turns + data["turns"],
        **_limits(run, event),
        "attempt": run.attempt + 1,
        "retry": "",
        "candidate": {},
        **_UNCHECKED,
    }


def _retried(run: Run, event: Event) -> dict[str, Any]:
    check = event.data.get("check", "")
    return {"attempt": run.attempt + 1, "retry": check, **_UNCHECKED}


def _rollback_asked(run: Run, event: Event) -> dict[str, Any]:
    return {"restore": dict(event.data)}


def _update_asked(run: Run, event: Event) -> dict[str, Any]:
    return {"restore": {"kind": "update", **event.data}}


def _taken(run: Run, event: Event) -> dict[str, Any]:
    return {"taken": event.actor, "handed": "", **_stop(event)}


def _handed_over(run: Run, event: Event) -> dict[str, Any]:
    return {"handed": event.data["sha"]}


def _given(run: Run, event: Event) -> dict[str, Any]:
    update = {**_resumed(run, event), "taken": "", "handed": ""}
    if after := event.data["after"]:
        # Who took the branch took it to write on it, also where GitHub did not tell of the push.
        wrote = (*run.pushers, *((run.taken,) if run.taken else ()))
        update |= {"foreign": after, "given": True, "pushers": tuple(dict.fromkeys(wrote))}
    return update


def _overridden(run: Run, event: Event) -> dict[str, Any]:
    data = event.data
    made = Override(
        check=data["check"], sha=data["sha"], by=event.actor, why=data["why"], at=event.at
    )
    update: dict[str, Any] = {
        "overrides": (*run.overrides, made),
        "unconfirmed": _but(run, lambda each: each.of == "override" and each.what == made.check),
    }
    task = run.next_task()
    if task and not run.unplanned and not run.still_red(besides=made.check):
        update["plan"] = run.plan.finish(task.id)
    return update


def _delegated(run: Run, event: Event) -> dict[str, Any]:
    made = Delegate(to=event.data["to"], by=event.actor, at=event.at)
    others = [each for each in run.delegates if (each.to, each.by) != (made.to, made.by)]

    def replaced(each: Doubt) -> bool:
        return each.of == "delegate" and each.what == made.to and _is_same(each.by, made.by)

    return {
        "delegates": (*others, made)[-DELEGATES:],
        "unconfirmed": _but(run, replaced),
    }


def _undelegated(run: Run, event: Event) -> dict[str, Any]:
    name = event.data["to"]
    return {
        "delegates": tuple(each for each in run.delegates if each.to != name),
        "unconfirmed": _but(run, lambda each: each.of == "delegate" and each.what == name),
    }


def _held(run: Run, event: Event) -> dict[str, Any]:
    made = Hold(by=event.actor, why=event.data.get("why", ""), at=event.at)
    others = [each for each in run.holds if each.by != made.by]
    return {"holds": (*others, made)}


def _released(run: Run, event: Event) -> dict[str, Any]:
    # What kept an approved head is told as long as it does.
    told = tuple(each.model_copy(update={"kept": ""}) for each in run.approvals)
    return {"holds": (), "approvals": told}


def _unconfirmed(run: Run, event: Event) -> dict[str, Any]:
    """Take back what the record says was decided, and GitHub does not.

    Where that is the plan, it is to be approved again before anything goes on from it; who has the
    branch, or pushed to it, is found out anew.
    """
    data = event.data
    named = {(str(each["by"]), str(each["at"])) for each in data["decisions"]}

    def stays(each: Approval | Override | Delegate) -> bool:
        return (each.by, each.at.isoformat()) not in named

    about = data.get("about") or [{} for _ in data["said"]]
    told = [{**each, "said": said} for each, said in zip(about, data["said"], strict=True)]
    update: dict[str, Any] = {
        "approvals": tuple(filter(stays, run.approvals)),
        "overrides": tuple(filter(stays, run.overrides)),
        "delegates": tuple(filter(stays, run.delegates)),
        "unconfirmed": tuple(map(Doubt.model_validate, told)),
        "doubted": run.doubted or bool(data.get("requester")),
    }
    if data.get("plan"):
        update |= {"state": State.AWAITING_APPROVAL, "work": None, "resume_to": None}
        update |= {"reason": "", "next_step": "", "taken": "", "handed": "", "foreign": ""}
    return update


def _blocked(run: Run, event: Event) -> dict[str, Any]:
    # What cannot be handed over is not tried for ever: the sentence says what to do.
    update: dict[str, Any] = {**_stop(event), "outside": _outside(event)}
    return update | ({"handed": run.head} if _hands(run) else {})


def _human_pushed(run: Run, event: Event) -> dict[str, Any]:
    who, after = event.data["who"], event.data["after"]
    goes_on = "`/give` takes" if run.taken else "`/resume` takes"
    return {
        "foreign": after,
        "pushers": tuple(dict.fromkeys((*run.pushers, event.actor))),
        "reason": f"{who} pushed {after[:7]} to the branch.",
        "next_step": f"{goes_on} these commits in as a checkpoint and goes on from them.",
    }


def _pull_request_opened(run: Run, event: Event) -> dict[str, Any]:
    return {"pull_request": event.data["number"]}


def _merged(run: Run, event: Event) -> dict[str, Any]:
    return {"merge_sha": event.data.get("sha", "")}


def _merge_awaited(run: Run, event: Event) -> dict[str, Any]:
    return {"awaits": event.data["reason"], "outside": _outside(event)}


def _outside(event: Event) -> tuple[Outcome, ...]:
    return tuple(Outcome.model_validate(each) for each in event.data.get("outside", ()))


def _reported(run: Run, event: Event) -> dict[str, Any]:
    return {"news": run.news + 1}


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
    Type.FORESEEN: _foreseen,
    Type.SIGNATURES_DEMANDED: _signatures_demanded,
    Type.SETUP_STARTED: _setup_started,
    Type.TURN_STARTED: _turn_started,
    Type.TURN_ENDED: _turn_ended,
    Type.CANDIDATE_REFUSED: _candidate_refused,
    Type.CHECKPOINTED: _checkpointed,
    Type.CHECKED: _checked,
    Type.CHANGES_ASKED: _changes_asked,
    Type.APPROVED: _approved,
    Type.REJECTED: _rejected,
    Type.TOLD: _told_more,
    Type.HEARD: _heard,
    Type.BUDGET_LOW: _budget_low,
    Type.LIMITS_GIVEN: _limits,
    Type.PAUSED: _stopped,
    Type.RESUMED: _resumed,
    Type.RETRIED: _retried,
    Type.ROLLBACK_ASKED: _rollback_asked,
    Type.UPDATE_ASKED: _update_asked,
    Type.HUMAN_PUSHED: _human_pushed,
    Type.PULL_REQUEST_OPENED: _pull_request_opened,
    Type.MERGE_AWAITED: _merge_awaited,
    Type.REPORTED: _reported,
    Type.MERGED: _merged,
    Type.TAKEN: _taken,
    Type.HANDED_OVER: _handed_over,
    Type.GIVEN: _given,
    Type.OVERRIDDEN: _overridden,
    Type.DELEGATED: _delegated,
    Type.UNDELEGATED: _undelegated,
    Type.HELD: _held,
    Type.RELEASED: _released,
    Type.UNCONFIRMED: _unconfirmed,
    Type.BLOCKED: _blocked,
    Type.CANCELLED: _stopped,
    Type.FAILED: _stopped,
}


def _title(request: str) -> str:
    line = request.strip().splitlines()[0] if request.strip() else "Untitled"
    line = line[0].upper() + line[1:]
    return line if len(line) <= 72 else line[:71].rstrip() + "…"


def cannot(run: Run) -> str:
    """Say what a run in this state takes, in place of what was asked of it."""
    name = run.state.value.replace("_", " ")
    if run.state in (State.DONE, State.CANCELLED):
        return f"Run `{run.id}` is {name}; `/orchestrate …` starts a new one."
    ways = {
        State.PAUSED: "`/resume` goes on, `/cancel` ends it",
        State.BLOCKED: "`/resume`, `/retry` or `/rollback` goes on, `/cancel` ends it",
        State.FAILED: "`/resume` tries again, `/cancel` ends it",
        State.AWAITING_REVIEW: "`/approve` merges it, `/rollback` and `/reject WHY` change it",
        State.AWAITING_APPROVAL: "`/approve` starts the work, `/reject WHY` asks for another plan",
    }
    way = ways.get(run.state, "`/pause` stops it, `/cancel` ends it")
    return f"That is not possible while run `{run.id}` is {name}: {way}."
