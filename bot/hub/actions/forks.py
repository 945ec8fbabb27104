"""Forks: make and delete them, and the pull requests whose heads are in one.

A fork is a repository of its own beside the one that it came of. The commits of its pull requests
are brought into the base repository, where `refs/pull/N/head` keeps them, as on GitHub: there they
stay when the fork is deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from bot.hub.access import Actor, Person, Somebody, at_least, require, role_of, somebody
from bot.hub.actions import repos
from bot.hub.actions.pushes import BRANCH, close
from bot.hub.core import Hub
from bot.hub.records import Pull, Repository, User
from bot.hub.refusals import invalid, not_accessible, not_found
from bot.hub.render.pulls import conversation
from bot.hub.repositories import Bare


async def fork(
    hub: Hub,
    actor: Actor,
    repo: Repository,
    *,
    organisation: str | None = None,
    name: str | None = None,
    default_branch_only: bool = False,
) -> Repository:
    """Fork a repository for a person or an organisation of theirs; who has a fork keeps that.

    In its own organisation a fork has another name.
    """
    require(actor, repo, "contents", "read")
    who = somebody(actor)
    if not isinstance(who, Person):
        raise not_accessible()
    owner = _owner(hub, who, organisation)
    for known in hub.state.repositories.where(parent=repo.id):
        if known.owner_id == owner.id:
            return known
    if owner.id == repo.owner_id and (name or repo.name).lower() == repo.name.lower():
        raise invalid("Repository", "organization", "invalid")
    made = await repos.create(
        hub,
        who,
        owner,
        name or repo.name,
        private=repo.private,
        description=repo.description,
        default_branch=repo.default_branch,
        repository=hub.bare(repo).folder,
        fork_of=repo.id,
    )
    if not default_branch_only:
        await hub.git(made, Bare.import_branches, hub.bare(repo).folder)
    return made


def _owner(hub: Hub, who: Person, organisation: str | None) -> User:
    if organisation is None:
        return who.user
    found = hub.user(organisation)
    if found is None or found.kind != "Organization" or who.user.id not in found.members:
        raise not_found()
    return found


def root(hub: Hub, repo: Repository) -> int:
    """The number of the repository that a network of forks began with."""
    seen = {repo.id}
    while repo.fork_of is not None and repo.fork_of not in seen:
        parent = hub.state.repositories.get(repo.fork_of)
        if parent is None:
            return repo.fork_of
        seen.add(parent.id)
        repo = parent
    return repo.id


def named(hub: Hub, repo: Repository, owner: str, name: str | None = None) -> Repository | None:
    """The repository of `owner` in the same network, by its `name` where they have several."""
    account = hub.user(owner) if owner else hub.owner(repo)
    if account is None:
        return None
    wanted = name.rpartition("/")[2].lower() if name else None
    if account.id == repo.owner_id and wanted in (None, repo.name.lower()):
        return repo
    return next(
        (
            each
            for each in hub.state.repositories.where(owner=account.id)
            if root(hub, each) == root(hub, repo) and wanted in (None, each.name.lower())
        ),
        None,
    )


async def delete(hub: Hub, actor: Actor, repo: Repository) -> None:
    """Delete a repository; pull requests from it are closed, and no longer say where from."""
    require(actor, repo, "administration", "write", "admin")
    who = somebody(actor)
    async with hub.lock(repo):
        leaving = [p for p in hub.state.pulls if p.head_repo_id == repo.id]
        hub.state.repositories.drop(repo.id)
        await hub.git(repo, _remove)
    for pull in leaving:
        issue = conversation(hub, pull)
        if issue.state == "open":
            await close(hub, who, pull, issue)


def _remove(bare: Bare) -> None:
    shutil.rmtree(bare.folder)


def may_modify(hub: Hub, who: Somebody, repo: Repository) -> tuple[str, ...]:
    """The refs of a fork that somebody may push to who has no role there.

    "People with push access to the upstream repository of a fork owned by a user account can
    commit to the forked branches" (GitHub's documentation, "Allowing changes to a pull request
    branch created from a fork"): those of open pull requests whose author lets maintainers do so.
    It says that of people. An App's installation token reaches "the repositories that the
    installation was granted access to" ("Authenticating as a GitHub App installation"), and
    nothing says that a fork is among them; so here a token pushes only where the App is installed.
    """
    if not isinstance(who, Person) or hub.owner(repo).kind != "User":
        return ()
    return tuple(f"{BRANCH}{pull.head_ref}" for pull in _modifiable(hub, who.user, repo))


def _modifiable(hub: Hub, user: User, repo: Repository) -> Iterator[Pull]:
    for pull in hub.state.pulls:
        if pull.head_repo_id == repo.id and pull.maintainer_can_modify:
            base = hub.state.repositories.get(pull.repo_id)
            is_open = conversation(hub, pull).state == "open"
            if is_open and base is not None and at_least(role_of(base, user), "write"):
                yield pull
