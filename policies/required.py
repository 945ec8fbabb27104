"""The repository's own checks on GitHub that a merge waits for, each by its name.

A name is that of a check run or of a commit status. The configuration names them, and so may the
base's branch rules. What is not there yet is waited for; what is red stops the merge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from policies.config import Config
from policies.facts import BranchRules, CheckState, Reported, RequiredFacts
from policies.verdict import Verdict, all_of, code

RULE = "required"

_WORST: tuple[CheckState, ...] = ("red", "pending", "green")


def required(config: Config, rules: BranchRules) -> tuple[str, ...]:
    """Name what must be green on the head, each once, in the order of the configuration."""
    return tuple(dict.fromkeys((*config.merge.checks, *rules.checks)))


def check_required(facts: RequiredFacts) -> Verdict:
    """Judge each required check by what GitHub says of it; what people set aside passes."""
    if not facts.names:
        return Verdict(True, RULE, "No checks of the repository's own are waited for.")
    states = {name: _state(name, facts.reported) for name in facts.names}
    aside = frozenset(facts.set_aside)
    children = [_check(name, states[name], name in aside) for name in sorted(states)]
    verdict = all_of(RULE, children)
    if verdict.allowed:
        return Verdict(True, RULE, "The repository's own checks are green.", tuple(children))
    return verdict


def waits(facts: RequiredFacts) -> bool:
    """Say whether nothing is red and something may still become green by itself."""
    counted = [_state(n, facts.reported) for n in facts.names if n not in facts.set_aside]
    return "red" not in counted and any(each in ("pending", "missing") for each in counted)


def unmet(facts: RequiredFacts) -> tuple[Reported, ...]:
    """Return what is not green and counts, by name."""
    found = [Reported(name, _state(name, facts.reported)) for name in sorted(set(facts.names))]
    return tuple(each for each in found if _counts(each, facts.set_aside))


def _counts(each: Reported, set_aside: Collection[str]) -> bool:
    return each.state != "green" and each.name not in set_aside


def _state(name: str, reported: Iterable[Reported]) -> CheckState:
    """Return the worst of what bears this name: two programs may use the same one."""
    said = {each.state for each in reported if each.name == name}
    return next((each for each in _WORST if each in said), "missing")


def _check(name: str, state: str, aside: bool) -> Verdict:
    shown, instead = code(name), f"`/override {name} WHY` sets it aside"
    if aside:
        return Verdict(True, name, f"{shown} was set aside for this head.")
    if state == "green":
        return Verdict(True, name, f"{shown} is green.")
    if state == "pending":
        return Verdict(False, name, f"{shown} is in progress; wait for it, or {instead}.")
    if state == "missing":
        return Verdict(
            False,
            name,
            f"{shown} has not reported on this head; see that the repository's CI runs on it, or"
            f" {instead}.",
        )
    return Verdict(
        False,
        name,
        f"{shown} is red on this head; `/orchestrate REQUEST` has it mended, or {instead}.",
    )
