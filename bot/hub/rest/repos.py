"""Repositories, branches, contents, collaborators."""

from __future__ import annotations

from bot.hub.access import Actor, at_least, can_see, may, require, role_of, somebody
from bot.hub.actions import forks, repos
from bot.hub.core import Hub
from bot.hub.records import Repository, Role, User
from bot.hub.refusals import Refusal, forbidden, not_found
from bot.hub.render import Json
from bot.hub.render import commits as render_commits
from bot.hub.render import repos as render
from bot.hub.render.users import user as render_user
from bot.hub.repositories import Bare, Commit, TreeEntry
from bot.hub.rest.door import NO_CONTENT, Call, Reply, Table, somewhere
from bot.hub.rest.git import decoded


async def get_repo(call: Call) -> Reply:
    """One repository."""
    return Reply(render.full(call.hub, call.reads("metadata"), call.actor))


async def get_repo_by_id(call: Call) -> Reply:
    """A repository by its id, wherever it was moved."""
    found = call.hub.state.repositories.get(call.params["id"])
    if found is None:
        raise not_found()
    require(call.actor, found, "metadata", "read")
    return Reply(render.full(call.hub, found, call.actor))


async def _create(call: Call, owner: User) -> Reply:
    made = await repos.create(
        call.hub,
        somebody(call.actor),
        owner,
        call.needed("name"),
        private=bool(call.body.get("private", False)),
        description=call.text("description") or "",
        auto_init=bool(call.body.get("auto_init", False)),
    )
    return Reply(render.full(call.hub, made, call.actor), 201)


async def create_own(call: Call) -> Reply:
    """Make a repository of one's own."""
    somewhere(call)
    return await _create(call, somebody(call.actor).user)


async def create_in_org(call: Call) -> Reply:
    """Make a repository of an organisation that one belongs to."""
    somewhere(call)
    owner = call.hub.user(call.params["org"])
    if owner is None or owner.kind != "Organization":
        raise not_found()
    return await _create(call, owner)


async def create_fork(call: Call) -> Reply:
    """Fork a repository for whoever asks, or for an organisation of theirs."""
    somewhere(call)
    made = await forks.fork(
        call.hub,
        call.actor,
        call.repo,
        organisation=call.text("organization"),
        name=call.text("name"),
        default_branch_only=bool(call.body.get("default_branch_only", False)),
    )
    return Reply(render.full(call.hub, made, call.actor), 202)


async def list_forks(call: Call) -> Reply:
    """The forks, the newest first."""
    repo = call.reads("metadata")
    found = call.hub.state.repositories.where(parent=repo.id)
    seen = [each for each in found if can_see(call.actor, each)]
    return call.page(seen[::-1], lambda each: render.repository(call.hub, each))


async def delete_repo(call: Call) -> Reply:
    """Delete a repository."""
    await forks.delete(call.hub, call.actor, call.repo)
    return NO_CONTENT


# -- branches -------------------------------------------------------------------------------


async def list_branches(call: Call) -> Reply:
    """All branches."""
    repo = call.reads("contents")
    found = await call.hub.git(repo, Bare.refs, "refs/heads")
    base = render.api_url(call.hub, repo)
    return call.page(
        [(name.removeprefix("refs/heads/"), sha) for name, (sha, _) in found.items()],
        lambda x: {"name": x[0], "protected": False,
                   "commit": {"sha": x[1], "url": f"{base}/commits/{x[1]}"}},
    )  # fmt: skip


def _branch(bare: Bare, name: str) -> Commit | None:
    found = bare.refs(f"refs/heads/{name}").get(f"refs/heads/{name}")
    return None if found is None else bare.commit(found[0])


async def get_branch(call: Call) -> Reply:
    """One branch with its head."""
    repo, name = call.reads("contents"), call.params["branch"]
    commit = await call.hub.git(repo, _branch, name)
    if commit is None:
        raise Refusal(404, "Branch not found")
    url = f"{render.api_url(call.hub, repo)}/branches/{name}"
    html = f"{render.page_url(call.hub, repo)}/tree/{name}"
    return Reply(
        {
            "name": name,
            "commit": render_commits.commit(call.hub, repo, commit),
            "_links": {"self": url, "html": html},
            "protected": False,
            "protection": {"enabled": False},
            "protection_url": f"{url}/protection",
        }
    )


# -- contents -------------------------------------------------------------------------------


def _find(bare: Bare, revision: str, path: str) -> tuple[TreeEntry | None, list[TreeEntry]]:
    """The entry at a path, and what is in it where it is a folder."""
    sha = bare.resolve(revision)
    if sha is None:
        return None, []
    if not path:
        return TreeEntry("040000", "tree", sha, None, ""), bare.tree(sha)
    found = next((e for e in bare.tree(sha, path) if e.path == path), None)
    inside = bare.tree(sha, f"{path}/") if found is not None and found.kind == "tree" else []
    return found, inside


