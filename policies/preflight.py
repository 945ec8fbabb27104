"""What is looked at beside the start of a run, so that no money is spent on what cannot land.

What the App cannot do at all stops the run. What people may want all the same, it asks: a base
whose own checks are red, a request that names a path which agents may not change, rules of the base
that take no commit of a run. `/resume` then goes on with it, and is not asked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from policies.branches import check_branch
from policies.config import Config
from policies.facts import Change, PreflightFacts
from policies.paths import check_paths
from policies.signing import SIGNATURES
from policies.verdict import Verdict, all_of, code, listed

RULE = "preflight"

NEEDED = {"contents": "pushes the branch and its record", "pull_requests": "opens the pull request",
          "checks": "writes the checks"}  # fmt: skip
"""What a run writes, by the App's permission that it takes."""

_FILE = 0o100644

_PATH = re.compile(r"(?<![\w./:@-])(?:[\w.-]+/)*[\w-]*\.?[\w-]+(?:\.[\w-]+)*(?![\w/@:-])")

PATHS_MAX = 50
"""Paths read out of one request: who names more means a kind of files, and not these."""


def named_paths(request: str) -> tuple[str, ...]:
    """Find what reads as a file in a request: with a folder before it, or a dot in its name."""
    words = (word.rstrip(".") for word in _PATH.findall(request))
    found = [word for word in words if "/" in word or re.search(r"\w\.\w|^\.\w", word)]
    return tuple(dict.fromkeys(found))[:PATHS_MAX]


def check_able(facts: PreflightFacts, config: Config) -> Verdict:
    """Judge whether the App can do what every run does; nobody can want otherwise."""
    children = [_open(facts), _branch(facts, config), *_permissions(facts)]
    verdict = all_of(RULE, children)
    if verdict.allowed:
        return Verdict(True, RULE, "The App can do all that a run does.", tuple(children))
    return verdict


def check_wanted(facts: PreflightFacts, config: Config) -> Verdict:
    """Judge what people may want all the same; a refusal is a question to them."""
    children = (
        check_branch(facts.branch, facts.rules, config),
        _base(facts, config),
        _paths(facts.named, config),
    )
    verdict = all_of(RULE, children)
    if verdict.allowed:
        return Verdict(True, RULE, "Nothing speaks against it.", children)
    return verdict


def _open(facts: PreflightFacts) -> Verdict:
    if not facts.archived:
        return Verdict(True, "repository", "The repository takes pushes.")
    return Verdict(
        False,
        "repository",
        "The repository is archived, so nothing can be pushed to it; have it unarchived, then"
        " `/resume`.",
    )


def _branch(facts: PreflightFacts, config: Config) -> Verdict:
    # What GitHub signs is let pass by a rule that asks for nothing else.
    closed = [each for each in facts.closed if config.commits == "git" or each != SIGNATURES]
    if not closed:
        return Verdict(True, "branch", "No rule closes the run's branch.")
    return Verdict(
        False,
        "branch",
        f"Rules of the repository close branches such as `orchestrate/…` ({listed(closed)});"
        " have an administrator let the App pass them, then `/resume`.",
    )


def _permissions(facts: PreflightFacts) -> Iterable[Verdict]:
    for name, does in NEEDED.items():
        if facts.permissions is None or facts.permissions.get(name) == "write":
            yield Verdict(True, name, f"The App {does}.")
        else:
            yield Verdict(
                False,
                name,
                f"The App may not write {code(name)}, by which it {does}; give it that in its"
                " settings and accept it where it is installed, then `/resume`.",
            )


def told(facts: PreflightFacts, config: Config) -> tuple[str, ...]:
    """Say what is only told, where the configuration has it not asked."""
    ask = config.preflight
    said = (
        _red(facts) if ask.red_base == "tell" else "",
        _closed(facts.named, config) if ask.closed_paths == "tell" else "",
    )
    return tuple(each for each in said if each)


def _base(facts: PreflightFacts, config: Config) -> Verdict:
    said = _red(facts)
    if not said:
        return Verdict(True, "base", f"No check is red on {code(facts.branch)}.")
    if config.preflight.red_base == "tell":
        return Verdict(True, "base", said)
    return Verdict(False, "base", f"{said} `/resume` works on it all the same.")


def _red(facts: PreflightFacts) -> str:
    red = [each.name for each in facts.base if each.state == "red"]
    return f"{code(facts.branch)} is red already: {listed(red)}." if red else ""


def _paths(named: Iterable[str], config: Config) -> Verdict:
    said = _closed(named, config)
    if not said:
        return Verdict(True, "paths", "The request names no path that agents may not change.")
    if config.preflight.closed_paths == "tell":
        return Verdict(True, "paths", said)
    return Verdict(
        False,
        "paths",
        f"{said} `/resume` works on the rest, `/cancel` ends it; `paths:` in the configuration"
        " opens what may be opened.",
    )


def _closed(named: Iterable[str], config: Config) -> str:
    closed = [path for path in named if not _may_change(path, config)]
    return (
        f"The request names {listed(closed)}, which agents may not change here." if closed else ""
    )


def _may_change(path: str, config: Config) -> bool:
    changed = Change(path, None, "modified", _FILE, _FILE, 1, 1, False, 1)
    return check_paths([changed], config).allowed
