"""Merging later: by itself once the rules allow it, or through the base's merge queue."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.hub.access import Actor, Person, Somebody, at_least, require, role_of, somebody
from bot.hub.actions import protection, pulls
from bot.hub.actions.issues import tell_pull
from bot.hub.core import Hub
from bot.hub.records import Pull, Repository
from bot.hub.refusals import forbidden, unprocessable
from bot.hub.render.pulls import conversation


def _mergers(hub: Hub, actor: Actor, pull: Pull, head: str | None) -> tuple[Repository, Somebody]:
    """Who may merge it, where its head is `head` if that is given."""
    repo = hub.state.repositories[pull.repo_id]
    require(actor, repo, "contents", "write", "write")
    who = somebody(actor)
    if isinstance(who, Person) and not at_least(role_of(repo, who.user), "write"):
        raise forbidden()
    if conversation(hub, pull).state != "open":
        raise unprocessable("Pull request is closed")
    if pull.draft:
        raise unprocessable("Pull request is in draft state")
    if head and head != pull.head_sha:
        raise unprocessable("Head branch was modified. Review and try the merge again.")
    return repo, who


@dataclass(frozen=True, slots=True)
class Later:
    """How it is merged when its time has come: the method, and what its commit then says."""

    method: str = "merge"
    title: str | None = None
    body: str | None = None


async def enable(
    hub: Hub, actor: Actor, pull: Pull, later: Later, *, head: str | None = None
) -> Pull:
    """Have it merged as soon as the base's rules allow it."""
    repo, who = _mergers(hub, actor, pull, head)
    if not repo.auto_merge:
        raise unprocessable("Pull request Auto merge is not allowed for this repository")
    if not await protection.unmet(hub, pull, later.method):
        raise unprocessable("Pull request Pull request is in clean status")
    pull = hub.state.pulls.put(
        replace(
            pull,
            auto_method=later.method,
            auto_title=later.title,
            auto_body=later.body,
            auto_by_id=who.user.id,
        )
    )
    await tell_pull(hub, who, pull, "auto_merge_enabled")
    return pull


async def disable(hub: Hub, actor: Actor, pull: Pull) -> Pull:
    """Have it merged by itself no more."""
    repo = hub.state.repositories[pull.repo_id]
    require(actor, repo, "contents", "write", "write")
    if pull.auto_method is None:
        raise unprocessable("Can't disable auto-merge for this pull request.")
    pull = hub.state.pulls.put(replace(pull, auto_method=None, auto_by_id=None))
    await tell_pull(hub, somebody(actor), pull, "auto_merge_disabled", reason="by hand")
    return pull


async def settle(hub: Hub, repo: Repository, sha: str) -> None:
    """Merge what waits with this head and meets the base's rules now."""
    for pull in hub.state.pulls.where(sha=(repo.id, sha)):
        if pull.auto_method is None or pull.merged_at is not None:
            continue
        if not await protection.unmet(hub, pull, pull.auto_method):
            await _land(hub, pull, pull.auto_method, pull.auto_by_id)


async def _land(hub: Hub, pull: Pull, method: str, by_id: int | None) -> None:
    user = hub.state.users[by_id or 0]
    by = pulls.acting(hub, pull, user)
    # The queue writes its own message, whatever was asked for.
    title, body = (pull.auto_title, pull.auto_body) if pull.auto_method else (None, None)
    await pulls.merge(hub, by, pull, method=method, title=title, message=body, by_rules=False)


async def enqueue(hub: Hub, actor: Actor, pull: Pull, *, head: str | None = None) -> Pull:
    """Put it into the base's merge queue."""
    repo, who = _mergers(hub, actor, pull, head)
    if not protection.has_queue(hub, repo, pull.base_ref):
        raise unprocessable("Merge queue is not enabled for this branch")
    if pull.queued_by_id is not None:
        raise unprocessable("Pull request is already in the queue")
    if problems := await protection.unmet(hub, pull, "merge"):
        raise unprocessable(f"Pull request is not mergeable: {problems[0]}")
    pull = hub.state.pulls.put(replace(pull, queued_by_id=who.user.id))
    await tell_pull(hub, who, pull, "enqueued")
    return pull


async def leave_queue(hub: Hub, actor: Actor, pull: Pull, *, reason: str) -> None:
    """Take it out of the queue: `MERGE` lands it, any other reason does not, as GitHub says them.

    What the queue's own checks come to is the caller's to say.
    """
    by_id = pull.queued_by_id
    if by_id is None:
        raise unprocessable("Pull request is not in the queue")
    pull = hub.state.pulls.put(replace(pull, queued_by_id=None))
    await tell_pull(hub, somebody(actor), pull, "dequeued", reason=reason)
    if reason == "MERGE":
        await _land(hub, pull, "merge", by_id)
