"""What every request to the REST passes: identity, faults, limits, JSON, tags, refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.hub import limits
from bot.hub.access import Actor, Anonymous, can_see, require
from bot.hub.auth import authenticate
from bot.hub.core import Hub
from bot.hub.faults import Rule
from bot.hub.records import Repository
from bot.hub.refusals import Refusal, bad_credentials, not_found
from bot.hub.render import Json
from bot.hub.repositories import GitFailed

PREFIX = "/api/v3"

# The largest request that makes sense here: a blob as base64.
REQUEST_LIMIT = 64 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: JSON, or `raw` bytes of another kind."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    media: str = "application/json; charset=utf-8"


CREATED = 201
NO_CONTENT = Reply(status=204)


@dataclass(frozen=True, slots=True)
class Call:
    """A request with what is known about it."""

    hub: Hub
    request: Request
    actor: Actor
    body: Json

    @property
    def params(self) -> Mapping[str, Any]:
        """What the path says."""
        return self.request.path_params

    @property
    def query(self) -> Mapping[str, str]:
        """What the query says."""
        return self.request.query_params

    @property
    def repo(self) -> Repository:
        """The repository that the path names; 404 where the actor may not see it."""
        found = self.hub.repository(f"{self.params['owner']}/{self.params['repo']}")
        if found is None or not can_see(self.actor, found):
            raise not_found()
        return found

    def reads(self, scopes: str) -> Repository:
        """`repo`, where the actor may read what these App permissions cover."""
        repo = self.repo
        require(self.actor, repo, scopes, "read")
        return repo

    def text(self, name: str, default: str | None = None) -> str | None:
        """A text of the body; 422 where it is something else."""
        found = self.body.get(name)
        if found is None:
            return default
        if not isinstance(found, str):
            raise self.wrong(name)
        return found

    def texts(self, name: str) -> list[str] | None:
        """A list of texts of the body, or None where it is missing."""
        found = self.body.get(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(isinstance(x, str) for x in found):
            raise self.wrong(name)
        return found

    def needed(self, name: str) -> str:
        """A text of the body that must be there."""
        found = self.text(name)
        if found is None:
            raise Refusal(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        return found

    def wrong(self, name: str) -> Refusal:
        """The refusal of a field of the wrong type."""
        return Refusal(422, f"Invalid request.\n\nThe type of {name} is wrong.")

    def page(
        self,
        items: Sequence[T],
        render: Callable[[T], Any],
        *,
        under: str | None = None,
        total: int | None = None,
    ) -> Reply:
        """One page of a list; `under` puts it under that key, beside `total_count`."""
        per_page = limits.number(self.query.get("per_page"), limits.PER_PAGE,
                                 limits.PER_PAGE_LIMIT)  # fmt: skip
        page = limits.number(self.query.get("page"), 1)
        last = max(ceil(len(items) / per_page), 1)
        shown = [render(x) for x in items[(page - 1) * per_page : page * per_page]]
        address = f"{self.hub.url}{self.request.url.path}"
        headers = limits.links(address, self.query, page, last)
        if under is None:
            return Reply(shown, headers=headers)
        count = len(items) if total is None else total
        return Reply({"total_count": count, under: shown}, headers=headers)


Handler = Callable[[Call], Awaitable[Reply]]
Table = Sequence[tuple[str, str, Handler]]


def routes(hub: Hub, table: Table) -> list[Route]:
    """The table's routes, each behind the door."""
    return [
        Route(PREFIX + path, _endpoint(hub, handler), methods=[method], name=handler.__name__)
        for method, path, handler in table
    ]


def _endpoint(hub: Hub, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        actor: Actor = Anonymous()
        try:
            rules = await befall(hub, request.method, request.url.path.removeprefix(PREFIX))
            actor = authenticate(hub, request.headers.get("authorization"))
            limits.spend(hub, actor)
            call = Call(hub, request, actor, await body_of(request))
            reply = await handler(call)
            hub.state.commit()
            refuse_after(rules)
        except Refusal as refusal:
            hub.state.commit()
            reply = Reply(refusal.body(), refusal.code, refusal.headers)
        except GitFailed as failed:
            hub.state.commit()
            reply = Reply(Refusal(422, f"Git refused: {failed}").body(), 422)
        return _response(hub, request, actor, reply)

    return endpoint


async def befall(hub: Hub, method: str, path: str) -> list[Rule]:
    """Let the faults for this request happen that come before its effect; gives them all."""
    rules = hub.faults.take(method, path)
    for rule in rules:
        if rule.seconds:
            await asyncio.sleep(rule.seconds)
    for rule in rules:
        if rule.status is not None and not rule.after:
            raise Refusal(rule.status, rule.message, headers=rule.headers)
    return rules


def refuse_after(rules: Sequence[Rule]) -> None:
    """Let the fault happen that comes after the effect."""
    for rule in rules:
        if rule.status is not None and rule.after:
            raise Refusal(rule.status, rule.message, headers=rule.headers)


async def body_of(request: Request) -> Json:
    """The JSON of a request; a bare list is found under an empty name."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > REQUEST_LIMIT:
            raise Refusal(413, "Request entity too large")
    if not data:
        return {}
    try:
        found = json.loads(data)
    except ValueError as error:
        raise Refusal(400, "Problems parsing JSON") from error
    if isinstance(found, list):
        return {"": found}  # some label endpoints take a bare list
    if not isinstance(found, dict):
        raise Refusal(400, "Body should be a JSON object")
    return found


def _response(hub: Hub, request: Request, actor: Actor, reply: Reply) -> Response:
    headers = {"x-github-media-type": "github.v3; format=json",
               **limits.headers(hub, actor), **reply.headers}  # fmt: skip
    if reply.status == 204:
        return Response(status_code=204, headers=headers)
    data = reply.raw
    if data is None:
        data = json.dumps(reply.body, ensure_ascii=False, separators=(",", ":")).encode()
    if request.method == "GET" and reply.status == 200:
        tag = limits.entity_tag(data)
        headers |= {"ETag": tag, "Cache-Control": "private, max-age=60, s-maxage=60"}
        if _known(request, tag):
            limits.give_back(hub, actor)
            return Response(status_code=304, headers=headers | limits.headers(hub, actor))
    return Response(data, reply.status, headers, media_type=reply.media)


def _known(request: Request, tag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return tag.removeprefix("W/") in (g.strip().removeprefix("W/") for g in given.split(","))


def somewhere(call: Call) -> None:
    """Refuse nobody in particular."""
    if isinstance(call.actor, Anonymous):
        raise (
            bad_credentials()
            if call.request.headers.get("authorization")
            else Refusal(401, "Requires authentication")
        )
