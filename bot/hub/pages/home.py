"""The first page, the choice of who one is, and the log of webhooks."""

from __future__ import annotations

import json

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from bot.hub.access import can_see, role_of, somebody
from bot.hub.pages.site import COOKIE, HEADERS, Visit, local, text_of
from bot.hub.records import Delivery
from bot.hub.refusals import forbidden, not_found

# Deliveries on a page: the newest of those that are kept.
DELIVERIES = 100

# How long a browser remembers who one is, in seconds: a year.
REMEMBERED = 31_536_000


async def home(visit: Visit) -> Response:
    """The repositories that the visitor may see, and the people there are."""
    seen = [r for r in visit.hub.state.repositories if can_see(visit.actor, r)]
    apps = [(i, visit.hub.state.apps[i.app_id]) for i in visit.hub.state.installations]
    return visit.page("home.html", repositories=seen, apps=apps)


async def choose(visit: Visit, form: FormData) -> Response:
    """Have the browser say from now on who visits; an empty name is nobody in particular."""
    name = text_of(form, "user")
    found = visit.hub.user(name)
    if name and (found is None or found.kind != "User"):
        raise not_found()
    answer = RedirectResponse(local(text_of(form, "back")), 303, HEADERS)
    answer.set_cookie(
        COOKIE, name, max_age=REMEMBERED if name else 0, httponly=True, samesite="strict"
    )
    return answer


async def deliveries(visit: Visit) -> Response:
    """The newest webhook deliveries about what the visitor may see."""
    newest = [d for d in visit.hub.state.deliveries if _visible(visit, d)][-DELIVERIES:]
    return visit.page("deliveries.html", deliveries=newest[::-1])


async def delivery(visit: Visit) -> Response:
    """One delivery: what was sent and what was answered."""
    found = _delivery(visit)
    payload = json.dumps(json.loads(found.payload), indent=2, ensure_ascii=False)
    attempts = visit.hub.state.deliveries.where(guid=found.guid)
    return visit.page("delivery.html", delivery=found, payload=payload, attempts=attempts)


async def redeliver(visit: Visit, form: FormData) -> str:
    """Send a delivery again, under the same GUID; whoever administers a repository may."""
    found = _delivery(visit)
    user = somebody(visit.actor).user
    if not any(role_of(repo, user) == "admin" for repo in visit.hub.state.repositories):
        raise forbidden("Only who administers a repository may have an event sent again.")
    again = visit.hub.webhooks.redeliver(found)
    return f"/_hub/deliveries/{again.id}"


def _delivery(visit: Visit) -> Delivery:
    found = visit.hub.state.deliveries.get(int(visit.request.path_params["id"]))
    if found is None or not _visible(visit, found):
        raise not_found()
    return found


def _visible(visit: Visit, found: Delivery) -> bool:
    repo = visit.hub.state.repositories.get(found.repository_id)
    return repo is None or can_see(visit.actor, repo)
