"""Whether a stranger's pull request may be worked on: only where somebody trusts this very commit.

Nothing of a pull request that no run made is ever run by itself. With `trust: checks` a maintainer
may write `/orchestrate trust SHA` on it: the repository's checks, as the default branch has them,
then run on that commit, in the sandbox, without the network, without any secret and on what the
default branch has installed. No agent works on it, and nothing is pushed or merged. It is bound to
that one commit: whatever is pushed afterwards is not trusted, and ends checks that are under way.

With `trust: agents` that word also lets `/orchestrate REQUEST` be given there, by whoever may start
a run: it goes on from exactly the trusted commit, on a branch of this repository and in a pull
request of its own, which says whose work it continues and how its author takes it. The bot never
pushes to a fork: GitHub lets people do that, but promises it to no App. What the stranger changed
is not installed, and Git LFS is asked for nothing of it. Where they changed what instructs agents,
or what agents may not change, no run begins. The run's commits say `[skip ci]`, so that GitHub runs
no workflow of the repository, with its secrets, on them: a person who pushes a commit to the branch
decides that. A new push to the stranger's pull request voids the trust and pauses the run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from policies.approval import SHORTEST_SHA
from policies.config import Config
from policies.facts import Change, TrustFacts, WorkFacts
from policies.paths import check_paths, instructions
from policies.verdict import Verdict, code, in_turn, listed

RULE = "trust"

_HEX = re.compile(r"[0-9a-f]{7,40}")


def check_trust(facts: TrustFacts, config: Config) -> Verdict:
    """Judge whether a person's trust counts: allowed here, of an open one, and of its head."""
    return in_turn(RULE, (_allowed(config), _open(facts.is_open), _of_the_head(facts)))


def check_work(facts: WorkFacts, config: Config) -> Verdict:
    """Judge whether a run may go on from a stranger's head: allowed here, open, and trusted."""
    return in_turn(RULE, (_agents(config), _open(facts.is_open), _trusted(facts)))


def check_changed(changes: Sequence[Change], config: Config) -> Verdict:
    """Judge what a stranger changed, before an agent reads it and it is pushed to a branch here."""
    return in_turn(RULE, (_instructs(changes), _closed(changes, config)))


def _agents(config: Config) -> Verdict:
    if config.trust == "agents":
        return Verdict(True, "allowed", "`trust: agents` lets runs go on from it.")
    return Verdict(
        False,
        "allowed",
        "This pull request belongs to no run; give the request on an issue. Agents work on such"
        " only where `trust: agents` is in the configuration on the default branch.",
    )


def _trusted(facts: WorkFacts) -> Verdict:
    now = code(facts.head_sha[:SHORTEST_SHA])
    if facts.head_sha in facts.trusted:
        return Verdict(True, "trusted", f"The head, {now}, is trusted by name.")
    since = ", which was pushed since another one was trusted" if facts.trusted else ""
    return Verdict(
        False,
        "trusted",
        f"Nobody trusts the head, {now}{since}: look at it first; then a maintainer may write"
        f" `/orchestrate trust {facts.head_sha[:SHORTEST_SHA]}`.",
    )


_APART = (
    "Have people merge that apart, and the rest rebased onto it; `/orchestrate trust SHA` runs the"
    " checks on it as it is."
)


def _instructs(changes: Sequence[Change]) -> Verdict:
    paths = {path for each in changes for path in (each.path, each.old_path) if path}
    if found := instructions(paths):
        said = f"It changes {listed(found)}, which instructs agents. {_APART}"
        return Verdict(False, "instructions", said)
    return Verdict(True, "instructions", "It changes nothing that instructs agents.")


def _closed(changes: Sequence[Change], config: Config) -> Verdict:
    verdict = check_paths(changes, config) if changes else None
    if verdict is None or verdict.allowed:
        return Verdict(True, "paths", "It changes nothing that agents may not change.")
    said = f"It changes what agents may not change here: {verdict.reason} {_APART}"
    return Verdict(False, "paths", said)


def _allowed(config: Config) -> Verdict:
    if config.trust != "off":
        return Verdict(True, "allowed", f"`trust: {config.trust}` lets checks run on it.")
    return Verdict(
        False,
        "allowed",
        "Pull requests that no run made are not worked on here. A maintainer may write"
        " `trust: checks` in the configuration on the default branch; then checks run on a commit"
        " that is trusted by name.",
    )


def _open(is_open: bool) -> Verdict:
    if is_open:
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