async def get_contents(call: Call) -> Reply:
    """A file, raw or as base64, or a folder's entries, at `ref`."""
    hub, repo = call.hub, call.reads("contents")
    ref = call.query.get("ref", repo.default_branch)
    path = call.params.get("path", "").strip("/")
    entry, inside = await hub.git(repo, _find, ref.removeprefix("refs/heads/"), path)
    if entry is None:
        raise not_found()
    if entry.kind == "tree":
        return Reply([render_commits.content(hub, repo, ref, e) for e in inside])
    if entry.kind == "commit":
        return Reply({**render_commits.content(hub, repo, ref, entry), "submodule_git_url": None})
    data = await hub.git(repo, Bare.blob, entry.sha)
    if "raw" in call.request.headers.get("accept", ""):
        return Reply(raw=data, media="application/vnd.github.raw; charset=utf-8")
    return Reply(render_commits.content(hub, repo, ref, entry, data))


async def put_contents(call: Call) -> Reply:
    """Commit a file."""
    path, data = call.params["path"], decoded(call.needed("content"))
    return await _write(call, path, data)


async def delete_contents(call: Call) -> Reply:
    """Commit that a file goes."""
    return await _write(call, call.params["path"], None)


async def _write(call: Call, path: str, data: bytes | None) -> Reply:
    hub, repo = call.hub, call.repo
    branch = call.text("branch")
    commit = await repos.write_file(
        hub,
        call.actor,
        repo,
        path,
        data,
        message=call.needed("message"),
        branch=branch,
        sha=call.text("sha"),
    )
    entry, _ = await hub.git(repo, _find, commit.sha, path)
    shown = None if entry is None else render_commits.content(
        hub, repo, branch or repo.default_branch, entry
    )  # fmt: skip
    new = data is not None and call.text("sha") is None
    body = {"content": shown, "commit": render_commits.git_commit(hub, repo, commit)}
    return Reply(body, 201 if new else 200)


# -- collaborators --------------------------------------------------------------------------


def _flags(role: Role) -> dict[str, bool]:
    return {
        "admin": role == "admin",
        "maintain": at_least(role, "maintain"),
        "push": at_least(role, "write"),
        "triage": at_least(role, "triage"),
        "pull": at_least(role, "read"),
    }


def _collaborator(hub: Hub, user: User, role: Role) -> Json:
    return {**render_user(hub, user), "permissions": _flags(role), "role_name": role}


def _may_look(actor: Actor, repo: Repository) -> None:
    if not may(actor, repo, "metadata", "read", "read"):
        raise not_found()
    require(actor, repo, "metadata", "read", "write")


async def list_collaborators(call: Call) -> Reply:
    """Everybody with a role, whom whoever may push may see."""
    _may_look(call.actor, call.repo)
    wanted = call.query.get("permission")
    floor: Role = {"pull": "read", "push": "write"}.get(wanted or "", wanted or "read")  # type: ignore[assignment]
    found = [(u, r) for u, r in repos.collaborators(call.hub, call.repo) if at_least(r, floor)]
    return call.page(found, lambda x: _collaborator(call.hub, *x))


async def get_permission(call: Call) -> Reply:
    """What somebody may do: `permission` in GitHub's four older words, `role_name` in all."""
    repo = call.repo
    require(call.actor, repo, "metadata", "read")
    user = call.hub.user(call.params["name"])
    if user is None:
        raise not_found()
    older, role = repos.permission_of(repo, user)
    body = _collaborator(call.hub, user, role)
    return Reply({"permission": older, "role_name": role, "user": body})


async def is_collaborator(call: Call) -> Reply:
    """204 where somebody has a role."""
    repo = call.repo
    require(call.actor, repo, "metadata", "read")
    user = call.hub.user(call.params["name"])
    if user is None or repo.roles.get(user.id, "none") == "none":
        raise not_found()
    return NO_CONTENT


async def set_permission(call: Call) -> Reply:
    """Give somebody a role; it holds at once, without an invitation."""
    role = call.text("permission") or "push"
    repos.set_role(call.hub, call.actor, call.repo, call.params["name"], role)
    return NO_CONTENT


async def remove_collaborator(call: Call) -> Reply:
    """Take somebody's role away."""
    repo, user = call.repo, call.hub.user(call.params["name"])
    if user is not None and role_of(repo, user) == "admin":
        raise forbidden("An administrator stays.")
    repos.set_role(call.hub, call.actor, repo, call.params["name"], "none")
    return NO_CONTENT


R = "/repos/{owner}/{repo}"
COLLABORATOR = R + "/collaborators/{name}"

TABLE: Table = [
    ("GET", R, get_repo),
    ("DELETE", R, delete_repo),
    ("GET", R + "/forks", list_forks),
    ("POST", R + "/forks", create_fork),
    ("GET", "/repositories/{id:int}", get_repo_by_id),
    ("POST", "/user/repos", create_own),
    ("POST", "/orgs/{org}/repos", create_in_org),
    ("GET", R + "/branches", list_branches),
    ("GET", R + "/branches/{branch:path}", get_branch),
    ("GET", R + "/contents", get_contents),
    ("GET", R + "/contents/{path:path}", get_contents),
    ("PUT", R + "/contents/{path:path}", put_contents),
    ("DELETE", R + "/contents/{path:path}", delete_contents),
    ("GET", R + "/collaborators", list_collaborators),
    ("GET", COLLABORATOR + "/permission", get_permission),
    ("GET", COLLABORATOR, is_collaborator),
    ("PUT", COLLABORATOR, set_permission),
    ("DELETE", COLLABORATOR, remove_collaborator),
]
