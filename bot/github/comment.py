"""The status comment: what a run is now, and what to do next.

The first line is what people read; nothing in it changes unless the run does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from bot.github.checks import REFUSED, check_name, first_line, is_pending
from bot.github.markup import cut_body, cut_line, prose
from bot.runs import budget
from bot.runs.model import Blocked, Checkpoint, Message, Run, Standing
from bot.runs.transitions import ACTIVE, TERMINAL, State
from bot.usage import Usage
from policies.hold import holders
from policies.verdict import code, counted

CHECKPOINTS = 20
"""Checkpoints listed; the branch has them all."""

_PLACES = ("First", "Second", "Third", "Fourth", "Fifth")
"""The places in the queue that are told; each that changes is an edit."""

TASKS = 50
"""Tasks listed; a plan of more is read in the record."""

BLOCKED = 10
"""Hosts listed that the agent was not let reach."""

MESSAGES = 5
"""Messages to the agent listed, the newest: the conversation has them all."""

LOST = 10
"""Lost turns listed: of more there is something wrong with the machines."""

VIOLATIONS = 10
"""Refusals listed: enough to see what kind they are."""

RED = 5
"""Red checks named in a sentence; below it they are all listed."""

_ORCHESTRATE = ("/orchestrate REQUEST", "asks for changes: the agent's next turn")
_RESUME = ("/resume [--agent NAME] [--budget +N]", "goes on")
_CANCEL = ("/cancel", "ends the run; the branch stays")
_ROLLBACK = ("/rollback N", "restores checkpoint N, as a new commit; `base` is the beginning")
_UNDO = ("/undo", "takes the last step back")
_UPDATE = ("/update", "brings the base in")
_DIFF = ("/diff", "shows what changed")
_RETRY = ("/retry [CHECK]", "runs the checks again")
_PAUSE = ("/pause", "stops it, and keeps what is done")
_TAKE = ("/take", "hands the branch over to you, and pauses the agent")
_GIVE = ("/give", "gives the branch back: your commits become a checkpoint")
_OVERRIDE = ("/override CHECK WHY", "sets a red check aside, on the record")
_UNHOLD = "it is merged only after `/unhold`."
_TELL = ("/tell MESSAGE", "says something to the agent at work")
_LATER = (_ROLLBACK, _UNDO, _UPDATE, _DIFF, _RETRY, _OVERRIDE)  # They need a checkpoint.

_COMMANDS: Mapping[State, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        State.QUEUED: (_CANCEL,),
        State.PLANNING: (_PAUSE, _CANCEL),
        State.AWAITING_APPROVAL: (
            ("/approve", "starts the work"),
            ("/reject WHY", "asks for another plan"),
            _CANCEL,
        ),
        State.RUNNING: (_TELL, _PAUSE, _TAKE, _CANCEL),
        State.VALIDATING: (_PAUSE, _CANCEL),
        State.AWAITING_REVIEW: (
            ("/approve", "merges exactly the commit shown"),
            _ORCHESTRATE,
            _ROLLBACK,
            _UNDO,
            _UPDATE,
            _DIFF,
            _RETRY,
            _TAKE,
            _CANCEL,
        ),
        State.MERGING: (_OVERRIDE, _PAUSE, _CANCEL),
        State.PAUSED: (_RESUME, _CANCEL),
        State.BLOCKED: (
            *(_RESUME, _ORCHESTRATE, _RETRY, _OVERRIDE, _ROLLBACK, _UNDO, _UPDATE, _TAKE),
            _CANCEL,
        ),
        State.FAILED: (_RESUME, _CANCEL),
    }
)


def marker(run: Run) -> str:
    """Give the marker by which the status comment and the pull request are found again."""
    return f"<!-- orchestrate:run:{run.id} -->"


def status_comment(run: Run, results: Sequence[Mapping[str, Any]], links: Mapping[str, str]) -> str:
    """Write the comment; `links` has the addresses of check runs by their names."""
    parts = [
        f"{marker(run)}\n{headline(run)}",
        _plan(run),
        _configuration(run),
        _notes(run),
        _unconfirmed(run),
        _moved(run),
        _refused(run, links),
        checkpoint_list(run),
        _lost(run),
        _checks(run, results, links),
        _messages(run),
        blocked_hosts(run),
        spending(run),
        _origin(run),
        _commands(run),
    ]
    return cut_body("\n\n".join(part for part in parts if part) + "\n", rest=rest_of(run))


def headline(run: Run) -> str:
    """Say in plain words where the run stands and what to do next."""
    if run.standing and run.state not in TERMINAL:
        return _held_up(run, run.standing)
    head, pull = code(run.head[:7]), pull_name(run)
    match run.state:
        case State.QUEUED:
            return "**Queued:** it begins as soon as there is room."
        case State.PLANNING:
            return "**Planning:** the plan is being written."
        case State.AWAITING_APPROVAL:
            return (
                "**The plan waits for approval:** `/approve` starts the work, "
                "`/reject WHY` asks for another plan."
            )
        case State.RUNNING if run.setting_up:
            return f"**Setting up the environment** for {_turn(run)}."
        case State.VALIDATING if run.setting_up:
            return f"**Setting up the environment** to check {_checkpoint_name(run)}."
        case State.RUNNING:
            return f"**Working:** {_turn(run)}."
        case State.VALIDATING:
            return f"**Checking** {_checkpoint_name(run)}."
        case State.AWAITING_REVIEW:
            return f"**Ready for review{pull}.** `/approve` merges exactly {head}.{_so_far(run)}"
        case State.MERGING if run.awaits and run.work is None:
            return f"**Waiting to merge{pull}.** {prose(run.awaits, 1_000)}"
        case State.MERGING:
            return f"**Merging** {head} into {code(run.base)}{_approved(run)}."
        case State.DONE if run.trusted:
            return f"**Checked** {head}, as {code(run.requester)} trusts it. Nothing was changed."
        case State.DONE:
            return f"**Done{pull}:** {_end(run)}."
        case State.CANCELLED:
            return f"**Cancelled.** {_why(run, 'What was done stays on its branch.')}"
        case State.PAUSED:
            return f"**Paused.** {_why(run, '`/resume` goes on, `/cancel` ends it.')}"
        case State.BLOCKED:
            return f"**Blocked.** {_why(run, '`/resume` gives the agent another turn.')}"
        case State.FAILED:
            return f"**Failed, by our fault.** {_why(run, '`/resume` tries again.')}"


def _held_up(run: Run, standing: Standing) -> str:
    """Say why a run does not work though it could; nobody has to do anything about it."""
    state = run.state.value.replace("_", " ")
    match standing.kind:
        case "queued":
            before = standing.place <= len(_PLACES)
            place = _PLACES[standing.place - 1] if before else "Further back"
            more = "" if before else f", with more than {len(_PLACES)} before it"
            return f"**{place} in the queue{more}:** it begins as soon as there is room."
        case "outside":
            return (
                f"**Waiting for what is out of reach** since {_time(standing.since)} ({state}). "
                f"{prose(standing.reason, 500)} It is tried again by itself, until "
                f"{_time(standing.until)} at the most."
            )
        case "stopped":
            return (
                f"**Stopped by the operator of this server** since {_time(standing.since)} "
                f"({state}). {prose(standing.reason, 500)} Nothing is lost: it goes on by itself "
                "once the operator lets it."
            )


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "a while ago"


def checkpoint_list(run: Run) -> str:
    """List the checkpoints, the newest last, each with what it did."""
    shown = run.checkpoints[-CHECKPOINTS:]
    lines = [_checkpoint(run, each) for each in shown]
    left = len(run.checkpoints) - len(shown)
    if left:
        earlier, there = counted(left, "earlier checkpoint"), rest_of(run)
        lines.insert(0, f"{f'[{earlier}]({there})' if there else earlier}, then:\n")
    return "\n".join(lines)


def _lost(run: Run) -> str:
    """Say which turns were lost; empty where none was."""
    turns = [str(number) for number in run.lost_turns[-LOST:]]
    if not turns:
        return ""
    if (before := len(run.lost_turns) - len(turns)) > 0:
        turns.append(f"and {before} before")
    names = f"Turn {turns[0]} was" if len(turns) == 1 else f"Turns {', '.join(turns)} were"
    return (
        f"{names} lost with the machine at work, and what the agent had changed since the last "
        "checkpoint. No turn is given twice: the next one went on from there."
    )


def spending(run: Run) -> str:
    """Say what the run has used, and that it comes to the end of its budget; empty for nothing."""
    used = budget.spent(run)
    low = run.budget_low or budget.is_low(run, Usage())
    if used or low:
        used = f"Used so far: {used or 'what the turn under way takes'}."
    if low and run.state in ACTIVE:
        used = f"**Most of the budget is used.** {used} At its end the run stops, and asks."
    parts = [used, budget.unpriced(run)]
    if run.state in ACTIVE:
        parts += [prose(run.day, 500), budget.forecast(run)]
    return " ".join(part for part in parts if part)


def blocked_hosts(run: Run) -> str:
    """List what the agent wanted to reach and was not let; empty where that is nothing."""
    if not run.blocked_hosts:
        return ""
    lines = [_blocked_host(each) for each in run.blocked_hosts[:BLOCKED]]
    rest = more(run, len(run.blocked_hosts) - len(lines))
    return "\n".join(["The agent was not let reach:", *lines, *rest])


def _blocked_host(blocked: Blocked) -> str:
    by = f", wanted by {code(cut_line(blocked.program, 100))}" if blocked.program else ""
    return f"- {code(f'{blocked.host}:{blocked.port}')}{by}"


def more(run: Run, left: int, there: str = "") -> list[str]:
    """Give the line that ends a list of which `left` are not shown; none where that is nothing.

    `there` is an address at which all are; without one it is the server that tells them.
    """
    if left <= 0:
        return []
    where = f"[here]({there})" if there else f"on the server {code(f'orchestrate show {run.id}')}"
    return [f"- and {left} more: {where} {'are all' if there else 'names all'}"]


def pull_name(run: Run) -> str:
    """Name the pull request in passing: `: #3`, or nothing before there is one."""
    return f": #{run.pull_request}" if run.pull_request else ""


def page(run: Run) -> str:
    """Return the address of the repository's page; empty when it is not known."""
    return run.repository.page


