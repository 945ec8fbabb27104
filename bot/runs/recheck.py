"""Whether the decisions in a run's record hold for what they say they were about. All of it pure.

Each approval names a head, its tree, the plan and the policy; each override a head and its tree. A
record is folded event by event, and what a decision names is compared with what stood at that
moment, and with the commits themselves. A merge must have been of a head that was approved so. The
policy is made again of what the record says it was made of, as far as that is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError

from bot.errors import ConfigError, Refused
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.grounds import Grounds, made_again
from bot.runs.model import Repository, Run
from bot.runs.restore import following
from bot.runs.work import own
from policies.config import digest, form
from policies.verdict import code

TreeOf = Callable[[str], str | None]
"""The tree of a commit; None where there is no such commit."""


class Sources(Protocol):
    """Where the files are that policies are made of."""

    def own(self, commit: str) -> str | None:
        """Read the repository's file at a commit, empty where none is; None without the commit."""

    def was_default(self, commit: str) -> bool | None:
        """Whether the default branch ever stood at a commit; None where that cannot be told."""

    def organisation(self, blob: str) -> str | None:
        """Read an organisation's file by the id of its content; None where that is not at hand."""


class Rechecked(NamedTuple):
    """How many decisions and policies were looked at, and what is wrong with them, as sentences.

    `unchecked` says of which decisions the policy could not be made again, and why not.
    """

    decisions: int
    problems: list[str]
    policies: int
    unchecked: list[str]


class _Unknown(Exception):
    """Why a policy cannot be made again here, as the end of a sentence."""


def recheck(
    record: Sequence[Event], repository: Repository, tree_of: TreeOf, sources: Sources
) -> Rechecked:
    """Check every decision of a record again."""
    run: Run | None = None
    count, policies, problems, unchecked = 0, 0, list[str](), list[str]()
    for event in record:
        if run is not None and _is_decision(event):
            found = _CHECKS[event.type](run, event) + _tree(event, tree_of)
            count += 1
            try:
                # What was folded belongs to where the record is now, which may be a clone.
                found += _policy(_as_begun(run, record[0]), event, sources)
                policies += "under" in event.data
            except _Unknown as unknown:
                unchecked.append(
                    f"Event {event.seq}: the policy of {_what(event)} is not made again: {unknown}."
                )
            problems += [f"Event {event.seq}: {each}" for each in found]
        try:
            run = following(run, event, repository)
        except Refused as refusal:
            problems.append(str(refusal))
            break
    return Rechecked(count, problems, policies, unchecked)


def _is_decision(event: Event) -> bool:
    # What a merge waits for is none, unless it was left to GitHub then.
    awaited = event.type == Type.MERGE_AWAITED
    return "policy" in event.data if awaited else event.type in _CHECKS


def _what(event: Event) -> str:
    return f"the approval of {event.actor}" if event.type == Type.APPROVED else "the merge"


# -- what they are about


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
    policy = event.data.get("policy")
    if policy and policy not in {each.policy or policy for each in run.approved()}:
        return [f"{_short(run.head)} was merged under another policy than it was approved under."]
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


# -- what they were decided under


def _policy(run: Run, event: Event, sources: Sources) -> list[str]:
    """Make the policy of a decision again; say where it is another than the one named."""
    named, under = event.data.get("policy"), event.data.get("under")
    if under is None:
        if not named:
            return []
        raise _Unknown("what it was made of is not recorded")
    what = _what(event)
    try:
        grounds = Grounds.model_validate(under)
    except ValidationError:
        return [f"what {what} says that its policy was made of cannot be read."]
    file = sources.own(grounds.commit)
    if file is None:
        raise _Unknown(
            f"the commit {_short(grounds.commit)}, which has the configuration, is not here; "
            "`git fetch origin` in the clone brings it in, as long as the repository has it"
        )
    was_default = sources.was_default(grounds.commit)
    if was_default is False:
        return [
            f"{what} is under the configuration of {_short(grounds.commit)}, and the default "
            "branch has no such commit."
        ]
    try:
        made = digest(own(run, made_again(grounds, file, _organisation(grounds, sources))))
    except (ConfigError, ValidationError):
        made = "nothing that can be read"
    if made == named:
        if was_default is None:
            raise _Unknown(
                f"whether the default branch ever stood at {_short(grounds.commit)}, which has the "
                "configuration, cannot be told here; `git fetch origin` and `git remote set-head "
                "origin --auto` bring the clone up to date"
            )
        return []
    if grounds.form != form():
        raise _Unknown(
            "it was made by a version of Orchestrate with other settings than this one; verify it "
            "with that version"
        )
    return [
        f"{what} names the policy {named}, and what it was made of comes to {made}: one of them "
        "was changed afterwards."
    ]


def _organisation(grounds: Grounds, sources: Sources) -> str:
    if not grounds.organisation:
        return ""
    text = sources.organisation(grounds.organisation)
    if text is None:
        raise _Unknown(
            f"it is also of what {code(grounds.above or 'the organisation')} said, which is not "
            "here; `--organisation DIR` names a clone of that repository which has it"
        )
    return text


def _as_begun(run: Run, first: Event) -> Run:
    """Return the run as where it began: what holds on somebody's own machine holds nowhere else."""
    begun = first.data.get("repository", {}).get("installation")
    if begun is None:
        return run
    repository = run.repository.model_copy(update={"installation": begun})
    return run.model_copy(update={"repository": repository})


def _short(sha: Any) -> str:
    return str(sha or "nothing")[:12]


_CHECKS: dict[str, Callable[[Run, Event], list[str]]] = {
    Type.APPROVED: _approved,
    Type.OVERRIDDEN: _overridden,
    Type.MERGED: _merged,
    Type.MERGE_AWAITED: _merged,
}
