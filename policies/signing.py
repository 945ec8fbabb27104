"""Who commits the checkpoints of a run: git, or GitHub's API, which signs them.

`commits: auto` leaves that to the branches that the run's commits go to: where rules of one take
only signed commits, GitHub makes and signs them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from policies.config import Config
from policies.facts import BranchRules
from policies.verdict import code, counted, listed

SIGNATURES = "required_signatures"
"""GitHub's name of the rule."""

OWN_BRANCH = "orchestrate/…"
"""How the branches of runs are called: a rule that holds for one mostly holds for all."""


def demanding(base: str, rules: BranchRules, own: Collection[str]) -> tuple[str, ...]:
    """Name the branches that take only signed commits: the base by its `rules`, the run's by `own`.

    `own` are the names of the rules that hold for the run's own branch.
    """
    names = ((base, rules.signatures), (OWN_BRANCH, SIGNATURES in own))
    return tuple(name for name, demands in names if demands)


def commits_of(demands: Collection[str], config: Config) -> Literal["git", "api"]:
    """Choose how checkpoints are committed, where the branches `demands` take only signed ones."""
    if config.commits != "auto":
        return config.commits
    return "api" if demands else "git"


def signed_by_github(branch: str) -> str:
    """Say of one branch that the run's commits are signed, since it takes no others."""
    return f"{code(branch)} takes only signed commits, so GitHub makes and signs those of a run."


def switched(demands: Collection[str], unsigned: int) -> str:
    """Say that GitHub signs from now on, where a run has so many checkpoints that it did not."""
    verb = "takes" if len(demands) == 1 else "take"
    told = f"{listed(demands)} {verb} only signed commits, so GitHub makes and signs those of this"
    if not unsigned:
        return f"{told} run."
    lack = "is not signed" if unsigned == 1 else "are not signed"
    return f"{told} run from here on; {counted(unsigned, 'checkpoint')} before {lack}."
