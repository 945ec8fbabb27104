"""Organisations' teams, as far as it is asked who is in one."""

from __future__ import annotations

from bot.hub.access import Installed, Person
from bot.hub.refusals import not_accessible, not_found
from bot.hub.rest.door import Call, Reply, Table


async def get_membership(call: Call) -> Reply:
    """That a person is in a team; 404 where not, and where there is no such team."""
    hub, actor = call.hub, call.actor
    owner, user = hub.user(call.params["org"]), hub.user(call.params["name"])
    if owner is None or owner.kind != "Organization" or user is None:
        raise not_found()
    if isinstance(actor, Installed):
        if actor.installation.account_id != owner.id or not actor.has("members", "read"):
            raise not_accessible()
    elif not isinstance(actor, Person) or actor.user.id not in owner.members:
        raise not_found()
    team = hub.state.teams.one(slug=(owner.id, call.params["slug"].lower()))
    if team is None or user.id not in team.members:
        raise not_found()
    url = f"{hub.api_url}/organizations/{owner.id}/team/{team.id}/memberships/{user.login}"
    return Reply({"url": url, "role": "member", "state": "active"})


TABLE: Table = [
    ("GET", "/orgs/{org}/teams/{slug}/memberships/{name}", get_membership),
]
