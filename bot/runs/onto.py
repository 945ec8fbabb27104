"""Going on from a stranger's head: asked for before a run begins, and again before each turn.

Somebody trusted one commit of a pull request by name, and that commit alone is worked on. What was
pushed since is not looked at: the run pauses, says so, and does not go on.
"""

from __future__ import annotations

from typing import Any

from bot.events import ORCHESTRATE, Type
from bot.runs.model import Run
from bot.runs.ports import Git
from bot.runs.revisions import Stuck
from policies.config import Config
from policies.trust import check_changed
from policies.verdict import code

AGAIN = "`/orchestrate trust SHA` and `/orchestrate REQUEST` there begin on the head as it is now."
"""What somebody may do whose trust was of another commit."""


async def start_of(git: Git, run: Run, config: Config) -> dict[str, Any] | Stuck:
    """Say from where the run goes on, or why it does not.

    The base is where the pull request left it: what that has installed is what the agent has.
    """
    assert run.onto is not None, "only who goes on from a stranger's head asks"
    if config.trust != "agents":
        step = "`trust: agents` in the configuration on the default branch allows it."
        return Stuck("Agents do not work on strangers' pull requests here.", step)
    found = await git.strange(run)
    if found.sha != run.onto.sha:
        return Stuck(
            f"{code(run.onto.sha[:7])} is not the head of #{run.onto.pull} any more.", AGAIN
        )
    if not found.base_sha:
        reason = f"#{run.onto.pull} has no commit in common with {code(run.base)}."
        return Stuck(reason, "Have its author rebase it, then trust it anew.")
    changes = await git.changes(run, found.base_sha, found.sha)
    verdict = check_changed(changes, config)
    if not verdict.allowed:
        return Stuck(verdict.reason, "")
    return {"base_sha": found.base_sha, "base_tree": found.base_tree, "onto_tree": found.tree}


async def gone(git: Git, run: Run, config: Config) -> tuple[str, dict[str, Any], str] | None:
    """Give the event that stops a run whose commit is trusted no more; None where it still is."""
    assert run.onto is not None, "only who goes on from a stranger's head asks"
    if config.trust != "agents":
        data = {
            "reason": "The configuration lets agents work on strangers' pull requests no more.",
            "next_step": "`/cancel` ends the run; with `trust: agents` again `/resume` goes on.",
        }
        return (Type.BLOCKED, data, ORCHESTRATE)
    now = (await git.strange(run)).sha
    if now == run.onto.sha:
        return None
    return (Type.PAUSED, voided(run, now, "Somebody"), ORCHESTRATE)


def voided(run: Run, head: str, who: str) -> dict[str, Any]:
    """Say that somebody pushed `head` since the run's commit was trusted."""
    assert run.onto is not None, "only who goes on from a stranger's head is asked of it"
    pull = f"#{run.onto.pull}"
    pushed = f"{who} pushed {head[:7]} to {pull}, which nobody trusts yet."
    return {
        "reason": pushed if head else f"GitHub does not have the head of {pull} any more.",
        "next_step": f"`/cancel` ends this run. {AGAIN}",
        "moved": head,
    }
