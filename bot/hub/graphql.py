"""What GitHub has in GraphQL alone; all else is answered by an error that says so.

A document is held against GitHub's schema as far as the hub knows it (`github.graphql`), and
answered with what it selects.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLScalarType,
    GraphQLSchema,
    OperationType,
    build_schema,
    execute,
    get_operation_ast,
    parse,
    validate,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.hub.access import Actor, Anonymous, can_see
from bot.hub.actions import automerge, pulls
from bot.hub.actions.protection import has_queue, parameters, rulesets_of
from bot.hub.auth import authenticate
from bot.hub.core import Hub
from bot.hub.records import Pull, Repository, Ruleset
from bot.hub.refusals import Refusal
from bot.hub.render.issues import issue_page
from bot.hub.render.pulls import conversation
from bot.hub.repositories import Bare
from bot.hub.rest.door import befall, body_of, refuse_after

PATH = "/api/graphql"

TOKENS_MAX = 1_000
"""Tokens of a document: many times what ours have, and far from what overflows a stack."""

MORE = "(The hub has of GitHub's schema what REST lacks: use REST for all else.)"

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
        document = parse(str(body.get("query", "")), max_tokens=TOKENS_MAX)
    except GraphQLError as error:
        return {"errors": [error.formatted]}
    if wrong := validate(schema(), document):
        # Whoever asks for more is told where it is.
        return {"errors": [{**e.formatted, "message": f"{e.message} {MORE}"} for e in wrong]}
    operation = get_operation_ast(document)
    is_change = operation is not None and operation.operation is OperationType.MUTATION
    root = _writes(hub, actor) if is_change else _reads(hub, actor)
    done = execute(schema(), document, root, variable_values=given)
    found = await done if isinstance(done, Awaitable) else done
    return {"data": found.data, **_errors(found.errors)}


def _errors(found: Sequence[GraphQLError] | None) -> dict[str, Any]:
    return {"errors": [_error(each) for each in found]} if found else {}


def _error(found: GraphQLError) -> dict[str, Any]:
    refusal = found.original_error
    if not isinstance(refusal, Refusal):
        return dict(found.formatted)
    kind = TYPES.get(refusal.code, "UNPROCESSABLE")
    return {"type": kind, **found.formatted, "message": refusal.message}


@functools.cache
def schema() -> GraphQLSchema:
    """Read the schema."""
    made = build_schema(Path(__file__).with_name("github.graphql").read_text())
    sha = made.type_map["GitObjectID"]
    assert isinstance(sha, GraphQLScalarType)
    sha.coerce_input_value = _sha
    return made


def _sha(given: Any) -> str:
    if not isinstance(given, str) or not _SHA.fullmatch(given):
        raise GraphQLError(f"{given!r} is no id of a git object.")
    return given


_SHA = re.compile("[0-9a-f]{40}")


def _reads(hub: Hub, actor: Actor) -> Object:
    async def node(_: Any, id: str) -> Object:
        return _pull_fields(hub, _pull(hub, actor, id))

    async def repository(_: Any, owner: str, name: str, **_more: Any) -> Object:
        found = hub.repository(f"{owner}/{name}")
        if found is None or not can_see(actor, found):
            said = f"Could not resolve to a Repository with the name '{owner}/{name}'."
            raise Refusal(404, said)
        return _repository_fields(hub, found)

    return {"node": node, "repository": repository}


def _writes(hub: Hub, actor: Actor) -> Object:
    def field(mutation: Mutation) -> Callable[..., Awaitable[Object]]:
        async def change(_: Any, input: Given) -> Object:
            pull = _pull(hub, actor, input["id" if "id" in input else "pullRequestId"])
            pull = await mutation(hub, actor, pull, input)
            fields = _pull_fields(hub, pull)
            return {
                "clientMutationId": input.get("clientMutationId"),
                "pullRequest": fields,
                "mergeQueueEntry": fields["mergeQueueEntry"],
            }

        return change

    return {name: field(mutation) for name, mutation in MUTATIONS.items()}


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
    async def queue(_: Any, branch: str | None = None) -> Object | None:
        has = has_queue(hub, repo, branch or repo.default_branch)
        return {"id": f"MQ_{repo.id}"} if has else None

    async def ref(_: Any, qualifiedName: str) -> Object | None:
        name = qualifiedName
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


def _pull(hub: Hub, actor: Actor, node: object) -> Pull:
    number = str(node).removeprefix("PR_")
    found = hub.state.pulls.get(int(number)) if number.isdecimal() else None
    if found is None or not can_see(actor, hub.state.repositories[found.repo_id]):
        raise Refusal(404, f"Could not resolve to a node with the global id of '{node}'")
    return found
