"""Rate limits, pages of lists and entity tags."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode

from bot.hub.access import Actor, Anonymous, AppItself, Installed
from bot.hub.core import Hub
from bot.hub.refusals import Refusal

# GitHub's primary limit, an hour, for an installation or a user; and for nobody in particular.
HOURLY = 5_000
HOURLY_ANONYMOUS = 60
HOUR = 3_600

PER_PAGE = 30
PER_PAGE_LIMIT = 100


def _key(actor: Actor) -> str:
    if isinstance(actor, Installed):
        return f"installation {actor.installation.id}"
    if isinstance(actor, AppItself):
        return f"app {actor.app.id}"
    return "anonymous" if isinstance(actor, Anonymous) else f"user {actor.user.id}"


def standing(hub: Hub, actor: Actor) -> dict[str, int]:
    """The limit, what is used and left of it, and when it begins anew (seconds since 1970)."""
    now = int(hub.clock.now().timestamp())
    window, used = hub.requests_used.get(_key(actor), (now, 0))
    if now >= window + HOUR:
        window, used = now, 0
    limit = HOURLY_ANONYMOUS if isinstance(actor, Anonymous) else hub.hourly_limit
    left = max(limit - used, 0)
    return {"limit": limit, "used": used, "remaining": left, "reset": window + HOUR}


def headers(hub: Hub, actor: Actor) -> dict[str, str]:
    """The `x-ratelimit-*` headers."""
    found = standing(hub, actor)
    named = {f"x-ratelimit-{name}": str(value) for name, value in found.items()}
    return {**named, "x-ratelimit-resource": "core"}


def spend(hub: Hub, actor: Actor) -> None:
    """Count a request; 403 where none is left."""
    found = standing(hub, actor)
    if found["remaining"] == 0:
        message = "API rate limit exceeded. Check the reset time in the headers."
        raise Refusal(403, message, headers=headers(hub, actor))
    hub.requests_used[_key(actor)] = (found["reset"] - HOUR, found["used"] + 1)


def give_back(hub: Hub, actor: Actor) -> None:
    """Uncount the last request: answers that nothing changed are free."""
    window, used = hub.requests_used[_key(actor)]
    hub.requests_used[_key(actor)] = (window, used - 1)


def entity_tag(body: bytes) -> str:
    """The weak entity tag of an answer."""
    return f'W/"{hashlib.blake2b(body, digest_size=20).hexdigest()}"'


def number(text: str | None, default: int, most: int | None = None) -> int:
    """A positive number of a query, or the default."""
    if text is None or not text.isdecimal() or int(text) < 1:
        return default
    return int(text) if most is None else min(int(text), most)


def links(address: str, query: Mapping[str, str], page: int, last: int) -> dict[str, str]:
    """The `Link` header of a page of a list, where there are others."""
    relations = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
    if page <= 1:
        del relations["prev"], relations["first"]
    if page >= last:
        del relations["next"], relations["last"]
    if not relations:
        return {}
    parts = [
        f'<{address}?{urlencode({**query, "page": str(at)})}>; rel="{name}"'
        for name, at in relations.items()
    ]
    return {"Link": ", ".join(parts)}
