"""The rules of a branch: which hold, and what of them a pull request does not meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from bot.hub.access import at_least, role_of
from bot.hub.core import Hub
from bot.hub.records import Pull, Repository, Ruleset
from bot.hub.repositories import Bare

Rule = Mapping[str, Any]

GREEN = ("success", "neutral", "skipped")


def rulesets_of(hub: Hub, repo: Repository, branch: str) -> list[Ruleset]:
    """The rulesets that name a branch, oldest first."""
    return [
        each
        for each in hub.state.rulesets.where(repo=repo.id)
        if any(_is_named(repo, branch, pattern) for pattern in each.branches)
    ]


def _is_named(repo: Repository, branch: str, pattern: str) -> bool:
    if pattern == "~DEFAULT_BRANCH":
        return branch == repo.default_branch
    return pattern == "~ALL" or fnmatchcase(branch, pattern.removeprefix("refs/heads/"))


def rules_of(hub: Hub, repo: Repository, branch: str) -> list[Rule]:
    """The rules of a branch, whoever laid them down and in whichever words."""
    return [rule for each in rulesets_of(hub, repo, branch) for rule in each.rules]


def parameters(rules: Iterable[Rule], kind: str) -> list[Mapping[str, Any]]:
    """The parameters of all rules of a kind; empty ones for a rule that has none."""
    return [rule.get("parameters") or {} for rule in rules if rule["type"] == kind]


def has_queue(hub: Hub, repo: Repository, branch: str) -> bool:
    """Whether a branch is merged into through a queue."""
    return bool(parameters(rules_of(hub, repo, branch), "merge_queue"))


async def unmet(hub: Hub, pull: Pull, method: str) -> list[str]:
    """What keeps a pull request from being merged in this way, in GitHub's words."""
    repo = hub.state.repositories[pull.repo_id]
    rules = rules_of(hub, repo, pull.base_ref)
    return [
        *_reviews(hub, repo, pull, rules),
        *_checks(hub, repo, pull, rules),
        *_method(rules, method),
        *await _signatures(hub, repo, pull, rules),
    ]


def _reviews(hub: Hub, repo: Repository, pull: Pull, rules: list[Rule]) -> list[str]:
    wanted = max(
        (p["required_approving_review_count"] for p in parameters(rules, "pull_request")), default=0
    )
    last = {
        each.author_id: each.state
        for each in hub.state.reviews.where(number=(repo.id, pull.number))
        if each.state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
        and at_least(role_of(repo, hub.state.users[each.author_id]), "write")
    }
    if wanted and "CHANGES_REQUESTED" in last.values():
        return ["Changes must be addressed before merging."]
    if list(last.values()).count("APPROVED") >= wanted:
        return []
    noun = "review is" if wanted == 1 else "reviews are"
    return [f"At least {wanted} approving {noun} required by reviewers with write access."]


def _checks(hub: Hub, repo: Repository, pull: Pull, rules: list[Rule]) -> list[str]:
    ended = {s.context: s.state for s in hub.state.statuses.where(sha=(repo.id, pull.head_sha))}
    for run in hub.state.check_runs.where(sha=(repo.id, pull.head_sha)):
        ended[run.name] = run.conclusion or "pending"
    named = [
        check["context"]
        for given in parameters(rules, "required_status_checks")
        for check in given["required_status_checks"]
    ]
    found = {name: ended.get(name) for name in named}
    words = {None: "expected", "pending": "in progress"}
    return [
        f'Required status check "{name}" is {words.get(state, "failing")}.'
        for name, state in found.items()
        if state not in GREEN
    ]


def _method(rules: list[Rule], method: str) -> list[str]:
    if parameters(rules, "required_linear_history") and method == "merge":
        return ["This branch must not contain merge commits."]
    allowed = [p.get("allowed_merge_methods") for p in parameters(rules, "pull_request")]
    if any(methods is not None and method not in methods for methods in allowed):
        return [f"{method} merges are not allowed by the rules of this branch."]
    return []


async def _signatures(hub: Hub, repo: Repository, pull: Pull, rules: list[Rule]) -> list[str]:
    if not parameters(rules, "required_signatures"):
        return []
    span = f"{pull.base_sha}..{pull.head_sha}"
    for each in await hub.git(repo, Bare.commits, span):
        if hub.state.verified.one(sha=(repo.id, each.sha)) is None:
            return ["Commits must have verified signatures."]
    return []
