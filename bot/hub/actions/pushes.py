"""What follows when refs move, by a push, by the REST or by a merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bot.hub.access import Somebody, covers
from bot.hub.actions.checks import suite_for, tell_suite
from bot.hub.actions.issues import tell_pull
from bot.hub.core import Hub
from bot.hub.events import emit, heard
from bot.hub.records import Activity, Issue, Pull, Repository
from bot.hub.render import Json
from bot.hub.render.commits import webhook_commit
from bot.hub.render.repos import page_url
from bot.hub.repositories import ZERO, Bare, Commit, FileChange

# GitHub lists up to 2,048 commits in a push event; a stand-in's events stay readable with fewer.
PUSH_COMMITS = 50

# "Events will not be created when more than three tags are pushed at once."
TAGS_TOLD = 3

BRANCH = "refs/heads/"
TAG = "refs/tags/"


@dataclass(frozen=True, slots=True)
class Moved:
    """A ref that went from `old` to `new`; `ZERO` where it was or is not there."""

    ref: str
    old: str
    new: str

    @property
    def branch(self) -> str | None:
        """The branch's name, where the ref is one."""
        return self.ref.removeprefix(BRANCH) if self.ref.startswith(BRANCH) else None


async def refs(hub: Hub, repo: Repository) -> dict[str, str]:
    """All branches, tags and other refs but GitHub's own, to compare before and after."""
    found = await hub.git(repo, Bare.refs)
    return {n: sha for n, (sha, _) in found.items() if not n.startswith("refs/pull/")}


def difference(before: dict[str, str], after: dict[str, str]) -> list[Moved]:
    """The refs that moved between two looks."""
    names = sorted({*before, *after})
    pairs = ((n, before.get(n, ZERO), after.get(n, ZERO)) for n in names)
    return [Moved(*pair) for pair in pairs if pair[1] != pair[2]]


async def moved(
    hub: Hub, who: Somebody, repo: Repository, changes: Sequence[Moved], *, is_merge: bool = False
) -> None:
    """Do what GitHub does after refs moved: pull requests follow, events are sent."""
    if not changes:
        return
    now = hub.clock.now()
    repo = hub.state.repositories.put(replace(hub.state.repositories[repo.id], pushed_at=now))
    tags = sum(change.ref.startswith(TAG) for change in changes)
    for change in changes:
        told = change.ref.startswith(BRANCH) or (change.ref.startswith(TAG) and tags <= TAGS_TOLD)
        if told:
            await _tell(hub, who, repo, change)
        if change.branch is not None:
            _keep(hub, who, repo, change, is_merge=is_merge)
            await _heads(hub, who, repo, change.branch, change)
            await _bases(hub, who, repo, change.branch, change)
            if change.new != ZERO:
                await _suites(hub, who, repo, change.branch, change)


def _keep(hub: Hub, who: Somebody, repo: Repository, change: Moved, *, is_merge: bool) -> None:
    hub.state.activities.put(
        Activity(
            id=hub.state.activities.next_id(),
            repo_id=repo.id,
            ref=change.ref,
            before=change.old,
            after=change.new,
            actor_id=who.user.id,
            is_merge=is_merge,
            created_at=hub.clock.now(),
        )
    )


async def _tell(hub: Hub, who: Somebody, repo: Repository, change: Moved) -> None:
    if ZERO in (change.old, change.new):
        kind = "branch" if change.branch is not None else "tag"
        name = change.ref.split("/", 2)[2]
        fields: Json = {"ref": name, "ref_type": kind, "pusher_type": "user"}
        if change.new != ZERO:
            fields |= {"master_branch": repo.default_branch, "description": None}
        emit(hub, who, repo, "create" if change.old == ZERO else "delete", **fields)
    if heard(hub, repo, "push"):
        emit(hub, who, repo, "push", **await _push(hub, who, repo, change))


def _read_push(
    bare: Bare, default: str, change: Moved
) -> tuple[list[tuple[Commit, list[FileChange]]], bool]:
    """The new commits with their files, oldest first, and whether history was rewritten."""
    forced = ZERO not in (change.old, change.new) and not bare.contains(change.new, change.old)
    since = change.old
    if change.old == ZERO:
        base = bare.resolve(default) or ""
        since = bare.merge_base(base, change.new) or "" if base else ""
    span = f"{since}..{change.new}" if since else change.new
    found = bare.commits(span, limit=PUSH_COMMITS)[::-1]
    empty = bare.empty_tree() if any(not c.parents for c in found) else ""
    return [(c, bare.changes(c.parents[0] if c.parents else empty, c.sha)) for c in found], forced


