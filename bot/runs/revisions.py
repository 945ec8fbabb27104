"""What people ask to be made of a run's head, found without an effect.

A handler asks first, so that what cannot be is refused in a sentence and the run stays as it is.
The work asks again before it commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bot.runs.dependencies import brought_by
from bot.runs.model import Checkpoint, Run
from bot.runs.ports import Conflict, Git
from bot.runs.texts import conflict_lines
from policies.config import Config
from policies.facts import Author, Change, Dependency, Secret
from policies.rules import judge, judge_whole, offenders
from policies.verdict import Verdict, code, counted

VIOLATIONS = 100
"""Violations named in an event: a comment shows ten, the record a few more."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why something cannot be made, and what to do next."""

    reason: str
    next_step: str

    @property
    def sentence(self) -> str:
        """Both, as they are said to a person."""
        blank = "\n\n" if "\n" in self.reason else " "
        return f"{self.reason}{blank}{self.next_step}"


@dataclass(frozen=True, slots=True)
class Kept:
    """The tree of what passes of a refused candidate, and the paths that went back."""

    tree: str
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """The tree of the head with the base merged in, and the verdict on the run's own part of it."""

    tree: str
    verdict: str


def author_of(run: Run) -> Author:
    """Say who makes what is judged now: the run's agent, for its present task."""
    task = run.next_task()
    return Author(run.agent, task.areas if task else ())


async def judged(
    changes: Sequence[Change],
    violations: Sequence[tuple[str, str]],
    secrets: Sequence[Secret],
    config: Config,
    by: Author,
    dependencies: Sequence[Dependency] = (),
) -> Verdict:
    """Judge as `policies.rules` does, beside the event loop: 10,000 files take some 70 ms."""
    return await asyncio.to_thread(judge, changes, violations, secrets, config, by, dependencies)


async def what_passes(git: Git, run: Run, config: Config, known: frozenset[str]) -> Kept | Stuck:
    """Take out of the refused candidate what breaks a rule: it goes back to what the head has.

    `known` are the server's own secrets.
    """
    again = "`/resume` gives the agent another turn."
    if not run.quarantine:
        return Stuck("No candidate was refused since the last checkpoint.", again)
    tree = run.quarantine["tree"]
    violations = [(path, reason) for path, reason in run.quarantine.get("violations", ())]
    if len(violations) >= VIOLATIONS:
        why = f"The turn left {VIOLATIONS} entries or more that cannot be committed"
        return Stuck(f"{why}, and not all of them are recorded.", again)
    changes = await git.changes(run, run.head, tree)
    secrets = await git.leaks(run, run.head, tree, known)
    brought = await brought_by(git, run, run.head, tree, changes)
    given = (changes, violations, secrets, config, author_of(run), brought)
    gone = await asyncio.to_thread(offenders, *given)
    if gone is None:
        why = (await judged(*given)).reason
        return Stuck(f"No path can be left out so that the rest passes: {why}", again)
    tree = await git.without(run, tree, gone)
    if tree == run.tree:
        return Stuck("All that the turn changed breaks a rule, so nothing is left to keep.", again)
    secrets = await git.leaks(run, run.head, tree, known)
    changes = await git.changes(run, run.head, tree)
    brought = await brought_by(git, run, run.head, tree, changes)
    verdict = await judged(changes, (), secrets, config, author_of(run), brought)
    if not verdict.allowed:
        return Stuck(f"What would be left breaks a rule too: {verdict.reason}", again)
    return Kept(tree, tuple(sorted(gone)))


async def with_base(git: Git, run: Run, config: Config, base: str) -> Joined | Stuck:
    """Merge the commit `base` into the head; what the run then differs in from it is judged.

    What comes with the base is people's work, and no rule binds them. The same holds for what
    they committed to the branch themselves.
    """
    merged = await git.merged(run, base)
    by_hand = f"Merge {code(run.base)} into {code(run.branch)} yourself and push that"
    if not isinstance(merged, str):
        step = f"{by_hand}, or ask the agent to write these places so that both fit."
        return Stuck(_conflicts(run, base, merged), step)
    people = await _touched_by_people(git, run)
    own = [each for each in await git.changes(run, base, merged) if not _is_of(each, people)]
    verdict = await asyncio.to_thread(judge_whole, own, config)
    if not verdict.allowed:
        why = f"With {code(run.base)} brought in, the rules refuse it: {verdict.reason}"
        return Stuck(why, f"{by_hand}, or `/rollback` what they name.")
    return Joined(merged, verdict.text())


async def _touched_by_people(git: Git, run: Run) -> frozenset[str]:
    made = [each for each in run.checkpoints if each.kind == "human"]
    return frozenset([path for each in made for path in await _touched(git, run, each)])


async def _touched(git: Git, run: Run, made: Checkpoint) -> Sequence[str]:
    return await git.touched(run, made.parent, made.sha)


def _is_of(change: Change, paths: frozenset[str]) -> bool:
    return change.path in paths and (change.old_path or change.path) in paths


def _conflicts(run: Run, base: str, conflicts: Sequence[Conflict]) -> str:
    count = counted(len({each.path for each in conflicts}), "file")
    lines = "\n".join(conflict_lines(conflicts, run.base))
    return f"{code(run.base)} at `{base[:7]}` conflicts with this run in {count}:\n\n{lines}"