def rest_of(run: Run) -> str:
    """Return the address of what a text about a run may have to leave out: all its commits."""
    there = page(run) and run.branch and run.checkpoints
    return f"{page(run)}/commits/{quote(run.branch)}" if there else ""


def commit(run: Run, sha: str) -> str:
    """Show a commit, with a link where there is an address."""
    short = code(sha[:7])
    return f"[{short}]({page(run)}/commit/{sha})" if page(run) and sha.isalnum() else short


def mark(conclusion: str | None) -> str:
    """Return the sign for a conclusion."""
    signs = {None: "○", "success": "✓", "neutral": "–", "skipped": "–", "cancelled": "–"}
    return signs.get(conclusion, "✗")


def _why(run: Run, otherwise: str) -> str:
    parts = [prose(run.reason, 1_000), prose(run.next_step, 500)]
    return " ".join(part for part in parts if part) or otherwise


def _moved(run: Run) -> str:
    """Say what was pushed to the stranger's pull request that the run goes on from."""
    if run.onto is None or not run.onto.moved:
        return ""
    trusted, now = code(run.onto.sha[:7]), code(run.onto.moved[:7])
    seen = f"[what changed since]({page(run)}/compare/{run.onto.sha}...{run.onto.moved})"
    return f"#{run.onto.pull} was trusted at {trusted} and is at {now} now: see {seen}."


