"""Who is asking, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bot.hub.core import Hub
from bot.hub.records import ROLES, App, Installation, Repository, Role, User
from bot.hub.refusals import Refusal, forbidden, not_accessible, not_found

Level = Literal["read", "write"]

# How GitHub names an author's relation to a repository.
ASSOCIATION = Literal["OWNER", "MEMBER", "COLLABORATOR", "CONTRIBUTOR", "NONE"]


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody: may read what is public."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user, acting as themselves."""

    user: User


@dataclass(frozen=True, slots=True)
class AppItself:
    """An App that proved its key by a JSON Web Token; it may ask about itself only."""

    app: App


@dataclass(frozen=True, slots=True)
class Installed:
    """An App with an installation token: it acts as its bot user, within the token's scope."""

    user: User
    app: App
    installation: Installation
    permissions: Mapping[str, str] = field(default_factory=dict)
    repository_ids: frozenset[int] | None = None

    def covers(self, repo: Repository) -> bool:
        """Whether the token reaches this repository."""
        inside = self.repository_ids is None or repo.id in self.repository_ids
        return inside and covers(self.installation, repo)

    def has(self, scope: str, level: Level) -> bool:
        """Whether the token holds the permission."""
        held = self.permissions.get(scope)
        return held == "write" or (held == "read" and level == "read")


Actor = Anonymous | Person | AppItself | Installed
Somebody = Person | Installed


def covers(installation: Installation, repo: Repository) -> bool:
    """Whether the installation reaches this repository."""
    chosen = installation.repository_ids
    return installation.account_id == repo.owner_id and (chosen is None or repo.id in chosen)


def person(hub: Hub, login: str) -> Person:
    """The user of this login, acting."""
    user = hub.user(login)
    if user is None or user.kind != "User":
        raise not_found()
    return Person(user)


def role_of(repo: Repository, user: User) -> Role:
    """What the repository lets this user do; a public one lets everybody read."""
    held = repo.roles.get(user.id, "none")
    if user.id == repo.owner_id:
        return "admin"
    return "read" if held == "none" and not repo.private else held


def at_least(held: Role, needed: Role) -> bool:
    """Whether one role includes another."""
    return ROLES.index(held) >= ROLES.index(needed)


def app_id(actor: Actor) -> int | None:
    """The App that acts, where one does."""
    return actor.app.id if isinstance(actor, Installed) else None


def can_see(actor: Actor, repo: Repository) -> bool:
    """Whether the repository exists for this actor."""
    if isinstance(actor, Person):
        return role_of(repo, actor.user) != "none"
    if isinstance(actor, Installed):
        return actor.covers(repo) or not repo.private
    return not repo.private


def may(actor: Actor, repo: Repository, scopes: str, level: Level, role: Role) -> bool:
    """Whether `require` would let this pass."""
    try:
        require(actor, repo, scopes, level, role)
    except Refusal:
        return False
    return True


def require(actor: Actor, repo: Repository, scopes: str, level: Level, role: Role = "read") -> None:
    """Refuse, as GitHub does, whoever lacks what an action needs.

    `scopes` are the App permissions that suffice, as `issues|pull_requests`; `role` is what a
    person needs.
    """
    if not can_see(actor, repo):
        raise not_found()
    if isinstance(actor, Installed):
        if level == "read" and scopes in ("metadata", "contents") and not repo.private:
            return
        if not actor.covers(repo) or not any(actor.has(s, level) for s in scopes.split("|")):
            raise not_accessible()
    elif isinstance(actor, Person):
        if not at_least(role_of(repo, actor.user), role):
            raise forbidden()
    elif isinstance(actor, AppItself) or level == "write" or role != "read":
        raise Refusal(401, "Requires authentication")


def somebody(actor: Actor) -> Somebody:
    """The actor, where it can sign what it does."""
    if isinstance(actor, (Person, Installed)):
        return actor
    raise Refusal(401, "Requires authentication")


def association(hub: Hub, repo: Repository, user: User) -> ASSOCIATION:
    """How GitHub names the author's relation to the repository, which is no permission."""
    owner = hub.owner(repo)
    if user.id == owner.id:
        return "OWNER"
    if user.id in owner.members:
        return "MEMBER"
    if repo.roles.get(user.id, "none") != "none":
        return "COLLABORATOR"
    if user.kind == "Bot":
        return "NONE"
    merged = (
        p
        for i in hub.state.issues.where(author=user.id)
        if i.repo_id == repo.id and i.is_pull
        for p in hub.state.pulls.where(number=(repo.id, i.number))
        if p.merged_at
    )
    return "CONTRIBUTOR" if next(merged, None) else "NONE"
