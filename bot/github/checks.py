"""The check runs of a run's head: the rules and every check, with the decisions as buttons.

A candidate that the rules refused was never committed, so it has no commit to stand on. It is told
in the comment, and as a `neutral` check run `orchestrate / refused candidate` on the head: that
head passed its own rules and must not look as if it had not. Without a checkpoint the head is
the base, where nothing of a run belongs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.github.markup import OUTPUT_LIMIT, cut_body, cut_line, fence, plain, prose
from bot.github.shown import Action, Annotation, CheckRun
from bot.runs.model import Run
from bot.runs.ports import OUTPUT_CUT
from bot.runs.transitions import TERMINAL, State
from bot.runs.work import RESTORED
from policies.verdict import code

REFUSED = "refused candidate"
"""The check run of what the rules refused, which has no commit of its own."""

PREFIX = "orchestrate / "
"""Before every name, so that a repository's own CI may have a check of the same name."""

CONCLUSIONS = frozenset({"success", "failure", "timed_out", "cancelled", "neutral", "skipped"})
"""What a check may end as, in GitHub's words; anything else is shown as a failure."""

ANNOTATIONS = 200
"""Remarks shown of one check: four requests; more is not read, and the output has them all."""

MESSAGE_LIMIT = 16_000
"""Characters of a remark; GitHub takes 64 KB, which is this many of the widest characters."""

TITLE_LIMIT = 255
"""Characters of a title."""

SUMMARY_LENGTH = 2_000
"""Characters of what a check says of itself, before its output."""

LINE_MAX = 1_000_000_000
"""The largest line number: GitHub reads 32 bits."""

LEVELS = frozenset({"notice", "warning", "failure"})

APPROVE = Action("Approve", "Merge exactly this commit", "approve")
UNDO = Action("Undo", "Restore what was there before it", "undo")
RETRY = Action("Retry", "Run the checks again", "retry")
RESUME = Action("Resume", "Give the agent another turn", "resume")

Result = Mapping[str, Any]


def check_runs(run: Run, results: Sequence[Result]) -> tuple[CheckRun, ...]:
    """Give the check runs that should stand on the head."""
    if not run.trusted and (run.last is None or run.head != run.last.sha):
        return ()
    actions = _actions(run, results)
    ended = [_check_run(run, each, actions) for each in results]
    started = [_pending(run, name) for name in _due(run, results)]
    refused = [_refused(run)] if run.refused else []
    return (*ended, *started, *refused)


FENCE_ROOM = 32
"""Characters that the fence around an output takes."""


def is_pending(run: Run, result: Result) -> bool:
    """Say whether a check runs again, so that its last result does not stand."""
    if run.state is not State.VALIDATING or result.get("attempt", 0) == run.attempt:
        return False
    if result["name"] == "rules":
        return False
    return not run.retry or run.retry == result["name"] or result["conclusion"] != "success"


def _due(run: Run, results: Sequence[Result]) -> list[str]:
    """Name the checks without a result, as far as an earlier checkpoint tells their names."""
    if run.state is not State.VALIDATING or run.checked == run.head:
        return []
    known = {result["name"] for result in results}
    return [outcome.name for outcome in run.outcomes if outcome.name not in known]


def _actions(run: Run, results: Sequence[Result]) -> tuple[Action, ...]:
    if run.state is State.AWAITING_REVIEW:
        return (APPROVE, UNDO)
    if run.trusted:
        return ()
    red = any(result["conclusion"] != "success" for result in results)
    if run.state is State.BLOCKED and red:
        return (RETRY, UNDO, RESUME)
    return ()


def _check_run(run: Run, result: Result, actions: tuple[Action, ...]) -> CheckRun:
    name = str(result["name"])
    if is_pending(run, result):
        return _pending(run, name)
    told = str(result.get("conclusion") or "failure")
    conclusion = told if told in CONCLUSIONS else "failure"
    summary = str(result.get("summary") or conclusion)
    if override := run.override_of(name):
        conclusion = "neutral"
        by = f"Set aside by {override.by}"
        summary = f"{by}: {prose(override.why, 500)}\n\nThe check itself said: {summary}"
    notes = result.get("annotations") or []
    text = str(result.get("text") or "")
    return CheckRun(
        name=check_name(name),
        external_id=_external_id(run, result.get("attempt", run.attempt), name),
        head=run.head,
        conclusion=conclusion,
        title=plain(first_line(summary), TITLE_LIMIT) or conclusion,
        summary=_summary(run, result, summary, len(notes)),
        text=fence(text, OUTPUT_LIMIT) if text.strip() else "",
        annotations=tuple(a for a in map(_annotation, notes[:ANNOTATIONS]) if a),
        actions=actions,
        restored=bool(result.get(RESTORED)),
    )


