"""Whether a stranger's pull request may be worked on: only where somebody trusts this very commit.

Nothing of a pull request that no run made is ever run by itself. With `trust: checks` a maintainer
may write `/orchestrate trust SHA` on it: the repository's checks, as the default branch has them,
then run on that commit, in the sandbox, without the network, without any secret and on what the
default branch has installed. No agent works on it, and nothing is pushed or merged. It is bound to
that one commit: whatever is pushed afterwards is not trusted, and ends checks that are under way.
"""

from __future__ import annotations

import re

from policies.approval import SHORTEST_SHA
from policies.config import Config
from policies.facts import TrustFacts
from policies.verdict import Verdict, code, in_turn

RULE = "trust"

_HEX = re.compile(r"[0-9a-f]{7,40}")


def check_trust(facts: TrustFacts, config: Config) -> Verdict:
    """Judge whether a person's trust counts: allowed here, of an open one, and of its head."""
    return in_turn(RULE, (_allowed(config), _open(facts), _of_the_head(facts)))


def _allowed(config: Config) -> Verdict:
    if config.trust == "checks":
        return Verdict(True, "allowed", "`trust: checks` lets checks run on it.")
    return Verdict(
        False,
        "allowed",
        "Pull requests that no run made are not worked on here. A maintainer may write"
        " `trust: checks` in the configuration on the default branch; then checks run on a commit"
        " that is trusted by name.",
    )


def _open(facts: TrustFacts) -> Verdict:
    if facts.is_open:
        return Verdict(True, "open", "It is open.")
    return Verdict(False, "open", "This pull request is closed; reopen it first.")


def _of_the_head(facts: TrustFacts) -> Verdict:
    seen, head = facts.seen_sha.lower(), facts.head_sha.lower()
    now = code(facts.head_sha[:SHORTEST_SHA])
    if not _HEX.fullmatch(seen):
        return Verdict(
            False,
            "head",
            f"{code(facts.seen_sha)} is no commit's name: give at least {SHORTEST_SHA} of its"
            f" characters. The head is {now}; look at it first.",
        )
    if not head.startswith(seen):
        return Verdict(
            False,
            "head",
            f"{code(facts.seen_sha[:SHORTEST_SHA])} is not the head; it is {now} now. Look at that,"
            " and trust it by name.",
        )
    return Verdict(True, "head", f"The head is {now}.")
