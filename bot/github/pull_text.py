"""The pull request of a run: its title, and a body that carries the evidence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bot.github.checks import first_line, is_pending
from bot.github.comment import (
    TASKS,
    blocked_hosts,
    checkpoint_list,
    commit,
    headline,
    held,
    mark,
    marker,
    more,
    page,
    rest_of,
    spending,
)
from bot.github.markup import cut_body, plain, prose, quote
from bot.github.shown import PullRequest
from bot.runs.model import Run
from bot.runs.transitions import STOPPED, TERMINAL, State
from policies.verdict import code

_ADDRESS = re.compile(r"(?:issues|pull)/\d+(?:#[a-z_]*-?r?\d+)?")

TITLE_LIMIT = 256
"""Characters of a pull request's title."""

READY = frozenset({State.AWAITING_REVIEW, State.MERGING, State.DONE})
"""States in which the pull request is no draft."""


def pull_request(
    run: Run, results: Sequence[Mapping[str, Any]], *, drafts: bool = True
) -> PullRequest | None:
    """Give the pull request that should stand; None before the first checkpoint.

    Without `drafts` the repository knows none, and the body says what is not ready.
    """
    if not run.checkpoints or not run.branch or not run.base:
        return None
    return PullRequest(
        title=plain(run.title, TITLE_LIMIT) or f"Run {run.id}",
        body=_body(run, results, drafts),
        head=run.branch,
        base=run.base,
        ready=run.state in READY,
        is_open=run.state is not State.CANCELLED,
    )


def _body(run: Run, results: Sequence[Mapping[str, Any]], drafts: bool) -> str:
    parts = [
        f"{marker(run)}\n{_asked(run)}",
        _continues(run),
        quote(run.request, rest=_source(run)),
        _not_ready(run, drafts),
        f"Closes #{run.issue}" if _closes(run) else "",
        f"### Plan\n\n{_plan(run)}" if run.plan.tasks else "",
        f"### Checkpoints\n\n{checkpoint_list(run)}",
        f"### Evidence\n\n{_evidence(run, results)}",
        blocked_hosts(run),
        spending(run),
        "" if run.state in TERMINAL else f"### How to decide\n\n{_decide(run)}",
    ]
    return cut_body("\n\n".join(part for part in parts if part) + "\n", rest=rest_of(run))


def _asked(run: Run) -> str:
    where = f" in #{run.issue}" if run.issue else ""
    return f"Asked by {code(run.requester)}{where}, done by {code(run.agent)}; run {code(run.id)}."


def _source(run: Run) -> str:
    """Return the address of what the run was asked in; empty where it is none of the repository's.

    A record that was restored may name any.
    """
    url, here = run.source.url, f"{page(run)}/"
    is_ours = page(run) and url.startswith(here) and _ADDRESS.fullmatch(url.removeprefix(here))
    return url if is_ours else ""


def _closes(run: Run) -> bool:
    return bool(run.issue) and run.source.kind in ("comment", "label") and run.onto is None


def _continues(run: Run) -> str:
    """Say whose work the run goes on from, how they take it, and why no workflow runs here."""
    if run.onto is None:
        return ""
    pull = code(f"git pull {run.repository.url} {run.branch}")
    whose = f"#{run.onto.pull} by {code(run.onto.author)}, from {commit(run, run.onto.sha)}"
    return (
        f"It continues {whose}. To take it into that pull request: {pull}, and push.\n\n"
        "Its commits say `[skip ci]`, so that no workflow of this repository runs a stranger's"
        " files with its secrets; a commit that a person pushes to this branch has them run."
    )


def _not_ready(run: Run, drafts: bool) -> str:
    if drafts or run.state in READY:
        return ""
    return (
        "**Not ready for review.** This repository has no draft pull requests, so this one "
        "says it here."
    )


def _plan(run: Run) -> str:
    lines = [f"- [{'x' if t.done else ' '}] {prose(t.title, 200)}" for t in run.plan.tasks[:TASKS]]
    return "\n".join([*lines, *more(run, len(run.plan.tasks) - TASKS)])


def _evidence(run: Run, results: Sequence[Mapping[str, Any]]) -> str:
    shown = [each for each in results if not is_pending(run, each)]
    if not shown:
        return f"The checks on {commit(run, run.head)} are not over."
    lines = [_result(each) for each in shown]
    return f"On {commit(run, run.head)}:\n\n" + "\n".join(lines)


def _result(result: Mapping[str, Any]) -> str:
    conclusion = str(result["conclusion"])
    summary = prose(first_line(str(result.get("summary") or "")), 300)
    told = f"**{prose(conclusion, 40)}**{f': {summary}' if summary else ''}"
    return f"- {mark(conclusion)} {code(str(result['name']))} {told}"


def _decide(run: Run) -> str:
    head = run.head[:12]
    approve = (
        f"`/approve {head}` or an approving review merges exactly {code(head)}; a later push "
        "voids it."
    )
    if run.state in STOPPED:
        approve = headline(run)
    elif run.state not in READY:
        approve = "`/approve` merges it once it is ready for review; it is not yet."
    holds = f"- {held(run)}\n" if run.holds else ""
    return (
        f"{holds}- {approve}\n"
        "- `/orchestrate REQUEST`, or a review that asks for changes, is the agent's next turn.\n"
        "- `/rollback N` restores a checkpoint, `/undo` takes the last step back, `/diff` shows "
        "what changed, `/cancel` ends the run."
    )
