"""What happens becomes webhooks: GitHub's payload, for every App that should hear of it."""

from __future__ import annotations

from typing import Any

from bot.hub.access import Somebody, covers
from bot.hub.core import Hub
from bot.hub.records import Installation, Repository, User
from bot.hub.render.repos import minimal, repository
from bot.hub.render.users import installation, organization, user


def emit(
    hub: Hub,
    actor: Somebody,
    repo: Repository,
    event: str,
    action: str | None = None,
    *,
    only_app: int | None = None,
    **fields: Any,
) -> None:
    """Send `event` about `repo` to every App installed on it that subscribed.

    `fields` are the event's own; `only_app` keeps it to one App, as GitHub does for buttons.
    """
    heard = [
        i
        for i in hub.state.installations.where(account=repo.owner_id)
        if covers(i, repo)
        and i.suspended_at is None
        and event in i.events
        and only_app in (None, i.app_id)
    ]
    if not heard:
        return
    payload: dict[str, Any] = {} if action is None else {"action": action}
    payload |= {**fields, "repository": repository(hub, repo)}
    payload |= _about(hub, hub.owner(repo), actor)
    for one in heard:
        hub.webhooks.enqueue(
            hub.state.apps[one.app_id],
            event,
            {**payload, "installation": {"id": one.id, "node_id": f"IN_{one.id}"}},
            installation_id=one.id,
            repository_id=repo.id,
        )


def _about(hub: Hub, owner: User, actor: Somebody) -> dict[str, Any]:
    about: dict[str, Any] = {"sender": user(hub, actor.user)}
    if owner.kind == "Organization":
        about["organization"] = organization(hub, owner)
    return about


def emit_installation(
    hub: Hub,
    actor: Somebody,
    record: Installation,
    event: str,
    action: str,
    **fields: Any,
) -> None:
    """Send an `installation` or `installation_repositories` event, which every App gets."""
    payload = {
        "action": action,
        "installation": installation(hub, record),
        **fields,
        "sender": user(hub, actor.user),
    }
    app = hub.state.apps[record.app_id]
    hub.webhooks.enqueue(app, event, payload, installation_id=record.id, repository_id=None)


def brief(hub: Hub, repo: Repository) -> dict[str, Any]:
    """A repository as installation events list it."""
    whole = minimal(hub, repo)
    return {key: whole[key] for key in ("id", "node_id", "name", "full_name", "private")}


def heard(hub: Hub, repo: Repository, event: str) -> bool:
    """Whether anybody would be sent `event`: what is costly to tell need not be told to nobody."""
    return any(
        covers(i, repo) and i.suspended_at is None and event in i.events
        for i in hub.state.installations.where(account=repo.owner_id)
    )
