"""Whether somebody keeps a pull request from being merged: by `/hold`, or by a label on it.

`/hold WHY` keeps a run from being merged until `/unhold`; so does each of the labels that
`hold: labels:` names, as long as it is on the pull request. An approval is noted and counts, and
`/approve` merges once nobody holds it any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from policies.config import Config
from policies.facts import HoldFacts
from policies.verdict import Verdict, all_of, code, listed

RULE = "hold"


def check_hold(facts: HoldFacts, config: Config) -> Verdict:
    """Judge whether anybody keeps a pull request from being merged."""
    return all_of(RULE, (_asked(facts), _labelled(facts, config)))


def holders(holds: Iterable[tuple[str, str]]) -> str:
    """Name those who hold a run, each with why where they said so."""
    told = [f"{code(by)}{f' ({code(why)})' if why else ''}" for by, why in sorted(set(holds))]
    return ", ".join(told)


def _asked(facts: HoldFacts) -> Verdict:
    if not facts.holds:
        return Verdict(True, "asked", "Nobody holds it by `/hold`.")
    return Verdict(
        False,
        "asked",
        f"It is held by {holders(facts.holds)}; `/unhold` lifts that, then `/approve` merges it.",
    )


def _labelled(facts: HoldFacts, config: Config) -> Verdict:
    named = {label.casefold() for label in config.hold.labels}
    found = [label for label in facts.labels if label.casefold() in named]
    if not found:
        return Verdict(True, "label", "No label holds it.")
    one = "a label" if len(set(found)) == 1 else "labels"
    return Verdict(
        False,
        "label",
        f"It is held by {one} on the pull request, {listed(found)}: take it off, then `/approve`.",
    )
