"""What GitHub asks of a branch, and what CI said of a commit: read, and never believed for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog

from bot.errors import Refused
from bot.github.answers import number_of, text_of
from bot.github.checks import PREFIX
from bot.github.client import STATUSES, GitHubApp, Session
from bot.github.once import repo_path
from bot.runs.model import Repository, Run
from bot.runs.ports import Surroundings
from policies.facts import METHODS, BranchRules, CheckState, Reported
from policies.signing import SIGNATURES

log = structlog.get_logger()

GREEN = frozenset({"success", "neutral", "skipped"})
"""Conclusions of check runs that GitHub's own branch rules take."""

_QUERY = (
    "query($owner: String!, $name: String!, $ref: String!, $branch: String!) {"
    " repository(owner: $owner, name: $name) { autoMergeAllowed mergeQueue(branch: $branch) { id }"
    " ref(qualifiedName: $ref) { refUpdateRule { requiredApprovingReviewCount"
    " requiresCodeOwnerReviews requiredStatusCheckContexts requiresLinearHistory"
    " requiresSignatures } } } }"
)
"""The older branch protection, as whoever may read is told it: REST tells it to administrators
alone, and the App is none."""


async def rules_of(session: Session, repository: Repository, branch: str) -> BranchRules:
    """Ask for all rules of a branch: those of rulesets, and the older protection."""
    rulesets, older = await asyncio.gather(
        _rulesets(session, repository, branch), _older(session, repository, branch)
    )
    return joined(rulesets, older)


async def _rulesets(
    session: Session, repository: Repository, branch: str
) -> Sequence[Mapping[str, Any]]:
    path = f"{repo_path(repository)}/rules/branches/{quote(branch, safe='')}"
    try:
        return [each async for each in session.pages(path)]
    except Refused as error:
        # A server that knows no rulesets has none.
        log.info("no rulesets", repository=repository.id, error=str(error))
        return ()


async def _older(session: Session, repository: Repository, branch: str) -> Mapping[str, Any]:
    variables = {
        "owner": repository.owner,
        "name": repository.name,
        "ref": f"refs/heads/{branch}",
        "branch": branch,
    }
    try:
        data = await session.graphql("the rules of a branch", _QUERY, variables)
    except Refused as error:
        log.info("no branch protection read", repository=repository.id, error=str(error))
        return {}
    return _map(data.get("repository"))


def joined(rulesets: Sequence[Mapping[str, Any]], older: Mapping[str, Any]) -> BranchRules:
    """Read rules into our own words: each holds, whoever laid it down."""
    rule = _map(_map(older.get("ref")).get("refUpdateRule"))
    asked = _parameters(rulesets, "pull_request")
    kinds = {text_of(each, "type") for each in rulesets}
    counts = [number_of(each, "required_approving_review_count") or 0 for each in asked]
    checks = [
        text_of(check, "context")
        for each in _parameters(rulesets, "required_status_checks")
        for check in _maps(each.get("required_status_checks"))
    ]
    contexts = rule.get("requiredStatusCheckContexts")
    named = contexts if isinstance(contexts, list) else []
    allowed = [frozenset(each["allowed_merge_methods"]) for each in asked
               if isinstance(each.get("allowed_merge_methods"), list)]  # fmt: skip
    return BranchRules(
        reviews=max(*counts, number_of(rule, "requiredApprovingReviewCount") or 0, 0),
        code_owners=any(each.get("require_code_owner_review") for each in asked)
        or bool(rule.get("requiresCodeOwnerReviews")),
        stale=any(each.get("dismiss_stale_reviews_on_push") for each in asked),
        checks=tuple(dict.fromkeys(name for name in (*checks, *map(str, named)) if name)),
        queue="merge_queue" in kinds or bool(older.get("mergeQueue")),
        linear="required_linear_history" in kinds or bool(rule.get("requiresLinearHistory")),
        signatures=SIGNATURES in kinds or bool(rule.get("requiresSignatures")),
        methods=tuple(each for each in METHODS if all(each in some for some in allowed)),
        auto_merge=bool(older.get("autoMergeAllowed")),
    )


def _parameters(rules: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [_map(each.get("parameters")) for each in rules if text_of(each, "type") == kind]


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


async def reported_on(
    app: GitHubApp, repository: Repository, sha: str, names: Collection[str] | None
) -> tuple[Reported, ...]:
    """Ask what check runs and statuses of these names say of a commit; None asks for all."""
    runs, statuses = await asyncio.gather(
        _runs(app.session(repository), repository, sha),
        _statuses(app.session(repository, STATUSES), repository, sha),
    )
    found = [*runs, *statuses]
    return tuple(each for each in found if names is None or each.name in names)


async def _runs(session: Session, repository: Repository, sha: str) -> list[Reported]:
    path = f"{repo_path(repository)}/commits/{sha}/check-runs"
    pages = session.pages(path, {"filter": "latest"}, key="check_runs")
    return [Reported(text_of(each, "name"), _run_state(each)) async for each in pages]


def _run_state(run: Mapping[str, Any]) -> CheckState:
    if text_of(run, "status") != "completed":
        return "pending"
    return "green" if text_of(run, "conclusion") in GREEN else "red"


async def _statuses(session: Session, repository: Repository, sha: str) -> list[Reported]:
    path = f"{repo_path(repository)}/commits/{sha}/status"
    states: Mapping[str, CheckState] = {"success": "green", "pending": "pending"}
    try:
        return [
            Reported(text_of(each, "context"), states.get(text_of(each, "state"), "red"))
            async for each in session.pages(path, key="statuses")
        ]
    except Refused as error:
        # An installation that has not accepted the permission yet: check runs are told all the
        # same, and a status that is waited for is named as missing.
        if error.status not in (403, 422):
            raise
        log.warning("statuses not read", repository=repository.id, error=str(error))
        return []


CLOSING = frozenset({"creation", "update", SIGNATURES})
"""Rules that keep the App from pushing a branch which nobody lets it pass by."""


@dataclass(frozen=True, slots=True)
class Laws:
    """The rules of a run's base, and the names of those that close the run's own branch."""

    rules: BranchRules
    closed: tuple[str, ...]


async def laws_of(session: Session, run: Run) -> Laws:
    """Ask for the rules of the branches that a run's commits go to."""
    rules, own = await asyncio.gather(
        rules_of(session, run.repository, run.base),
        _rulesets(session, run.repository, run.branch),
    )
    return Laws(rules, tuple(sorted({text_of(each, "type") for each in own} & CLOSING)))


async def surroundings_of(app: GitHubApp, run: Run, laws: Awaitable[Laws]) -> Surroundings:
    """Ask for all that a run begins in, side by side."""
    repository = run.repository
    session = app.session(repository)
    known, reported, data = await asyncio.gather(
        laws,
        reported_on(app, repository, run.base_sha, None),
        session.find(f"/repositories/{repository.id}"),
    )
    # What we say there ourselves is about the configuration, and told elsewhere.
    theirs = tuple(each for each in reported if not each.name.startswith(PREFIX))
    archived = bool((data or {}).get("archived"))
    return Surroundings(known.rules, theirs, known.closed, None, archived)