def _turn(run: Run) -> str:
    number = run.turns if run.turn_open or not run.turns else run.turns + 1
    red = [code(each.name) for each in run.outcomes if each.conclusion != "success"]
    if len(red) > RED:
        red = [*red[:RED], f"{len(red) - RED} more"]
    on = f" on what {', '.join(red)} found" if red and run.checked == run.head else ""
    return (
        f"turn {max(number, 1)} of at most {max(run.turn_limit, number)}, by {code(run.agent)}{on}"
    )


def _checkpoint_name(run: Run) -> str:
    if run.last is None or run.head != run.last.sha:
        return commit(run, run.head)
    return f"checkpoint {run.last.number} ({commit(run, run.head)})"


def _so_far(run: Run) -> str:
    """Say who has approved the head, or what changed since somebody approved another one."""
    if given := run.approved():
        last, names = given[-1], ", ".join(code(each.by) for each in given)
        told = f" {prose(last.lacks, 1_000)}" if last.lacks else ""
        told += f" It was not merged then: {prose(last.kept, 1_000)}" if last.kept else ""
        return f" Approved so far by {names}.{told}"
    if run.holds:
        return f" {held(run)}"
    if (old := run.voided()) is None or old.sha == run.head:
        return ""
    seen = f"[what changed since]({page(run)}/compare/{old.sha}...{run.head})"
    approved = f"{code(old.by)} approved {code(old.sha[:7])}"
    return f" {approved}, which does not count for another commit: see {seen}."


def held(run: Run) -> str:
    """Say who keeps the run from being merged, why, and how that ends; empty where nobody does."""
    if not run.holds:
        return ""
    return f"Held by {holders((each.by, each.why) for each in run.holds)}: {_UNHOLD}"


def _approved(run: Run) -> str:
    approval = run.approved_head()
    return f", approved by {code(approval.by)}" if approval else ""


def _end(run: Run) -> str:
    if not run.checkpoints:
        return "there was nothing to change"
    landed = f" as {commit(run, run.merge_sha)}" if run.merge_sha else ""
    return f"merged into {code(run.base)}{landed}{_approved(run)}"


