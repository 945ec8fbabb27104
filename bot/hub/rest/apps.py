"""Apps, installations, deliveries, users, the rate limit."""

from __future__ import annotations

import json

from bot.hub import limits
from bot.hub.access import AppItself, Installed, Person, covers
from bot.hub.actions import installations
from bot.hub.clock import parse_stamp, stamp
from bot.hub.records import App, Delivery, Installation
from bot.hub.refusals import Refusal, not_accessible, not_found, unprocessable
from bot.hub.render import Json
from bot.hub.render import repos as render_repos
from bot.hub.render import users as render
from bot.hub.rest.door import Call, Reply, Table, somewhere


def _app(call: Call) -> App:
    if not isinstance(call.actor, AppItself):
        raise Refusal(401, "A JSON web token could not be decoded")
    return call.actor.app


async def get_app(call: Call) -> Reply:
    """The App that asks."""
    app = _app(call)
    count = len(call.hub.state.installations.where(app=app.id))
    return Reply({**render.app(call.hub, app), "installations_count": count})


async def list_installations(call: Call) -> Reply:
    """The App's installations."""
    found = call.hub.state.installations.where(app=_app(call).id)
    return call.page(found, lambda i: render.installation(call.hub, i))


def _installation(call: Call) -> Installation:
    app = _app(call)
    found = call.hub.state.installations.get(call.params["id"])
    if found is None or found.app_id != app.id:
        raise not_found()
    return found


async def get_installation(call: Call) -> Reply:
    """One installation."""
    return Reply(render.installation(call.hub, _installation(call)))


async def get_repo_installation(call: Call) -> Reply:
    """The App's installation on a repository."""
    app = _app(call)
    repo = call.hub.repository(f"{call.params['owner']}/{call.params['repo']}")
    for found in call.hub.state.installations.where(app=app.id):
        if repo is not None and covers(found, repo):
            return Reply(render.installation(call.hub, found))
    raise not_found()


async def create_token(call: Call) -> Reply:
    """A new installation token."""
    installation = _installation(call)
    for name, kind in (("repository_ids", list), ("repositories", list), ("permissions", dict)):
        if not isinstance(call.body.get(name), (kind, type(None))):
            raise call.wrong(name)
    minted = installations.mint(
        call.hub,
        installation,
        repository_ids=call.body.get("repository_ids"),
        repositories=call.body.get("repositories"),
        permissions=call.body.get("permissions"),
    )
    token = minted.record
    body: Json = {
        "token": minted.text,
        "expires_at": stamp(token.expires_at),
        "permissions": dict(token.permissions),
        "repository_selection": "all" if token.repository_ids is None else "selected",
    }
    if token.repository_ids is not None:
        chosen = [call.hub.state.repositories[i] for i in sorted(token.repository_ids)]
        body["repositories"] = [render_repos.repository(call.hub, r) for r in chosen]
    return Reply(body, 201)


async def list_repositories(call: Call) -> Reply:
    """The repositories that the installation token reaches."""
    actor = call.actor
    if not isinstance(actor, Installed):
        raise not_accessible()
    found = [r for r in call.hub.state.repositories if actor.covers(r)]
    page = call.page(found, lambda r: render_repos.repository(call.hub, r), under="repositories")
    selection = "all" if actor.installation.repository_ids is None else "selected"
    return Reply({**page.body, "repository_selection": selection}, headers=page.headers)


# -- deliveries -----------------------------------------------------------------------------


def _delivery_item(record: Delivery) -> Json:
    return {
        "id": record.id,
        "guid": record.guid,
        "delivered_at": stamp(record.delivered_at or record.created_at),
        "redelivery": record.redelivery,
        "duration": record.duration,
        "status": record.status,
        "status_code": record.status_code or 0,
        "event": record.event,
        "action": record.action,
        "installation_id": record.installation_id,
        "repository_id": record.repository_id,
        "throttled_at": None,
    }


