"""Repositories and labels as JSON."""

from __future__ import annotations

from bot.hub.access import Actor, Installed, Person, at_least, role_of
from bot.hub.clock import stamp
from bot.hub.core import Hub
from bot.hub.records import Label, Repository
from bot.hub.render import Json
from bot.hub.render.users import user

# The addresses of a repository's parts, under its own.
LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}


def api_url(hub: Hub, repo: Repository) -> str:
    """Where the repository's REST begins."""
    return f"{hub.api_url}/repos/{hub.full_name(repo)}"


def page_url(hub: Hub, repo: Repository) -> str:
    """The repository's page."""
    return f"{hub.url}/{hub.full_name(repo)}"


def minimal(hub: Hub, repo: Repository) -> Json:
    """A repository without what costs counting."""
    url, page = api_url(hub, repo), page_url(hub, repo)
    return {
        "id": repo.id,
        "node_id": f"R_{repo.id}",
        "name": repo.name,
        "full_name": hub.full_name(repo),
        "private": repo.private,
        "owner": user(hub, hub.owner(repo)),
        "html_url": page,
        "description": repo.description or None,
        "fork": repo.fork_of is not None,
        "url": url,
        **{name: url + path for name, path in LINKS.items()},
        "git_url": page.replace("http", "git", 1) + ".git",
        "ssh_url": f"git@{hub.url.split('//')[-1]}:{hub.full_name(repo)}.git",
        "clone_url": page + ".git",
        "svn_url": page,
        "mirror_url": None,
        "homepage": None,
        "language": None,
    }


def _counts(hub: Hub, repo: Repository) -> Json:
    forks = hub.state.repositories.count(parent=repo.id)
    opened = hub.state.issues.count(state=(repo.id, "open"))
    return {
        "forks_count": forks,
        "stargazers_count": 0,
        "watchers_count": 0,
        "size": 0,
        "open_issues_count": opened,
        "forks": forks,
        "open_issues": opened,
        "watchers": 0,
    }


def repository(hub: Hub, repo: Repository) -> Json:
    """A repository as webhooks and pull requests carry it."""
    return {
        **minimal(hub, repo),
        **_counts(hub, repo),
        "default_branch": repo.default_branch,
        "is_template": False,
        "topics": [],
        "has_issues": True,
        "has_projects": False,
        "has_wiki": False,
        "has_pages": False,
        "has_downloads": False,
        "has_discussions": False,
        "archived": False,
        "disabled": False,
        "visibility": "private" if repo.private else "public",
        "pushed_at": stamp(repo.pushed_at),
        "created_at": stamp(repo.created_at),
        "updated_at": stamp(repo.updated_at),
        "license": None,
        "allow_forking": True,
        "web_commit_signoff_required": False,
    }


def permissions(actor: Actor, repo: Repository) -> dict[str, bool]:
    """What the actor may do, as flags."""
    if isinstance(actor, Person):
        held = role_of(repo, actor.user)
        names = {"admin": "admin", "maintain": "maintain", "push": "write", "triage": "triage"}
        flags = {flag: at_least(held, role) for flag, role in names.items()}  # type: ignore[arg-type]
        return {**flags, "pull": held != "none"}
    writes = isinstance(actor, Installed) and actor.covers(repo) and actor.has("contents", "write")
    return {"admin": False, "maintain": False, "push": writes, "triage": writes, "pull": True}


def full(hub: Hub, repo: Repository, actor: Actor) -> Json:
    """A repository as its own address answers."""
    owner = hub.owner(repo)
    organization = {"organization": user(hub, owner)} if owner.kind == "Organization" else {}
    return {
        **repository(hub, repo),
        "permissions": permissions(actor, repo),
        "allow_rebase_merge": True,
        "allow_squash_merge": True,
        "allow_merge_commit": True,
        "allow_auto_merge": repo.auto_merge,
        "allow_update_branch": False,
        "delete_branch_on_merge": False,
        "subscribers_count": 0,
        "network_count": 0,
        **organization,
        **_family(hub, repo),
    }


def _family(hub: Hub, repo: Repository) -> Json:
    """Where a fork came from, and where that did at first, as far as they are still there."""
    parent = source = hub.state.repositories.get(repo.fork_of)
    if parent is None:
        return {}
    while source is not None and (older := hub.state.repositories.get(source.fork_of)) is not None:
        source = older
    assert source is not None
    return {"parent": repository(hub, parent), "source": repository(hub, source)}


def label(hub: Hub, record: Label) -> Json:
    """A label."""
    repo = hub.state.repositories[record.repo_id]
    return {
        "id": record.id,
        "node_id": f"LA_{record.id}",
        "url": f"{api_url(hub, repo)}/labels/{record.name}",
        "name": record.name,
        "description": record.description or None,
        "color": record.color,
        "default": False,
        "archived_at": None,
        "archived_by": None,
    }


def labels(hub: Hub, repo: Repository, names: tuple[str, ...]) -> list[Json]:
    """The labels of these names."""
    found = (hub.state.labels.one(name=(repo.id, n.lower())) for n in names)
    return [label(hub, x) for x in found if x is not None]