def _plan(run: Run) -> str:
    """Show the plan while it waits for approval; afterwards the pull request has it."""
    if run.state is not State.AWAITING_APPROVAL:
        return ""
    tasks = [
        f"{number}. {prose(task.title, 300)}, by {code(task.agent or run.agent)}"
        for number, task in enumerate(run.plan.tasks[:TASKS], 1)
    ]
    asked = [f"- {prose(each, 300)}" for each in run.instructions]
    heard = ["", "With what was asked since:", "", *asked] if asked else []
    rest = more(run, len(run.plan.tasks) - TASKS)
    return "\n".join(["The plan:", "", *tasks, *rest, *heard])


def _configuration(run: Run) -> str:
    """Say that the newest configuration is wrong and another one in force; empty where not."""
    if not run.config_wrong or run.state in TERMINAL:
        return ""
    held = f", as of {commit(run, run.config_of)}" if run.config_of else ""
    return (
        f"**The configuration is wrong:** {prose(run.config_wrong, 500)} This run keeps to the "
        f"last good one{held}."
    )


def _notes(run: Run) -> str:
    """Say what the base's rules on GitHub ask, while it still matters."""
    if not run.notes or run.state in TERMINAL:
        return ""
    return "**Before it is merged:** " + " ".join(prose(each, 500) for each in run.notes)


def _unconfirmed(run: Run) -> str:
    """Say which decisions of the record do not count, until somebody decides again."""
    if not run.unconfirmed or run.state in TERMINAL:
        return ""
    told = " ".join(prose(each.said, 500) for each in run.unconfirmed)
    return f"**Restored from its record:** {told}"


def _refused(run: Run, links: Mapping[str, str]) -> str:
    if not run.refused:
        return ""
    shown = [f"- {code(line.strip())}" for line in run.refused[:VIOLATIONS]]
    rest = more(run, len(run.refused) - len(shown), links.get(check_name(REFUSED), ""))
    return "\n".join(
        ["The rules refused what the turn left, so it was not committed:", *shown, *rest]
    )


def _checkpoint(run: Run, made: Checkpoint) -> str:
    size = f"{counted(made.files, 'file')}, +{made.added} −{made.deleted}"
    by = f", by {code(made.author)}" if made.kind == "human" and made.author else ""
    turn = f", turn {made.turn}" if made.turn else ""
    return f"{made.number}. {commit(run, made.sha)} {prose(made.title, 100)} ({size}{by}{turn})"


def _checks(run: Run, results: Sequence[Mapping[str, Any]], links: Mapping[str, str]) -> str:
    if not results or run.last is None:
        return ""
    lines = [_check(run, each, links) for each in results]
    return f"Checks on {commit(run, run.head)}:\n" + "\n".join(lines)


def _messages(run: Run) -> str:
    """List what people told the agent, and whether it has heard it."""
    lines = [_message(run, each) for each in run.messages[-MESSAGES:]]
    left = len(run.messages) - len(lines)
    newest = f" ({left} more before, in this conversation)" if left else ""
    return "\n".join([f"Told the agent{newest}:", *lines]) if lines else ""


def _message(run: Run, said: Message) -> str:
    told = f"told in turn {said.turn}"
    if said.turn is None:
        told = "never told" if run.state in TERMINAL else "will be told at its next turn"
    return f"- {code(said.by)}: {prose(said.text, 200)} ({told})"


def _check(run: Run, result: Mapping[str, Any], links: Mapping[str, str]) -> str:
    name = str(result["name"])
    if override := run.override_of(name):
        why = f"set aside by {code(override.by)}: {prose(override.why, 200)}"
        return f"- {mark('neutral')} {code(name)}: {why}"
    running = is_pending(run, result)
    shown = code(name)
    link = links.get(check_name(name), "")
    label = f"[{shown}]({link})" if link else shown
    told = (
        "runs"
        if running
        else prose(first_line(str(result.get("summary") or result["conclusion"])), 200)
    )
    return f"- {mark(None if running else result['conclusion'])} {label}: {told}"


def _origin(run: Run) -> str:
    agent = f", done by {code(run.agent)}" if run.agent else ""
    where = f" on {code(run.branch)}" if run.branch and run.head != run.base_sha else ""
    return f"Asked by {code(run.requester)}{agent}{where}. Run {code(run.id)}."


def _commands(run: Run) -> str:
    if run.state in TERMINAL or run.state not in _COMMANDS:
        return ""
    here = (_GIVE, _CANCEL) if run.taken else _COMMANDS[run.state]
    offered = [each for each in here if run.checkpoints or each not in _LATER]
    lines = "\n".join(f"- `{name}` {does}" for name, does in offered)
    return f"<details><summary>Commands</summary>\n\n{lines}\n\n</details>"