async def _push(hub: Hub, who: Somebody, repo: Repository, change: Moved) -> dict[str, Any]:
    listed: list[Json] = []
    forced = False
    head: Json | None = None
    if change.new != ZERO:
        commits, forced = await hub.git(repo, _read_push, repo.default_branch, change)
        listed = [webhook_commit(hub, repo, c, files) for c, files in commits]
        last = await hub.git(repo, Bare.commit, change.new)
        head = next((x for x in listed if x["id"] == last.sha), None)
        head = head or webhook_commit(hub, repo, last, ())
    page = page_url(hub, repo)
    return {
        "ref": change.ref,
        "before": change.old,
        "after": change.new,
        "created": change.old == ZERO,
        "deleted": change.new == ZERO,
        "forced": forced,
        "base_ref": None,
        "compare": f"{page}/compare/{change.old[:12]}...{change.new[:12]}",
        "commits": listed,
        "head_commit": head,
        "pusher": {"name": who.user.login, "email": who.user.email},
    }


def _open(hub: Hub, pulls: Sequence[Pull]) -> list[tuple[Pull, Issue]]:
    pairs = [(p, hub.state.issues.one(number=(p.repo_id, p.number))) for p in pulls]
    return [(p, i) for p, i in pairs if i is not None and i.state == "open"]


async def _heads(hub: Hub, who: Somebody, repo: Repository, branch: str, change: Moved) -> None:
    """Pull requests from this branch have a new head, or none any more and are closed."""
    for pull, issue in _open(hub, hub.state.pulls.where(head=(repo.id, branch))):
        if change.new == ZERO:
            await close(hub, who, pull, issue)
            continue
        if change.new == pull.head_sha:
            continue
        base = hub.state.repositories[pull.repo_id]
        if base.id != repo.id:
            await hub.git(base, Bare.bring, hub.bare(repo).folder, change.new)
        queued = pull.queued_by_id is not None
        pull = hub.state.pulls.put(replace(pull, head_sha=change.new, queued_by_id=None))
        hub.state.issues.put(replace(issue, updated_at=hub.clock.now()))
        await hub.git(base, Bare.set_ref, f"refs/pull/{pull.number}/head", change.new)
        await tell_pull(hub, who, pull, "synchronize", before=change.old, after=change.new)
        if queued:
            await tell_pull(hub, who, pull, "dequeued", reason="BRANCH_PROTECTIONS")


async def _bases(hub: Hub, who: Somebody, repo: Repository, branch: str, change: Moved) -> None:
    """Pull requests into this branch have a new base, or were merged by hand."""
    for pull, issue in _open(hub, hub.state.pulls.where(base=(repo.id, branch))):
        if change.new == ZERO:
            await close(hub, who, pull, issue)
        elif await hub.git(repo, Bare.contains, change.new, pull.head_sha):
            await mark_merged(hub, who, pull, change.new)
        else:
            hub.state.pulls.put(replace(pull, base_sha=change.new))


async def close(hub: Hub, who: Somebody, pull: Pull, issue: Issue) -> None:
    """Close a pull request and say so."""
    now = hub.clock.now()
    hub.state.issues.put(
        replace(issue, state="closed", closed_at=now, updated_at=now, closed_by_id=who.user.id)
    )
    await tell_pull(hub, who, pull, "closed")


async def mark_merged(hub: Hub, who: Somebody, pull: Pull, sha: str) -> Pull:
    """Remember that the pull request landed as `sha`, and say so."""
    issue = hub.state.issues.one(number=(pull.repo_id, pull.number))
    assert issue is not None
    merged = replace(
        pull, merged_at=hub.clock.now(), merged_by_id=who.user.id, merge_commit_sha=sha
    )
    hub.state.pulls.put(merged)
    await close(hub, who, merged, issue)
    return merged


async def _suites(hub: Hub, who: Somebody, repo: Repository, branch: str, change: Moved) -> None:
    """Every App that writes checks has a suite on each new head, and is asked to fill it."""
    for installation in hub.state.installations.where(account=repo.owner_id):
        writes = installation.permissions.get("checks") == "write"
        if writes and covers(installation, repo) and installation.suspended_at is None:
            app_id = installation.app_id
            suite = suite_for(hub, repo, app_id, change.new, branch, change.old)
            await tell_suite(hub, who, suite, "requested")
