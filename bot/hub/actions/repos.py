"""Repositories: make, fill, say who may what; files and refs through the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

from bot.hub.access import Actor, Installed, Somebody, at_least, covers, require, role_of, somebody
from bot.hub.actions.merging import WORKFLOWS
from bot.hub.actions.pushes import BRANCH, Moved, moved
from bot.hub.core import Hub
from bot.hub.events import brief, emit_installation
from bot.hub.records import Repository, Role, User
from bot.hub.refusals import Refusal, invalid, not_accessible, not_found, unprocessable
from bot.hub.repositories import ZERO, Bare, Commit, GitFailed, Signature

NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")

# The permission endpoint's older words for roles.
LEGACY: dict[str, Role] = {"pull": "read", "push": "write"}


async def create(
    hub: Hub,
    who: Somebody,
    owner: User,
    name: str,
    *,
    private: bool = False,
    description: str = "",
    default_branch: str = "main",
    auto_init: bool = False,
    files: Mapping[str, str | bytes] | None = None,
    folder: Path | None = None,
    repository: Path | None = None,
    message: str = "Initial commit",
    roles: Mapping[str, Role] | None = None,
    fork_of: int | None = None,
) -> Repository:
    """Make a repository, filled from `files`, a `folder` or a branch of a git `repository`.

    `roles` maps logins to what they may do; the maker administers it.
    """
    _may_create(hub, who, owner, name)
    now = hub.clock.now()
    held: dict[int, Role] = {who.user.id: "admin"} if who.user.kind == "User" else {}
    for login, role in (roles or {}).items():
        user = hub.user(login)
        if user is not None:
            held[user.id] = role
    repo = Repository(
        id=hub.state.repositories.next_id(),
        owner_id=owner.id,
        name=name,
        private=private,
        default_branch=default_branch,
        description=description,
        roles=held,
        created_at=now,
        updated_at=now,
        pushed_at=now,
        fork_of=fork_of,
    )
    if auto_init and files is None:
        files = {"README.md": f"# {name}\n"}
    signature = hub.signature(who.user)
    await hub.git(repo, _fill, repo.default_branch, hub.durable, files, folder, repository,
                  message, signature)  # fmt: skip
    hub.state.repositories.put(repo)
    _installed(hub, who, repo)
    return repo


def _fill(
    bare: Bare,
    branch: str,
    durable: bool,
    files: Mapping[str, str | bytes] | None,
    folder: Path | None,
    repository: Path | None,
    message: str,
    who: Signature,
) -> None:
    bare.create(branch, durable=durable)
    if files is not None:
        bare.import_files(files, branch, message, who)
    elif folder is not None:
        bare.import_folder(folder, branch, message, who)
    elif repository is not None:
        bare.import_repository(repository, branch)


def _may_create(hub: Hub, who: Somebody, owner: User, name: str) -> None:
    if who.user.id not in (owner.id, *owner.members):
        raise Refusal(403, "You need admin access to the organization before adding a repository "
                      "to it.")  # fmt: skip
    if not NAME.fullmatch(name) or name in (".", ".."):
        raise invalid("Repository", "name", "invalid")
    if hub.repository(f"{owner.login}/{name}") is not None:
        message = "name already exists on this account"
        raise invalid("Repository", "name", "custom", message)


def _installed(hub: Hub, who: Somebody, repo: Repository) -> None:
    for record in hub.state.installations.where(account=repo.owner_id):
        if covers(record, repo) and record.suspended_at is None:
            fields = {
                "repository_selection": "all",
                "repositories_added": [brief(hub, repo)],
                "repositories_removed": [],
                "requester": None,
            }
            emit_installation(hub, who, record, "installation_repositories", "added", **fields)


def set_role(hub: Hub, actor: Actor, repo: Repository, login: str, role: str) -> Repository:
    """Say what somebody may do here; `none` takes it away. Whoever administers may."""
    require(actor, repo, "administration", "write", "admin")
    user = hub.user(login)
    if user is None:
        raise not_found()
    role = LEGACY.get(role, role)
    if role not in get_args(Role):
        raise invalid("Repository", "permission", "invalid")
    roles = {**repo.roles, user.id: role}
    return hub.state.repositories.put(replace(repo, roles=roles))  # type: ignore[arg-type]


def collaborators(hub: Hub, repo: Repository) -> list[tuple[User, Role]]:
    """Everybody who has a role here, by id."""
    pairs = [(hub.state.users[i], role) for i, role in sorted(repo.roles.items())]
    return [(user, role) for user, role in pairs if at_least(role, "read")]


def permission_of(repo: Repository, user: User) -> tuple[str, Role]:
    """The `permission` and `role_name` that GitHub answers for a user."""
    role = role_of(repo, user)
    older = {"maintain": "write", "triage": "read"}
    return older.get(role, role), role


# -- refs -----------------------------------------------------------------------------------


def _writes(hub: Hub, actor: Actor, repo: Repository) -> Somebody:
    require(actor, repo, "contents", "write", "write")
    return somebody(actor)


async def _no_workflows(
    hub: Hub, actor: Actor, repo: Repository, new: str, old: str | None = None
) -> None:
    if not isinstance(actor, Installed) or actor.has("workflows", "write"):
        return
    arguments = ("log", "--format=", "--name-only", new, "--not", "--all", "--", WORKFLOWS)
    if await hub.git(repo, Bare.text, *arguments):
        raise not_accessible()


async def create_ref(hub: Hub, actor: Actor, repo: Repository, name: str, sha: str) -> None:
    """Make a ref under refs/ at an object that is there."""
    who = _writes(hub, actor, repo)
    _nameable(name)
    if not await hub.git(repo, Bare.valid_ref, name):
        raise unprocessable("Reference name is not valid")
    if await hub.git(repo, Bare.kind_of, sha) is None:
        raise unprocessable("Object does not exist")
    async with hub.lock(repo):
        if name in await hub.git(repo, Bare.refs, name):
            raise unprocessable("Reference already exists")
        await _no_workflows(hub, actor, repo, sha)
        await _point(hub, repo, name, sha, ZERO)
        await moved(hub, who, repo, [Moved(name, ZERO, sha)])


async def update_ref(
    hub: Hub, actor: Actor, repo: Repository, name: str, sha: str, *, force: bool = False
) -> None:
    """Move a ref; back in history only with `force`."""
    who = _writes(hub, actor, repo)
    _nameable(name)
    async with hub.lock(repo):
        old = (await hub.git(repo, Bare.refs, name)).get(name)
        if old is None:
            raise unprocessable("Reference does not exist")
        if await hub.git(repo, Bare.kind_of, sha) is None:
            raise unprocessable("Object does not exist")
        if not force and not await hub.git(repo, Bare.contains, sha, old[0]):
            raise unprocessable("Update is not a fast forward")
        await _no_workflows(hub, actor, repo, sha)
        if sha != old[0]:
            await _point(hub, repo, name, sha, old[0])
            await moved(hub, who, repo, [Moved(name, old[0], sha)])


async def _point(hub: Hub, repo: Repository, name: str, sha: str, old: str) -> None:
    try:
        await hub.git(repo, Bare.set_ref, name, sha, old)
    except GitFailed as error:
        raise unprocessable("Reference update failed") from error


async def delete_ref(hub: Hub, actor: Actor, repo: Repository, name: str) -> None:
    """Take a ref away; the default branch stays."""
    who = _writes(hub, actor, repo)
    _nameable(name)
    if name == f"{BRANCH}{repo.default_branch}":
        raise unprocessable("Cannot delete the default branch")
    async with hub.lock(repo):
        old = (await hub.git(repo, Bare.refs, name)).get(name)
        if old is None:
            raise unprocessable("Reference does not exist")
        await hub.git(repo, Bare.delete_ref, name)
        await moved(hub, who, repo, [Moved(name, old[0], ZERO)])


def _nameable(name: str) -> None:
    if not name.startswith("refs/") or name.count("/") < 2:
        raise unprocessable("Reference name must start with 'refs/' and have at least two slashes")
    if name.startswith("refs/pull/"):
        raise unprocessable("deny updating a hidden ref")


# -- files ----------------------------------------------------------------------------------


async def write_file(
    hub: Hub,
    actor: Actor,
    repo: Repository,
    path: str,
    content: bytes | None,
    *,
    message: str,
    branch: str | None = None,
    sha: str | None = None,
) -> Commit:
    """Commit one file (None takes it away) on a branch; `sha` is the blob it replaces."""
    who = _writes(hub, actor, repo)
    name = f"{BRANCH}{branch or repo.default_branch}"
    limited = isinstance(actor, Installed) and not actor.has("workflows", "write")
    if limited and path.startswith(WORKFLOWS):
        raise not_accessible()
    async with hub.lock(repo):
        old = (await hub.git(repo, Bare.refs, name)).get(name, (ZERO, ""))[0]
        if old == ZERO and branch not in (None, repo.default_branch):
            raise Refusal(404, f"Branch {branch} not found")
        plan = (old, path, content, message, hub.signature(who.user), sha)
        commit = await hub.git(repo, _commit_file, *plan)
        await _point(hub, repo, name, commit.sha, old)
        await moved(hub, who, repo, [Moved(name, old, commit.sha)])
    return commit


def _commit_file(
    bare: Bare,
    old: str,
    path: str,
    content: bytes | None,
    message: str,
    who: Signature,
    sha: str | None,
) -> Commit:
    present = [e for e in bare.tree(old, path) if e.path == path] if old != ZERO else []
    if content is None and not present:
        raise not_found()
    if present and sha != present[0].sha:
        if sha is None:
            raise unprocessable('Invalid request.\n\n"sha" wasn\'t supplied.')
        raise Refusal(409, f"{path} does not match {sha}")
    blob = None if content is None else bare.write_blob(content)
    mode = present[0].mode if present else "100644"
    tree = bare.write_tree(None if old == ZERO else old, [(mode, "blob", blob, path)])
    parents = [] if old == ZERO else [old]
    return bare.commit(bare.write_commit(tree, parents, message, who, who))
