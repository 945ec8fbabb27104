"""What a merge looks at before it is made: the merge result, and the repository's own checks.

Where the base moved since the run knew it, the checks run on the head merged with the base as it
is now, as a commit on no branch. What they said of that commit is kept, so a merge that waits does
not run them again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bot.events import ORCHESTRATE, Type
from bot.runs import texts
from bot.runs.model import Approval, Run
from bot.runs.ports import Base, Clock, CommitMessage, Forge, Git, Later, NotMerged
from bot.runs.revisions import Stuck, with_base
from policies.branches import method_of
from policies.config import Config
from policies.facts import BranchRules, CheckState, Method, RequiredFacts
from policies.required import check_required, required, unmet, waits
from policies.verdict import code

TRIALS = 3
"""Merge results checked in a row: a base that moves on meanwhile each time is busier than that."""

MISSING = timedelta(minutes=30)
"""How long after the approval a check may be missing: CI begins within minutes where it does."""

_CONCLUSIONS: dict[CheckState, str] = {
    "green": "success",
    "red": "failure",
    "pending": "in progress",
    "missing": "not reported",
}

Made = list[tuple[str, dict[str, Any], str]]

CheckIt = Callable[[Run], Awaitable[Sequence[dict[str, Any]] | Made]]
"""Runs the checks on the head of a run; gives their results, or what came in between."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Nothing keeps the head from being merged in this way, as far as is known."""

    method: Method
    rules: BranchRules


class Landing:
    """Looks at all that must hold before a head is merged."""

    def __init__(self, git: Git, forge: Forge, clock: Clock) -> None:
        self._git = git
        self._forge = forge
        self._clock = clock

    async def trial(
        self, run: Run, approval: Approval, config: Config, base: Base, check: CheckIt
    ) -> Made | None:
        """Check the merge result where the base moved; None where nothing speaks against it."""
        for _ in range(TRIALS):
            if await self._is_known(run, base.sha):
                return None
            found = await with_base(self._git, run, config, base.sha)
            if isinstance(found, Stuck):
                return [blocked(found.reason, found.next_step)]
            if found.tree in (run.tree, base.tree):
                return None
            # The time is part of the commit, so that the same merge is the same commit.
            title = texts.title_line(f"Merge of {run.head[:7]} into {run.base} at {base.sha[:7]}")
            message = CommitMessage(title, texts.trailers(run, 0, agent=None), approval.at)
            commit = await self._git.commit(run, found.tree, [base.sha, run.head], message)
            ended = await check(run.model_copy(update={"head": commit, "checked": ""}))
            if isinstance(ended, list):
                return ended
            if red := _red(run, ended):
                return [_trial_failed(run, base, red)]
            now = await self._git.base(run, run.base)
            if now.sha == base.sha:
                return None
            base = now
        return [
            blocked(
                f"{code(run.base)} moves faster than the checks of the merge result run.",
                "`/update` brings it in; then `/approve` the new head.",
            )
        ]

    async def _is_known(self, run: Run, base: str) -> bool:
        return base == run.base_sha or await self._git.holds(run, base)

    async def outside(self, run: Run, approval: Approval, config: Config) -> Made | Ready:
        """Ask GitHub for the base's rules and the repository's own checks; say what is lacking."""
        rules = await self._forge.rules(run)
        method = method_of(rules, config)
        if method is None:
            step = "Have an administrator allow one, then `/retry` and `/approve`."
            return [blocked(f"The rules of {code(run.base)} take no way of merging.", step)]
        names = required(config, rules)
        if not names or run.is_local:
            return Ready(method, rules)
        facts = RequiredFacts(
            names,
            await self._forge.reported(run, run.head, names),
            tuple(each.check for each in run.overrides if each.sha == run.head),
        )
        verdict = check_required(facts)
        if verdict.allowed:
            return Ready(method, rules)
        outside = [
            {"name": each.name, "conclusion": _CONCLUSIONS[each.state]} for each in unmet(facts)
        ]
        late = self._clock() - approval.at > MISSING
        missing = any(each.state == "missing" for each in unmet(facts))
        if waits(facts) and not (late and missing):
            return [awaited(run, verdict.reason, outside)]
        step = "`/retry` and then `/approve` ask again."
        return [blocked(verdict.reason, step, outside)]


def later(run: Run, given: Later, policy: Mapping[str, Any]) -> tuple[str, dict[str, Any], str]:
    """Say that GitHub merges it later, or that something must be there first.

    `policy` is what that was decided under.
    """
    kind, data, by = awaited(run, given.reason, [])
    return kind, {**data, **policy}, by


def refused(given: NotMerged) -> tuple[str, dict[str, Any], str]:
    """Say why it is not merged."""
    return blocked(given.reason, given.next_step)


def awaited(
    run: Run, reason: str, outside: Sequence[dict[str, Any]]
) -> tuple[str, dict[str, Any], str]:
    """Say what the merge waits for; `seen` is how much had been heard before it was asked."""
    data = {"reason": reason, "outside": list(outside), "seen": run.news}
    return (Type.MERGE_AWAITED, data, ORCHESTRATE)


def blocked(
    reason: str, next_step: str, outside: Sequence[dict[str, Any]] = ()
) -> tuple[str, dict[str, Any], str]:
    """Say why the merge is not made, and what to do next."""
    data: dict[str, Any] = {"reason": reason, "next_step": next_step}
    if outside:
        data["outside"] = list(outside)
    return (Type.BLOCKED, data, ORCHESTRATE)


def _red(run: Run, ended: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    failed = [each for each in ended if each["conclusion"] != "success"]
    return [each for each in failed if not run.override_of(each["name"])]


def _trial_failed(
    run: Run, base: Base, red: Sequence[dict[str, Any]]
) -> tuple[str, dict[str, Any], str]:
    names = texts.listed([code(each["name"]) for each in red])
    verb = "fails" if len(red) == 1 else "fail"
    where = f"{code(run.head[:7])} merged into {code(run.base)} at {code(base.sha[:7])}"
    keys = ("name", "conclusion", "summary")
    return blocked(
        f"{names} {verb} on {where}, though not on the head alone.",
        "`/update` brings the base in, so that the agent can mend it there; `/override CHECK WHY`"
        " merges it all the same.",
        [{key: each[key] for key in keys if key in each} for each in red],
    )
