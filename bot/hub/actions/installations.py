"""Installations: tokens, suspension, the choice of repositories."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from bot.hub.access import Somebody, covers
from bot.hub.core import Hub
from bot.hub.events import brief, emit_installation
from bot.hub.records import Installation, Token
from bot.hub.refusals import Refusal, unprocessable

# Installation tokens end after an hour.
TOKEN_LIFE = timedelta(hours=1)

# Expired tokens are forgotten once there are this many.
TOKENS_KEPT = 200

LEVELS = {"read": 1, "write": 2, "admin": 3}


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token: its text is told once, here."""

    text: str
    record: Token


def digest(text: str) -> str:
    """What is kept of a token's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def mint(
    hub: Hub,
    installation: Installation,
    *,
    repository_ids: Collection[int] | None = None,
    repositories: Collection[str] | None = None,
    permissions: Mapping[str, str] | None = None,
) -> Minted:
    """Make an installation token, narrowed to some repositories (ids or names) or permissions."""
    if installation.suspended_at is not None:
        raise Refusal(403, "This installation has been suspended")
    chosen = _chosen(hub, installation, repository_ids, repositories)
    granted = dict(installation.permissions)
    for name, level in (permissions or {}).items():
        if LEVELS.get(granted.get(name, ""), 0) < LEVELS.get(level, 9):
            raise unprocessable("The permissions requested are not granted to this installation.")
        granted[name] = level
    if permissions is not None:
        granted = {n: granted[n] for n in granted if n in permissions or n == "metadata"}
    text = f"ghs_{secrets.token_urlsafe(40)}"
    token = Token(
        id=hub.state.tokens.next_id(),
        digest=digest(text),
        installation_id=installation.id,
        permissions=granted,
        repository_ids=chosen,
        expires_at=hub.clock.now() + TOKEN_LIFE,
    )
    _forget_expired(hub)
    return Minted(text, hub.state.tokens.put(token))


def _forget_expired(hub: Hub) -> None:
    if len(hub.state.tokens) > TOKENS_KEPT:
        for old in hub.state.tokens:
            if old.expires_at < hub.clock.now():
                hub.state.tokens.drop(old.id)


def _chosen(
    hub: Hub,
    installation: Installation,
    ids: Collection[int] | None,
    names: Collection[str] | None,
) -> frozenset[int] | None:
    if ids is None and names is None:
        return None
    reached = [r for r in hub.state.repositories if covers(installation, r)]
    by_name = {r.name.lower(): r.id for r in reached}
    wanted = {*(ids or ()), *(by_name.get(str(n).lower(), 0) for n in names or ())}
    if not wanted <= {r.id for r in reached}:
        raise unprocessable(
            "There is at least one repository that does not exist or is not accessible to the "
            "parent installation."
        )
    return frozenset(wanted)


def suspend(hub: Hub, who: Somebody, installation: Installation) -> Installation:
    """Suspend: the API answers 403 and no webhooks are sent, but the one that says so."""
    now = hub.clock.now()
    record = replace(installation, suspended_at=now, suspended_by_id=who.user.id, updated_at=now)
    hub.state.installations.put(record)
    emit_installation(hub, who, record, "installation", "suspend")
    return record


def unsuspend(hub: Hub, who: Somebody, installation: Installation) -> Installation:
    """End the suspension."""
    record = replace(
        installation, suspended_at=None, suspended_by_id=None, updated_at=hub.clock.now()
    )
    hub.state.installations.put(record)
    emit_installation(hub, who, record, "installation", "unsuspend")
    return record


def choose(
    hub: Hub, who: Somebody, installation: Installation, ids: frozenset[int] | None
) -> Installation:
    """Install the App on these repositories only, or on all (None)."""
    before = {r.id: r for r in hub.state.repositories if covers(installation, r)}
    record = replace(installation, repository_ids=ids, updated_at=hub.clock.now())
    hub.state.installations.put(record)
    after = {r.id: r for r in hub.state.repositories if covers(record, r)}
    added = [brief(hub, after[i]) for i in after.keys() - before.keys()]
    removed = [brief(hub, before[i]) for i in before.keys() - after.keys()]
    fields = {
        "repository_selection": "all" if ids is None else "selected",
        "repositories_added": added,
        "repositories_removed": removed,
        "requester": None,
    }
    for action, some in (("added", added), ("removed", removed)):
        if some:
            emit_installation(hub, who, record, "installation_repositories", action, **fields)
    return record
