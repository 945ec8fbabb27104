"""Whether the decisions in a run's record hold for what they say they were about. All of it pure.

Each approval names a head, its tree, the plan and the policy; each override a head and its tree. A
record is folded event by event, and what a decision names is compared with what stood at that
moment, and with the commits themselves. A merge must have been of a head that was approved so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bot.errors import Refused
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.model import Repository, Run
from bot.runs.restore import following

TreeOf = Callable[[str], str | None]
"""The tree of a commit; None where there is no such commit."""


def recheck(
    record: Sequence[Event], repository: Repository, tree_of: TreeOf
) -> tuple[int, list[str]]:
    """Check every decision of a record again; return how many, and what is wrong, as sentences."""
    run: Run | None = None
    count, problems = 0, list[str]()
    for event in record:
        if run is not None and event.type in _CHECKS:
            count += 1
            problems += [f"Event {event.seq}: {each}" for each in _CHECKS[event.type](run, event)]
            problems += [f"Event {event.seq}: {each}" for each in _tree(event, tree_of)]
        try:
            run = following(run, event, repository)
        except Refused as refusal:
            return count, [*problems, str(refusal)]
    return count, problems


def _approved(run: Run, event: Event) -> list[str]:
    data, who = event.data, event.actor
    found = _of_head(run, event, f"the approval of {who}")
    plan = data.get("plan", "")
    if plan not in ("", run.plan.digest):
        found.append(f"the approval of {who} is of another plan than the run had.")
    # Those of the first version do not say what held; all others do, by its digest.
    if plan and not data.get("policy"):
        found.append(f"the approval of {who} does not say which policy held.")
    if who == ORCHESTRATE or who.endswith("[bot]"):
        found.append(f"{who} approved, and is no person.")
    return found


def _overridden(run: Run, event: Event) -> list[str]:
    return _of_head(run, event, f"what {event.actor} set aside")


def _of_head(run: Run, event: Event, what: str) -> list[str]:
    """Say where a decision is of another head, or of other files, than the run had."""
    sha, tree = event.data.get("sha"), event.data.get("tree")
    found = []
    if sha != run.head:
        found.append(f"{what} is of {_short(sha)}, and the head was {_short(run.head)}.")
    elif tree not in (None, run.tree):
        found.append(f"{what} names other files than the head had.")
    return found


def _merged(run: Run, event: Event) -> list[str]:
    if event.data.get("by_hand") or event.actor != ORCHESTRATE:
        return []  # Somebody merged it themselves: their right on GitHub, and not our decision.
    approval = run.approved_head()
    if approval is None:
        return [f"{_short(run.head)} was merged, and nobody had approved it as it was."]
    if approval.lacks:
        return [f"{_short(run.head)} was merged before all had approved who must: {approval.lacks}"]
    return []


def _tree(event: Event, tree_of: TreeOf) -> list[str]:
    """Say where a decision names other files than its commit has."""
    sha, tree = event.data.get("sha"), event.data.get("tree")
    if not (isinstance(sha, str) and isinstance(tree, str)):
        return []
    there = tree_of(sha)
    if there is None:
        return [f"the commit {_short(sha)} that was decided on is absent."]
    return [] if there == tree else [f"{_short(sha)} has other files than were decided on."]


def _short(sha: Any) -> str:
    return str(sha or "nothing")[:12]


_CHECKS: dict[str, Callable[[Run, Event], list[str]]] = {
    Type.APPROVED: _approved,
    Type.OVERRIDDEN: _overridden,
    Type.MERGED: _merged,
}
