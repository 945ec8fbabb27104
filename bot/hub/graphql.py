"""The GraphQL mutations that have no REST twin; all else is answered by an error that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.hub.access import Actor
from bot.hub.actions import pulls
from bot.hub.auth import authenticate
from bot.hub.core import Hub
from bot.hub.records import Pull
from bot.hub.refusals import Refusal, not_found
from bot.hub.render.issues import issue_page
from bot.hub.render.pulls import conversation
from bot.hub.rest.door import befall, body_of, refuse_after

PATH = "/api/graphql"

Mutation = Callable[[Hub, Actor, Pull], Awaitable[Pull]]

MUTATIONS: dict[str, Mutation] = {
    "markPullRequestReadyForReview": pulls.mark_ready,
    "convertPullRequestToDraft": pulls.convert_to_draft,
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
    query = str(body.get("query", ""))
    name = next((n for n in MUTATIONS if re.search(rf"\b{n}\s*\(", query)), None)
    if name is None:
        known = " and ".join(MUTATIONS)
        return _error(f"The hub knows only the mutations {known}: use REST for all else.")
    try:
        pull = await MUTATIONS[name](hub, actor, _pull(hub, query, body.get("variables")))
    except Refusal as refusal:
        return {**_error(refusal.message, TYPES.get(refusal.code, "UNPROCESSABLE"), [name]),
                "data": {name: None}}  # fmt: skip
    issue = conversation(hub, pull)
    shown = {
        "id": f"PR_{pull.id}",
        "number": pull.number,
        "isDraft": pull.draft,
        "state": issue.state.upper(),
        "url": issue_page(hub, issue),
    }
    return {"data": {name: {"clientMutationId": None, "pullRequest": shown}}}


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