async def list_deliveries(call: Call) -> Reply:
    """The App's deliveries, newest first; `cursor` is the id that a page goes on from."""
    hub, app = call.hub, _app(call)
    found = [d for d in hub.state.deliveries.where(app=app.id)[::-1] if d.status_code is not None]
    wanted = call.query.get("status")
    if wanted in ("success", "failure"):
        good = wanted == "success"
        found = [d for d in found if (200 <= (d.status_code or 0) < 400) == good]
    cursor = call.query.get("cursor")
    if cursor is not None:
        if not cursor.startswith("v1_") or not cursor[3:].isdecimal():
            raise unprocessable("Invalid cursor")
        found = [d for d in found if d.id < int(cursor[3:])]
    per_page = limits.number(call.query.get("per_page"), limits.PER_PAGE, limits.PER_PAGE_LIMIT)
    shown = found[:per_page]
    headers = {}
    if len(found) > per_page:
        address = f"{hub.api_url}/app/hook/deliveries"
        after = f"v1_{shown[-1].id}"
        headers["Link"] = f'<{address}?per_page={per_page}&cursor={after}>; rel="next"'
    return Reply([_delivery_item(d) for d in shown], headers=headers)


def _delivery(call: Call) -> Delivery:
    found = call.hub.state.deliveries.get(call.params["id"])
    if found is None or found.app_id != _app(call).id:
        raise not_found()
    return found


async def get_delivery(call: Call) -> Reply:
    """One delivery with what was sent and answered."""
    found = _delivery(call)
    app = call.hub.state.apps[found.app_id]
    return Reply(
        {
            **_delivery_item(found),
            "url": app.webhook_url,
            "request": {
                "headers": dict(found.request_headers),
                "payload": json.loads(found.payload),
            },
            "response": {
                "headers": dict(found.response_headers),
                "payload": found.response_body,
            },
        }
    )


async def redeliver(call: Call) -> Reply:
    """Send a delivery again."""
    call.hub.webhooks.redeliver(_delivery(call))
    return Reply({}, 202)


# -- users, limits --------------------------------------------------------------------------


async def get_user(call: Call) -> Reply:
    """Whoever asks."""
    somewhere(call)
    if not isinstance(call.actor, Person):
        raise not_accessible()
    return Reply(render.profile(call.hub, call.actor.user))


async def get_user_by_name(call: Call) -> Reply:
    """A user."""
    found = call.hub.user(call.params["name"])
    if found is None:
        raise not_found()
    return Reply(render.profile(call.hub, found))


async def rate_limit(call: Call) -> Reply:
    """What is left; asking is free."""
    limits.give_back(call.hub, call.actor)
    core = limits.standing(call.hub, call.actor)
    search = {"limit": 30, "used": 0, "remaining": 30, "reset": core["reset"]}
    return Reply({"resources": {"core": core, "search": search}, "rate": core})


async def meta(call: Call) -> Reply:
    """What this server is."""
    return Reply({"verifiable_password_authentication": False, "installed_version": "3.15.0"})


def since_of(call: Call) -> float:
    """The `since` of the query in seconds since 1970, or 0."""
    given = call.query.get("since")
    moment = parse_stamp(given) if given else None
    if given and moment is None:
        raise unprocessable("Invalid since: give an ISO 8601 time")
    return moment.timestamp() if moment else 0.0


TABLE: Table = [
    ("GET", "/app", get_app),
    ("GET", "/app/installations", list_installations),
    ("GET", "/app/installations/{id:int}", get_installation),
    ("POST", "/app/installations/{id:int}/access_tokens", create_token),
    ("GET", "/repos/{owner}/{repo}/installation", get_repo_installation),
    ("GET", "/installation/repositories", list_repositories),
    ("GET", "/app/hook/deliveries", list_deliveries),
    ("GET", "/app/hook/deliveries/{id:int}", get_delivery),
    ("POST", "/app/hook/deliveries/{id:int}/attempts", redeliver),
    ("GET", "/user", get_user),
    ("GET", "/users/{name}", get_user_by_name),
    ("GET", "/rate_limit", rate_limit),
    ("GET", "/meta", meta),
]