def _summary(run: Run, result: Result, summary: str, notes: int) -> str:
    number = run.last.number if run.last else 0
    where = f"On checkpoint {number} of run {code(run.id)}, commit {code(run.head)}"
    if run.trusted:
        where = f"On commit {code(run.head)}, which {code(run.requester)} trusts"
    seconds = float(result.get("seconds") or 0.0)
    logs = code(f"orchestrate logs {run.id}")
    parts = [
        prose(summary, SUMMARY_LENGTH),
        f"{where}{f', in {seconds:.1f} s' if seconds else ''}.",
    ]
    if notes > ANNOTATIONS:
        parts.append(
            f"The first {ANNOTATIONS} of {notes:,} remarks are shown on the files; on the server "
            f"{logs} prints what the check said of the others."
        )
    text = str(result.get("text") or "")
    if text.startswith(OUTPUT_CUT) or len(text) > OUTPUT_LIMIT - FENCE_ROOM:
        parts.append(
            "The output is longer than GitHub takes, so its end is shown; on the server "
            f"{logs} prints all of it."
        )
    elif len(summary) > SUMMARY_LENGTH:
        parts.append(f"That is its beginning; on the server {logs} prints all of it.")
    return cut_body("\n\n".join(parts), OUTPUT_LIMIT)


def _pending(run: Run, name: str) -> CheckRun:
    return CheckRun(
        name=check_name(name),
        external_id=_external_id(run, run.attempt, name),
        head=run.head,
        conclusion=None,
        title="In progress",
        summary=f"Runs on {code(run.head)}.",
        text="",
    )


def _refused(run: Run) -> CheckRun:
    summary = (
        f"What turn {run.turns} left behind breaks the rules, so it was not committed; this "
        f"commit is as it was. {prose(run.reason, 2_000)}"
    )
    return CheckRun(
        name=f"{PREFIX}{REFUSED}",
        external_id=_external_id(run, run.turns, REFUSED),
        head=run.head,
        conclusion="neutral",
        title="Refused by the rules, not committed",
        summary=cut_body(summary, OUTPUT_LIMIT),
        text=fence("\n".join(run.refused), OUTPUT_LIMIT),
        actions=() if run.state in TERMINAL else (RESUME,),
    )


def first_line(summary: str) -> str:
    """Return the sentence that a summary begins with; the details follow on lines of their own."""
    return summary.strip().partition("\n")[0]


def check_name(name: str) -> str:
    """Give the name under which a check shows on GitHub."""
    return cut_line(PREFIX + (plain(name, TITLE_LIMIT) or "check"), TITLE_LIMIT)


def _external_id(run: Run, attempt: int, name: str) -> str:
    number = run.last.number if run.last else 0
    return cut_line(f"{run.id}:{number}:{attempt}:{plain(name, TITLE_LIMIT)}", TITLE_LIMIT)


def _annotation(note: Mapping[str, Any]) -> Annotation | None:
    path = str(note.get("path") or "").removeprefix("./")
    message = visible_message(str(note.get("message") or ""))
    if not path or path.startswith("/") or not message:
        return None
    start = _line(note.get("start_line"))
    level = str(note.get("level"))
    return Annotation(
        path=path,
        start_line=start,
        end_line=max(start, _line(note.get("end_line"))),
        annotation_level=level if level in LEVELS else "failure",
        message=message,
        title=plain(str(note.get("title") or ""), TITLE_LIMIT),
    )


def visible_message(text: str) -> str:
    """Cut a remark to what GitHub takes, without what does not print."""
    shown = "".join(c for c in text if c in "\n\t" or c.isprintable()).strip()
    return shown if len(shown) <= MESSAGE_LIMIT else f"{shown[: MESSAGE_LIMIT - 1]}…"


def _line(value: object) -> int:
    return min(max(value, 1), LINE_MAX) if isinstance(value, int) else 1
