"""Users, Apps and installations as JSON."""

from __future__ import annotations

from bot.hub.clock import stamp, stamp_or_none
from bot.hub.core import Hub
from bot.hub.records import App, Installation, User
from bot.hub.render import Json


def user(hub: Hub, record: User) -> Json:
    """A user as it stands inside other things."""
    url = f"{hub.api_url}/users/{record.login}"
    app = record.login.removesuffix("[bot]")
    page = f"{hub.url}/apps/{app}" if record.kind == "Bot" else f"{hub.url}/{record.login}"
    return {
        "login": record.login,
        "id": record.id,
        "node_id": f"U_{record.id}",
        "avatar_url": f"{hub.url}/avatars/{record.id}",
        "gravatar_id": "",
        "url": url,
        "html_url": page,
        "followers_url": f"{url}/followers",
        "following_url": f"{url}/following{{/other_user}}",
        "gists_url": f"{url}/gists{{/gist_id}}",
        "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
        "subscriptions_url": f"{url}/subscriptions",
        "organizations_url": f"{url}/orgs",
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events{{/privacy}}",
        "received_events_url": f"{url}/received_events",
        "type": record.kind,
        "site_admin": False,
    }


def user_by_id(hub: Hub, record_id: int | None) -> Json | None:
    """The user of this id, where there is one."""
    found = hub.state.users.get(record_id)
    return None if found is None else user(hub, found)


def profile(hub: Hub, record: User) -> Json:
    """A user as their own page shows them."""
    return {
        **user(hub, record),
        "name": record.name,
        "company": None,
        "blog": "",
        "location": None,
        "email": record.email if "@" in record.email and record.kind == "User" else None,
        "hireable": None,
        "bio": None,
        "public_repos": hub.state.repositories.count(owner=record.id),
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": stamp(record.created_at),
        "updated_at": stamp(record.created_at),
    }


def organization(hub: Hub, record: User) -> Json:
    """An organisation as webhooks carry it."""
    url = f"{hub.api_url}/orgs/{record.login}"
    return {
        "login": record.login,
        "id": record.id,
        "node_id": f"O_{record.id}",
        "url": url,
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events",
        "hooks_url": f"{url}/hooks",
        "issues_url": f"{url}/issues",
        "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"{hub.url}/avatars/{record.id}",
        "description": record.name,
    }


def app(hub: Hub, record: App) -> Json:
    """An App."""
    return {
        "id": record.id,
        "client_id": f"Iv1.{record.id:016x}",
        "slug": record.slug,
        "node_id": f"A_{record.id}",
        "owner": user(hub, hub.state.users[record.owner_id]),
        "name": record.name,
        "description": "",
        "external_url": hub.url,
        "html_url": f"{hub.url}/apps/{record.slug}",
        "created_at": stamp(record.created_at),
        "updated_at": stamp(record.created_at),
        "permissions": dict(record.permissions),
        "events": list(record.events),
    }


def app_by_id(hub: Hub, record_id: int | None) -> Json | None:
    """The App of this id, where there is one."""
    found = hub.state.apps.get(record_id)
    return None if found is None else app(hub, found)


def _account(hub: Hub, record: User) -> Json:
    """Where an App is installed: the description asks for a user and an enterprise in one."""
    made = stamp(record.created_at)
    more = {"name": record.name, "slug": record.login, "created_at": made, "updated_at": made}
    return {**user(hub, record), **more}


def installation(hub: Hub, record: Installation) -> Json:
    """An installation."""
    account = hub.state.users[record.account_id]
    url = f"{hub.api_url}/app/installations/{record.id}"
    return {
        "id": record.id,
        "account": _account(hub, account),
        "repository_selection": "all" if record.repository_ids is None else "selected",
        "access_tokens_url": f"{url}/access_tokens",
        "repositories_url": f"{hub.api_url}/installation/repositories",
        "html_url": f"{hub.url}/organizations/{account.login}/settings/installations/{record.id}",
        "app_id": record.app_id,
        "client_id": f"Iv1.{record.app_id:016x}",
        "app_slug": hub.state.apps[record.app_id].slug,
        "target_id": account.id,
        "target_type": account.kind,
        "permissions": dict(record.permissions),
        "events": list(record.events),
        "created_at": stamp(record.created_at),
        "updated_at": stamp(record.updated_at),
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "suspended_by": user_by_id(hub, record.suspended_by_id),
        "suspended_at": stamp_or_none(record.suspended_at),
    }
