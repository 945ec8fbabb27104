"""Who and what a fresh hub has: users, the organisation, the App installed, a repository."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.hub.access import Person
from bot.hub.actions import repos
from bot.hub.core import Hub
from bot.hub.events import brief, emit_installation
from bot.hub.records import App, Installation, Role, Team, User

ORGANISATION = "acme"
SLUG = "orchestrate"

# What the users of the demonstration may do in its repository. `outsider` is nobody there.
ROLES: dict[str, Role] = {
    "admin": "admin",
    "maintainer": "maintain",
    "writer": "write",
    "reader": "read",
}
OUTSIDER = "outsider"

# What the App asks for, as app.yml does.
PERMISSIONS = {
    "checks": "write",
    "contents": "write",
    "issues": "write",
    "members": "read",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "read",
}
EVENTS = (
    "check_run",
    "check_suite",
    "create",
    "delete",
    "issue_comment",
    "issues",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "push",
    "status",
)

APP_ID = 1
INSTALLATION_ID = 1
KEY_BITS = 2048


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the App is started with."""

    app_id: int
    installation_id: int
    private_key: str
    webhook_secret: str


async def seed(
    hub: Hub,
    *,
    webhook_url: str,
    webhook_secret: str | None = None,
    private_key: str | None = None,
    permissions: Mapping[str, str] | None = None,
    template: Path | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> Credentials:
    """Make users, App, installation and `acme/widgets` (from `template` or `files`), once.

    On a hub that was seeded before only the webhook's address is set. The credentials stay in the
    hub's folder, readable by its owner alone.
    """
    kept = hub.folder / "credentials.json"
    if hub.state.apps.get(APP_ID) is not None and kept.exists():
        hub.state.apps.put(replace(hub.state.apps[APP_ID], webhook_url=webhook_url))
        hub.state.commit()
        return Credentials(**json.loads(kept.read_text()))
    key = private_key or new_key()
    credentials = Credentials(
        APP_ID, INSTALLATION_ID, key, webhook_secret or secrets.token_urlsafe(32)
    )
    _people(hub)
    _app(hub, credentials, webhook_url, dict(permissions or PERMISSIONS))
    kept.touch(mode=0o600)
    kept.write_text(json.dumps(asdict(credentials)))
    await add_repository(hub, "widgets", template=template, files=files)
    _announce(hub)
    hub.state.commit()
    return credentials


async def add_repository(
    hub: Hub,
    name: str,
    *,
    template: Path | None = None,
    files: Mapping[str, str | bytes] | None = None,
    repository: Path | None = None,
    private: bool = False,
    default_branch: str = "main",
) -> int:
    """Add `acme/NAME` with the usual roles, from a folder, files or a git repository; its id."""
    admin, owner = hub.user("admin"), hub.user(ORGANISATION)
    assert admin is not None
    assert owner is not None
    if files is None and template is None and repository is None:
        files = {"README.md": f"# {name}\n"}
    made = await repos.create(
        hub,
        Person(admin),
        owner,
        name,
        private=private,
        default_branch=default_branch,
        files=files,
        folder=template,
        repository=repository,
        roles=ROLES,
    )
    hub.state.commit()
    return made.id


def add_team(hub: Hub, slug: str, *logins: str) -> None:
    """Make a team of `acme`, or say anew who is in it."""
    owner = hub.user(ORGANISATION)
    assert owner is not None
    members = frozenset(user.id for login in logins if (user := hub.user(login)) is not None)
    known = hub.state.teams.one(slug=(owner.id, slug))
    new_id = known.id if known else hub.state.teams.next_id()
    hub.state.teams.put(Team(new_id, owner.id, slug, members))
    hub.state.commit()


def new_key() -> str:
    """A fresh RSA key as PEM, as GitHub hands out."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def public_part(private_key: str) -> str:
    """The public key of a private one, both PEM."""
    loaded = serialization.load_pem_private_key(private_key.encode(), None)
    return (
        loaded.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def _people(hub: Hub) -> None:
    now = hub.clock.now()
    members = []
    for login in (*ROLES, OUTSIDER):
        new_id = hub.state.users.next_id()
        email = f"{new_id}+{login}@users.noreply.github.com"
        hub.state.users.put(User(new_id, login, "User", login.capitalize(), email, now))
        if login != OUTSIDER:
            members.append(new_id)
    new_id = hub.state.users.next_id()
    acme = User(new_id, ORGANISATION, "Organization", "Acme", "", now, frozenset(members))
    hub.state.users.put(acme)


def _app(hub: Hub, credentials: Credentials, webhook_url: str, permissions: dict[str, str]) -> None:
    now = hub.clock.now()
    bot_id = hub.state.users.next_id()
    login = f"{SLUG}[bot]"
    email = f"{bot_id}+{login}@users.noreply.github.com"
    hub.state.users.put(User(bot_id, login, "Bot", login, email, now))
    acme = hub.user(ORGANISATION)
    assert acme is not None
    public = public_part(credentials.private_key)
    hub.state.apps.put(
        App(APP_ID, SLUG, "Orchestrate", acme.id, bot_id, public, webhook_url,
            credentials.webhook_secret, permissions, EVENTS, now)
    )  # fmt: skip
    hub.state.installations.put(
        Installation(INSTALLATION_ID, APP_ID, acme.id, permissions, EVENTS, now, now)
    )


def _announce(hub: Hub) -> None:
    """The ping and the installation event that GitHub begins with."""
    admin = hub.user("admin")
    assert admin is not None
    app = hub.state.apps[APP_ID]
    installation = hub.state.installations[INSTALLATION_ID]
    ping = {
        "zen": "Keep it logically awesome.",
        "hook_id": app.id,
        "hook": {"type": "App", "id": app.id, "name": "web", "active": True, "app_id": app.id,
                 "events": list(app.events),
                 "config": {"content_type": "json", "insecure_ssl": "0", "url": app.webhook_url}},
    }  # fmt: skip
    hub.webhooks.enqueue(app, "ping", ping, installation_id=None, repository_id=None)
    found = [brief(hub, r) for r in hub.state.repositories]
    emit_installation(
        hub, Person(admin), installation, "installation", "created",
        repositories=found, requester=None,
    )  # fmt: skip
