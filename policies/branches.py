"""What the base's branch rules on GitHub mean for a run, told before it begins.

A merge queue, reviews and checks that GitHub asks for are waited for. Where the rules take no
commit as this configuration makes them, the run asks first: it could not be merged in the end.
"""

from __future__ import annotations

from policies.config import Config
from policies.facts import BranchRules, Method
from policies.signing import commits_of, signed_by_github
from policies.verdict import Verdict, all_of, code, counted, listed

RULE = "branches"


def check_branch(branch: str, rules: BranchRules, config: Config) -> Verdict:
    """Judge whether a run can be merged into `branch` in the end; the children say how."""
    children = (
        _method(branch, rules, config),
        _signatures(branch, rules, config),
        _reviews(branch, rules),
        _checks(branch, rules),
        _queue(branch, rules),
    )
    verdict = all_of(RULE, children)
    if verdict.allowed:
        return Verdict(True, RULE, f"{code(branch)} takes what a run makes.", children)
    return verdict


def notes(branch: str, rules: BranchRules, config: Config) -> tuple[str, ...]:
    """Say in short sentences what the rules ask beyond what the configuration does."""
    told = (
        _queue(branch, rules).reason if rules.queue else "",
        _reviews(branch, rules).reason if rules.reviews or rules.code_owners else "",
        _checks(branch, rules).reason if rules.checks else "",
        _method(branch, rules, config).reason if method_of(rules, config) != _own(config) else "",
        # Where it is left to us, it is told once that is decided.
        _signatures(branch, rules, config).reason
        if rules.signatures and config.commits != "auto"
        else "",
    )
    return tuple(each for each in told if each)


def method_of(rules: BranchRules, config: Config) -> Method | None:
    """Choose how to merge: as configured where the rules take that, else as they do.

    Squashing comes before rebasing, since it lands as the one tree that was checked. None where
    the rules take no way at all.
    """
    taken = [each for each in rules.methods if not (rules.linear and each == "merge")]
    order = (_own(config), "squash", "rebase", "merge")
    return next((each for each in order if each in taken), None)


def _own(config: Config) -> Method:
    return config.merge.method


def _method(branch: str, rules: BranchRules, config: Config) -> Verdict:
    method, own = method_of(rules, config), config.merge.method
    if method is None:
        return Verdict(
            False,
            "method",
            f"The rules of {code(branch)} take no way of merging that GitHub has; have an"
            " administrator allow one of them.",
        )
    if rules.queue or method == own:
        return Verdict(True, "method", f"It is merged by {code(method)}.")
    why = "keeps a linear history" if rules.linear else f"takes no {code(own)}"
    return Verdict(True, "method", f"{code(branch)} {why}, so it is merged by {code(method)}.")


def _signatures(branch: str, rules: BranchRules, config: Config) -> Verdict:
    if not rules.signatures:
        return Verdict(True, "signatures", "No signatures are asked for.")
    if commits_of((branch,), config) == "api":
        return Verdict(True, "signatures", signed_by_github(branch))
    return Verdict(
        False,
        "signatures",
        f"{code(branch)} takes only signed commits, and those of a run are not; `commits: api` in"
        " the configuration has GitHub sign them. `/resume` works on it all the same, for a person"
        " to sign and merge.",
    )


def _reviews(branch: str, rules: BranchRules) -> Verdict:
    if not rules.reviews and not rules.code_owners:
        return Verdict(True, "reviews", "No reviews are asked for on GitHub.")
    asked = counted(max(rules.reviews, 1), "approving review")
    owners = ", of code owners too" if rules.code_owners else ""
    return Verdict(
        True,
        "reviews",
        f"{code(branch)} asks for {asked} on GitHub{owners}, which `/approve` is not; the merge"
        " waits for that.",
    )


def _checks(branch: str, rules: BranchRules) -> Verdict:
    if not rules.checks:
        return Verdict(True, "checks", "No checks are asked for on GitHub.")
    return Verdict(True, "checks", f"{code(branch)} asks for {listed(rules.checks)} to be green.")


def _queue(branch: str, rules: BranchRules) -> Verdict:
    if not rules.queue:
        return Verdict(True, "queue", "There is no merge queue.")
    return Verdict(True, "queue", f"{code(branch)} is merged into through GitHub's merge queue.")
