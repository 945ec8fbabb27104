"""The hub's own doors under /_hub: what on GitHub is a click, and what only a stand-in can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.hub.access import Person, Somebody, role_of
from bot.hub.actions import automerge, checks, installations, pulls
from bot.hub.auth import authenticate
from bot.hub.core import Hub
from bot.hub.refusals import Refusal, forbidden, not_found, unprocessable
from bot.hub.rest.door import Call, body_of

Door = Callable[[Call], Awaitable[dict[str, object]]]


def routes(hub: Hub) -> list[Route]:
    """The doors, for people (`Authorization: Bearer user:NAME`)."""
    repo = "/_hub/repos/{owner}/{repo}"
    return [
        Route("/_hub/faults", _door(hub, set_fault), methods=["POST"]),
        Route("/_hub/settled", _door(hub, settled), methods=["GET"]),
        Route(repo + "/check-runs/{id:int}/press", _door(hub, press), methods=["POST"]),
        Route(repo + "/check-runs/{id:int}/rerequest", _door(hub, rerequest), methods=["POST"]),
        Route(repo + "/pulls/{number:int}/dequeue", _door(hub, dequeue), methods=["POST"]),
        Route("/_hub/installations/{id:int}/{action}", _door(hub, suspension), methods=["POST"]),
    ]


def _door(hub: Hub, door: Door) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            actor = authenticate(hub, request.headers.get("authorization"))
            done = await door(Call(hub, request, actor, await body_of(request)))
        except Refusal as refusal:
            return JSONResponse(refusal.body(), refusal.code)
        finally:
            hub.state.commit()
        return JSONResponse(done)

    return endpoint


def _admin(call: Call) -> Somebody:
    if not isinstance(call.actor, Person):
        raise Refusal(401, "Requires authentication")
    user = call.actor.user
    if not any(role_of(repo, user) == "admin" for repo in call.hub.state.repositories):
        raise forbidden()
    return call.actor


async def set_fault(call: Call) -> dict[str, object]:
    """A method of `Faults` by name: {"kind": "fail", "path": …, …}; `clear` ends them all."""
    _admin(call)
    given = dict(call.body)
    kind = given.pop("kind", None)
    faults = call.hub.faults
    known: dict[object, Callable[..., None]] = {
        "fail": faults.fail,
        "limit": faults.limit,
        "delay": faults.delay,
        "webhooks": faults.webhooks,
        "refuse_refs": faults.refuse_refs,
        "clear": faults.clear,
    }
    if kind not in known:
        raise unprocessable(f"kind must be one of {', '.join(map(str, known))}")
    try:
        known[kind](**given)
    except TypeError as error:
        raise unprocessable(str(error)) from error
    return {}


async def settled(call: Call) -> dict[str, object]:
    """Answers once every webhook caused so far was sent."""
    await call.hub.settled()
    return {}


async def press(call: Call) -> dict[str, object]:
    """Press a button of a check run: {"identifier": …}."""
    run = checks.find(call.hub, call.repo, call.params["id"])
    await checks.press(call.hub, call.actor, run, call.needed("identifier"))
    return {}


async def rerequest(call: Call) -> dict[str, object]:
    """Press a check run's Re-run."""
    run = checks.find(call.hub, call.repo, call.params["id"])
    await checks.rerequest(call.hub, call.actor, run)
    return {}


async def dequeue(call: Call) -> dict[str, object]:
    """Say what the merge queue came to: {"reason": "MERGE"} lands it, another one does not."""
    pull = pulls.find(call.hub, call.repo, call.params["number"])
    await automerge.leave_queue(call.hub, call.actor, pull, reason=call.needed("reason"))
    return {}


async def suspension(call: Call) -> dict[str, object]:
    """Suspend or unsuspend an installation."""
    who = _admin(call)
    found = call.hub.state.installations.get(call.params["id"])
    acts = {"suspend": installations.suspend, "unsuspend": installations.unsuspend}
    act = acts.get(call.params["action"])
    if found is None or act is None:
        raise not_found()
    act(call.hub, who, found)
    return {}
