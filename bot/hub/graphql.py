"""What GitHub has in GraphQL alone; all else is answered by an error that says so.

Of the query for a branch's rules and of the mutations the variables are read, not the selection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.hub.access import Actor, can_see
from bot.hub.actions import automerge, pulls
from bot.hub.actions.protection import has_queue, parameters, rulesets_of
from bot.hub.auth import authenticate
from bot.hub.core import Hub
from bot.hub.records import Pull, Ruleset
from bot.hub.refusals import Refusal, not_found
from bot.hub.render.issues import issue_page
from bot.hub.render.pulls import conversation
from bot.hub.rest.door import befall, body_of, refuse_after

PATH = "/api/graphql"

Given = Mapping[str, Any]
Mutation = Callable[[Hub, Actor, Pull, Given], Awaitable[Pull]]


async def _ready(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    return await pulls.mark_ready(hub, actor, pull)


async def _draft(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    return await pulls.convert_to_draft(hub, actor, pull)


async def _enable(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    method = str(given.get("method") or "MERGE").lower()
    return await automerge.enable(hub, actor, pull, method=method, head=given.get("head"))


async def _disable(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    return await automerge.disable(hub, actor, pull)


async def _enqueue(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    return await automerge.enqueue(hub, actor, pull, head=given.get("head"))


async def _dequeue(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    await automerge.leave_queue(hub, actor, pull, reason="MANUAL")
    return hub.state.pulls[pull.id]


MUTATIONS: dict[str, Mutation] = {
    "markPullRequestReadyForReview": _ready,
    "convertPullRequestToDraft": _draft,
    "enablePullRequestAutoMerge": _enable,
    "disablePullRequestAutoMerge": _disable,
    "enqueuePullRequest": _enqueue,
    "dequeuePullRequest": _dequeue,
}

INLINE_ID = re.compile(r'pullRequestId\s*:\s*"([^"]+)"')
TYPES = {401: "UNAUTHENTICATED", 403: "FORBIDDEN", 404: "NOT_FOUND"}


def routes(hub: Hub) -> list[Route]:
    """The one address."""

    async def endpoint(request: Request) -> Response:
        try:
            rules = await befall(hub, request.method, PATH)
            actor = authenticate(hub, request.headers.get("authorization"))
            body = await body_of(request)
        except Refusal as refusal:
            return JSONResponse(refusal.body(), refusal.code, headers=refusal.headers)
        answer = await _run(hub, actor, body)
        hub.state.commit()
        try:
            refuse_after(rules)
        except Refusal as refusal:
            return JSONResponse(refusal.body(), refusal.code, headers=refusal.headers)
        return JSONResponse(answer)

    return [Route(PATH, endpoint, methods=["POST"])]


async def _run(hub: Hub, actor: Actor, body: dict[str, Any]) -> dict[str, Any]:
    query, given = str(body.get("query", "")), body.get("variables") or {}
    if "refUpdateRule" in query:
        return _rules(hub, actor, given)
    if "isInMergeQueue" in query:
        found = _pull(hub, query, given)
        return {"data": {"node": {"isInMergeQueue": found.queued_by_id is not None}}}
    name = next((n for n in MUTATIONS if re.search(rf"\b{n}\s*\(", query)), None)
    if name is None:
        known = " and ".join(MUTATIONS)
        return _error(
            f"The hub knows only the mutations {known} and the rules of a branch: use REST for all "
            "else."
        )
    try:
        pull = await MUTATIONS[name](hub, actor, _pull(hub, query, given), given)
    except Refusal as refusal:
        return {**_error(refusal.message, TYPES.get(refusal.code, "UNPROCESSABLE"), [name]),
                "data": {name: None}}  # fmt: skip
    return {"data": {name: {"clientMutationId": None, **_answer(hub, name, pull)}}}


def _answer(hub: Hub, name: str, pull: Pull) -> dict[str, Any]:
    if name in ("enqueuePullRequest", "dequeuePullRequest"):
        return {"mergeQueueEntry": {"state": "QUEUED", "position": 1}}
    issue = conversation(hub, pull)
    shown = {
        "id": f"PR_{pull.id}",
        "number": pull.number,
        "isDraft": pull.draft,
        "state": issue.state.upper(),
        "url": issue_page(hub, issue),
    }
    return {"pullRequest": shown}


def _rules(hub: Hub, actor: Actor, given: dict[str, Any]) -> dict[str, Any]:
    """What everybody who may read is told of a branch that is protected in the older way."""
    repo = hub.repository(f"{given.get('owner')}/{given.get('name')}")
    if repo is None or not can_see(actor, repo):
        return _error("Could not resolve to a Repository.", "NOT_FOUND", ["repository"])
    branch = str(given.get("ref", "")).removeprefix("refs/heads/")
    found = [r for r in rulesets_of(hub, repo, branch) if r.classic]
    queue = {"id": f"MQ_{repo.id}"} if has_queue(hub, repo, branch) else None
    rule = _ref_update_rule(found[-1]) if found else None
    shown = {"autoMergeAllowed": repo.auto_merge, "mergeQueue": queue}
    return {"data": {"repository": {**shown, "ref": {"refUpdateRule": rule}}}}


def _ref_update_rule(found: Ruleset) -> dict[str, Any]:
    reviews = parameters(found.rules, "pull_request")
    checks = parameters(found.rules, "required_status_checks")
    contexts = [each["context"] for c in checks for each in c["required_status_checks"]]
    return {
        "requiredApprovingReviewCount": reviews[0]["required_approving_review_count"]
        if reviews
        else None,
        "requiresCodeOwnerReviews": bool(reviews and reviews[0]["require_code_owner_review"]),
        "requiredStatusCheckContexts": contexts,
        "requiresLinearHistory": bool(parameters(found.rules, "required_linear_history")),
        "requiresSignatures": bool(parameters(found.rules, "required_signatures")),
        "viewerCanPush": True,
    }


def _error(message: str, kind: str = "INVALID", path: list[str] | None = None) -> dict[str, Any]:
    return {"data": None, "errors": [{"type": kind, "path": path or [], "message": message}]}


def _pull(hub: Hub, query: str, variables: object) -> Pull:
    given = INLINE_ID.search(query)
    texts = [given[1]] if given else re.findall(r'"(PR_\d+)"', json.dumps(variables or {}))
    for text in texts:
        number = text.removeprefix("PR_")
        found = hub.state.pulls.get(int(number)) if number.isdecimal() else None
        if found is not None:
            return found
    raise not_found()
