"""What GitHub has in GraphQL alone; all else is answered by an error that says so.

A document is held against GitHub's schema as far as the hub knows it, and answered with what it
selects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.hub.access import Actor, Anonymous, can_see
from bot.hub.actions import automerge, pulls
from bot.hub.actions.protection import has_queue, parameters, rulesets_of
from bot.hub.auth import authenticate
from bot.hub.core import Hub
from bot.hub.graphql_check import problems
from bot.hub.graphql_schema import OBJECTS, bare
from bot.hub.graphql_text import Selected, Unreadable, Variable, Word, read
from bot.hub.records import Pull, Repository, Ruleset
from bot.hub.refusals import Refusal
from bot.hub.render.issues import issue_page
from bot.hub.render.pulls import conversation
from bot.hub.repositories import Bare
from bot.hub.rest.door import befall, body_of, refuse_after

PATH = "/api/graphql"

Given = Mapping[str, Any]
Object = Mapping[str, Any]
"""What an object holds by its fields; a field that takes arguments is a function of them."""

Mutation = Callable[[Hub, Actor, Pull, Given], Awaitable[Pull]]


async def _ready(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    return await pulls.mark_ready(hub, actor, pull)


async def _draft(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    return await pulls.convert_to_draft(hub, actor, pull)


async def _enable(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    later = automerge.Later(
        str(given.get("mergeMethod") or "MERGE").lower(),
        given.get("commitHeadline"),
        given.get("commitBody"),
    )
    return await automerge.enable(hub, actor, pull, later, head=given.get("expectedHeadOid"))


async def _disable(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    return await automerge.disable(hub, actor, pull)


async def _enqueue(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    return await automerge.enqueue(hub, actor, pull, head=given.get("expectedHeadOid"))


async def _dequeue(hub: Hub, actor: Actor, pull: Pull, given: Given) -> Pull:
    await automerge.leave_queue(hub, actor, pull, reason="MANUAL")
    return pull


MUTATIONS: dict[str, Mutation] = {
    "markPullRequestReadyForReview": _ready,
    "convertPullRequestToDraft": _draft,
    "enablePullRequestAutoMerge": _enable,
    "disablePullRequestAutoMerge": _disable,
    "enqueuePullRequest": _enqueue,
    "dequeuePullRequest": _dequeue,
}

TYPES = {403: "FORBIDDEN", 404: "NOT_FOUND"}


def routes(hub: Hub) -> list[Route]:
    """The one address."""

    async def endpoint(request: Request) -> Response:
        try:
            rules = await befall(hub, request.method, PATH)
            actor = authenticate(hub, request.headers.get("authorization"))
            if isinstance(actor, Anonymous):
                raise Refusal(401, "This endpoint requires you to be authenticated.")
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
    given = body.get("variables") or {}
    try:
        operation = read(str(body.get("query", "")))
    except Unreadable as error:
        where = [{"line": error.line, "column": error.column}]
        return {"errors": [{"message": str(error), "locations": where}]}
    if wrong := problems(operation, given):
        return {"errors": wrong}
    fields = _reads(hub, actor) if operation.kind == "query" else _writes(hub, actor)
    data: dict[str, Any] = {}
    errors = []
    for each in operation.selected:
        try:
            data |= await _shown(operation.kind.capitalize(), (each,), fields, given)
        except Refusal as refusal:
            data[each.key] = None
            errors.append(_error(refusal, each))
    return {"data": data, **({"errors": errors} if errors else {})}


async def _shown(
    type: str, selected: tuple[Selected, ...], values: Object, given: Given
) -> dict[str, Any]:
    """Return of an object what is selected."""
    shown: dict[str, Any] = {}
    for each in selected:
        if each.on:
            shown |= await _shown(each.on, each.selected, values, given)
        elif each.name == "__typename":
            shown[each.key] = values.get("__typename", type)
        else:
            value = values.get(each.name)
            if callable(value):
                value = await value(_filled(each.arguments, given))
            if isinstance(value, Mapping):
                inner = bare(OBJECTS[type][each.name].type)
                value = await _shown(inner, each.selected, value, given)
            shown[each.key] = value
    return shown


def _filled(value: Any, given: Given) -> Any:
    """Put the variables in their places; what was not given is left out."""
    if isinstance(value, Variable):
        return given.get(value.name)
    if isinstance(value, Word):
        return value.name
    if isinstance(value, Mapping):
        filled = {name: _filled(each, given) for name, each in value.items()}
        return {name: each for name, each in filled.items() if each is not None}
    return value


def _reads(hub: Hub, actor: Actor) -> Object:
    async def node(given: Given) -> Object:
        return _pull_fields(hub, _pull(hub, actor, given["id"]))

    async def repository(given: Given) -> Object:
        name = f"{given['owner']}/{given['name']}"
        found = hub.repository(name)
        if found is None or not can_see(actor, found):
            raise Refusal(404, f"Could not resolve to a Repository with the name '{name}'.")
        return _repository_fields(hub, found)

    return {"node": node, "repository": repository}


def _writes(hub: Hub, actor: Actor) -> Object:
    def field(name: str, mutation: Mutation) -> Callable[[Given], Awaitable[Object]]:
        async def change(given: Given) -> Object:
            wanted = given["input"]
            pull = _pull(hub, actor, wanted["id" if "id" in wanted else "pullRequestId"])
            pull = await mutation(hub, actor, pull, wanted)
            fields = _pull_fields(hub, pull)
            return {
                "clientMutationId": wanted.get("clientMutationId"),
                "pullRequest": fields,
                "mergeQueueEntry": fields["mergeQueueEntry"],
            }

        return change

    return {name: field(name, mutation) for name, mutation in MUTATIONS.items()}


def _pull_fields(hub: Hub, pull: Pull) -> Object:
    issue = conversation(hub, pull)
    queued = pull.queued_by_id is not None
    later = pull.auto_method
    return {
        "__typename": "PullRequest",
        "id": f"PR_{pull.id}",
        "number": pull.number,
        "isDraft": pull.draft,
        "isInMergeQueue": queued,
        "state": "MERGED" if pull.merged_at else issue.state.upper(),
        "url": issue_page(hub, issue),
        "autoMergeRequest": later and {"commitBody": pull.auto_body, "mergeMethod": later.upper()},
        "mergeQueueEntry": {"id": f"MQE_{pull.id}", "position": 1, "state": "QUEUED"}
        if queued
        else None,
    }


def _repository_fields(hub: Hub, repo: Repository) -> Object:
    async def queue(given: Given) -> Object | None:
        branch = given.get("branch", repo.default_branch)
        return {"id": f"MQ_{repo.id}"} if has_queue(hub, repo, branch) else None

    async def ref(given: Given) -> Object | None:
        name = given["qualifiedName"]
        if name not in await hub.git(repo, Bare.refs, name):
            return None
        branch = name.removeprefix("refs/heads/")
        found = [r for r in rulesets_of(hub, repo, branch) if r.classic]
        rule = _ref_update_rule(found[-1]) if found else None
        return {"id": f"REF_{repo.id}:{name}", "name": branch, "refUpdateRule": rule}

    shown = {"id": f"R_{repo.id}", "autoMergeAllowed": repo.auto_merge}
    return {**shown, "mergeQueue": queue, "ref": ref}


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


def _error(refusal: Refusal, each: Selected) -> dict[str, Any]:
    return {
        "type": TYPES.get(refusal.code, "UNPROCESSABLE"),
        "path": [each.key],
        "locations": [{"line": each.line, "column": each.column}],
        "message": refusal.message,
    }


def _pull(hub: Hub, actor: Actor, node: object) -> Pull:
    number = str(node).removeprefix("PR_")
    found = hub.state.pulls.get(int(number)) if number.isdecimal() else None
    if found is None or not can_see(actor, hub.state.repositories[found.repo_id]):
        raise Refusal(404, f"Could not resolve to a node with the global id of '{node}'")
    return found
