"""Commit statuses: what CI that knows no check runs says of a commit."""

from __future__ import annotations

from bot.hub.access import require, somebody
from bot.hub.actions import automerge
from bot.hub.clock import stamp
from bot.hub.events import emit
from bot.hub.records import CommitStatus, Repository
from bot.hub.refusals import unprocessable
from bot.hub.render import Json
from bot.hub.render import commits as render_commits
from bot.hub.render.repos import api_url, minimal
from bot.hub.render.users import user
from bot.hub.repositories import Bare
from bot.hub.rest.door import CREATED, Call, Reply, Table
from bot.hub.rest.git import commit_of

SCOPE = "statuses"

STATES = ("error", "failure", "pending", "success")


def _status(call: Call, repo: Repository, record: CommitStatus) -> Json:
    creator = user(call.hub, call.hub.state.users[record.creator_id])
    at = stamp(record.created_at)
    return {
        "url": f"{api_url(call.hub, repo)}/statuses/{record.sha}",
        "avatar_url": creator["avatar_url"],
        "id": record.id,
        "node_id": f"SC_{record.id}",
        "state": record.state,
        "description": record.description,
        "target_url": record.target_url,
        "context": record.context,
        "created_at": at,
        "updated_at": at,
        "creator": creator,
    }


async def create_status(call: Call) -> Reply:
    """Say something of a commit, under a name: its `context`."""
    repo = call.repo
    require(call.actor, repo, SCOPE, "write", "write")
    who, sha, state = somebody(call.actor), call.params["sha"], call.needed("state")
    if state not in STATES:
        raise unprocessable(f"State is not included in the list: {', '.join(STATES)}")
    if await call.hub.git(repo, Bare.kind_of, sha) != "commit":
        raise unprocessable(f"No commit found for SHA: {sha}")
    record = call.hub.state.statuses.put(
        CommitStatus(
            id=call.hub.state.statuses.next_id(),
            repo_id=repo.id,
            sha=sha,
            context=call.text("context") or "default",
            state=state,
            description=call.text("description"),
            target_url=call.text("target_url"),
            creator_id=who.user.id,
            created_at=call.hub.clock.now(),
        )
    )
    await _tell(call, repo, record)
    await automerge.settle(call.hub, repo, sha)
    return Reply(_status(call, repo, record), CREATED)


async def _tell(call: Call, repo: Repository, record: CommitStatus) -> None:
    heads = await call.hub.git(repo, Bare.refs, "refs/heads/")
    commit = await call.hub.git(repo, Bare.commit, record.sha)
    branches = [
        {"name": name.removeprefix("refs/heads/"), "commit": {"sha": sha}, "protected": False}
        for name, (sha, _) in heads.items()
        if sha == record.sha
    ]
    body = _status(call, repo, record)
    kept = ("id", "state", "description", "target_url", "context", "created_at", "updated_at")
    emit(
        call.hub,
        somebody(call.actor),
        repo,
        "status",
        **{name: body[name] for name in kept},
        sha=record.sha,
        name=call.hub.full_name(repo),
        branches=branches,
        commit=render_commits.commit(call.hub, repo, commit),
    )


async def list_statuses(call: Call) -> Reply:
    """All that was said of a commit, the newest first."""
    repo = call.reads(SCOPE)
    sha = await commit_of(call, call.params["ref"])
    found = call.hub.state.statuses.where(sha=(repo.id, sha))[::-1]
    return call.page(found, lambda s: _status(call, repo, s))


async def combined_status(call: Call) -> Reply:
    """The newest status of each context, and what they come to together."""
    repo = call.reads(SCOPE)
    sha = await commit_of(call, call.params["ref"])
    newest = {s.context: s for s in call.hub.state.statuses.where(sha=(repo.id, sha))}
    found = list(newest.values())
    url = f"{api_url(call.hub, repo)}/commits/{sha}"
    page = call.page(found, lambda s: _status(call, repo, s))
    return Reply(
        {
            "state": _together({s.state for s in found}),
            "statuses": page.body,
            "sha": sha,
            "total_count": len(found),
            "repository": minimal(call.hub, repo),
            "commit_url": url,
            "url": f"{url}/status",
        },
        headers=page.headers,
    )


def _together(states: set[str]) -> str:
    if states & {"error", "failure"}:
        return "failure"
    return "success" if states == {"success"} else "pending"


R = "/repos/{owner}/{repo}"

TABLE: Table = [
    ("POST", R + "/statuses/{sha}", create_status),
    ("GET", R + "/commits/{ref:path}/statuses", list_statuses),
    ("GET", R + "/commits/{ref:path}/status", combined_status),
]
