"""Issues: open, edit, close, label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bot.hub.access import (
    Actor,
    Person,
    Somebody,
    app_id,
    at_least,
    may,
    require,
    role_of,
    somebody,
)
from bot.hub.actions.texts import checked_body, checked_title
from bot.hub.core import Hub
from bot.hub.events import emit
from bot.hub.records import Issue, Label, Labelling, Pull, Repository
from bot.hub.refusals import forbidden, invalid, not_found, unprocessable
from bot.hub.render import Json
from bot.hub.render import issues as render
from bot.hub.render import pulls as render_pulls
from bot.hub.render.repos import label as render_label

ISSUES = "issues"
EITHER = "issues|pull_requests"

# GitHub's colour for a label that nobody chose one for.
DEFAULT_COLOR = "ededed"


def find(hub: Hub, repo: Repository, number: int) -> Issue:
    """The issue (or pull request's conversation) of this number."""
    found = hub.state.issues.one(number=(repo.id, number))
    if found is None:
        raise not_found()
    return found


def scopes(issue: Issue) -> str:
    """The App permissions of which one suffices to touch this."""
    return EITHER if issue.is_pull else ISSUES


async def tell(hub: Hub, actor: Somebody, issue: Issue, action: str, **fields: Any) -> None:
    """Send the `issues` event, or `pull_request` where it is one."""
    repo = hub.state.repositories[issue.repo_id]
    if issue.is_pull:
        pull = hub.state.pulls.one(number=(repo.id, issue.number))
        assert pull is not None
        await tell_pull(hub, actor, pull, action, **fields)
    else:
        emit(hub, actor, repo, "issues", action, issue=render.issue(hub, issue), **fields)


async def tell_pull(hub: Hub, actor: Somebody, pull: Pull, action: str, **fields: Any) -> None:
    """Send the `pull_request` event."""
    repo = hub.state.repositories[pull.repo_id]
    body = await render_pulls.full(hub, pull, with_mergeability=False)
    emit(hub, actor, repo, "pull_request", action, number=pull.number, pull_request=body, **fields)


async def create(
    hub: Hub,
    actor: Actor,
    repo: Repository,
    title: str,
    body: str | None = None,
    *,
    labels: Sequence[str] = (),
    assignees: Sequence[str] = (),
) -> Issue:
    """Open an issue. Labels of someone who may not label are dropped, as GitHub drops them."""
    require(actor, repo, ISSUES, "write")
    who = somebody(actor)
    title, body = checked_title("Issue", title), checked_body("Issue", body)
    now = hub.clock.now()
    privileged = may(actor, repo, ISSUES, "write", "triage")
    names = ensure_labels(hub, repo, labels) if privileged else ()
    issue = Issue(
        id=hub.state.issues.next_id(),
        repo_id=repo.id,
        number=hub.state.next_number(repo.id),
        is_pull=False,
        title=title,
        body=body,
        author_id=who.user.id,
        app_id=app_id(actor),
        created_at=now,
        updated_at=now,
        labels=names,
        assignee_ids=_users(hub, assignees) if privileged else (),
    )
    hub.state.issues.put(issue)
    await tell(hub, who, issue, "opened")
    for name in names:
        await _labelled(hub, who, issue, name, is_set=True)
    return issue


def _users(hub: Hub, logins: Sequence[str]) -> tuple[int, ...]:
    found = [(login, hub.user(login)) for login in logins]
    for login, user in found:
        if user is None:
            raise invalid("Issue", "assignees", "invalid", f"{login} cannot be assigned")
    return tuple(dict.fromkeys(user.id for _, user in found if user))


async def edit(
    hub: Hub,
    actor: Actor,
    issue: Issue,
    *,
    title: str | None = None,
    body: str | None = None,
    state: str | None = None,
    state_reason: str | None = None,
    labels: Sequence[str] | None = None,
    assignees: Sequence[str] | None = None,
) -> Issue:
    """Change what is not None: authors may edit and close their own, others need a role."""
    repo = hub.state.repositories[issue.repo_id]
    require(actor, repo, scopes(issue), "write")
    who = somebody(actor)
    _may_change(who, repo, issue, texts=title is not None or body is not None)
    if title is not None or body is not None:
        issue = await _edit_texts(hub, who, issue, title, body)
    if labels is not None:
        issue = await set_labels(hub, actor, issue, labels)
    if assignees is not None:
        issue = replace(issue, assignee_ids=_users(hub, assignees))
        hub.state.issues.put(issue)
    if state is not None and state != issue.state:
        issue = await set_state(hub, who, issue, state, state_reason)
    return issue


def _may_change(who: Somebody, repo: Repository, issue: Issue, *, texts: bool) -> None:
    if not isinstance(who, Person) or who.user.id == issue.author_id:
        return
    if not at_least(role_of(repo, who.user), "write" if texts else "triage"):
        raise forbidden()


async def _edit_texts(
    hub: Hub, who: Somebody, issue: Issue, title: str | None, body: str | None
) -> Issue:
    resource = "PullRequest" if issue.is_pull else "Issue"
    changes: Json = {}
    edited = replace(issue, updated_at=hub.clock.now())
    if title is not None and checked_title(resource, title) != issue.title:
        changes["title"] = {"from": issue.title}
        edited = replace(edited, title=title)
    if body is not None and checked_body(resource, body) != issue.body:
        changes["body"] = {"from": issue.body or ""}
        edited = replace(edited, body=body)
    if not changes:
        return issue
    hub.state.issues.put(edited)
    await tell(hub, who, edited, "edited", changes=changes)
    return edited


async def set_state(
    hub: Hub, who: Somebody, issue: Issue, state: str, reason: str | None = None
) -> Issue:
    """Close or reopen, and say so."""
    if state not in ("open", "closed"):
        raise invalid("Issue", "state", "invalid", "state must be open or closed")
    now = hub.clock.now()
    if state == "closed":
        done = None if issue.is_pull else reason or "completed"
        issue = replace(issue, state="closed", state_reason=done, closed_at=now,
                        closed_by_id=who.user.id, updated_at=now)  # fmt: skip
    else:
        _reopenable(hub, issue)
        back = None if issue.is_pull else "reopened"
        issue = replace(issue, state="open", state_reason=back, closed_at=None,
                        closed_by_id=None, updated_at=now)  # fmt: skip
    hub.state.issues.put(issue)
    await tell(hub, who, issue, "closed" if state == "closed" else "reopened")
    return issue


def _reopenable(hub: Hub, issue: Issue) -> None:
    pull = hub.state.pulls.one(number=(issue.repo_id, issue.number)) if issue.is_pull else None
    if pull is not None and pull.merged_at is not None:
        raise invalid("PullRequest", "state", "custom", "state cannot be changed. "
                      "The pull request has been merged.")  # fmt: skip


# -- labels ---------------------------------------------------------------------------------


def create_label(
    hub: Hub, actor: Actor, repo: Repository, name: str, color: str = "", description: str = ""
) -> Label:
    """Make a label."""
    require(actor, repo, EITHER, "write", "triage")
    if not name.strip():
        raise invalid("Label", "name", "missing_field")
    if hub.state.labels.one(name=(repo.id, name.lower())):
        raise invalid("Label", "name", "already_exists")
    return _put_label(hub, repo, name, color, description)


def _put_label(
    hub: Hub, repo: Repository, name: str, color: str = "", description: str = ""
) -> Label:
    color = color.lstrip("#") or DEFAULT_COLOR
    label = Label(hub.state.labels.next_id(), repo.id, name, color, description)
    return hub.state.labels.put(label)


def ensure_labels(hub: Hub, repo: Repository, names: Sequence[str]) -> tuple[str, ...]:
    """The labels' names as the repository spells them; missing ones are made, as GitHub does."""
    out = []
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise unprocessable("Validation Failed: a label needs a name")
        label = hub.state.labels.one(name=(repo.id, name.lower())) or _put_label(hub, repo, name)
        out.append(label.name)
    return tuple(dict.fromkeys(out))


async def set_labels(hub: Hub, actor: Actor, issue: Issue, names: Sequence[str]) -> Issue:
    """Make `names` the issue's labels, with an event for each that came or went."""
    repo = hub.state.repositories[issue.repo_id]
    require(actor, repo, scopes(issue), "write", "triage")
    who = somebody(actor)
    wanted = ensure_labels(hub, repo, names)
    before = issue.labels
    issue = replace(issue, labels=wanted, updated_at=hub.clock.now())
    hub.state.issues.put(issue)
    for name in (n for n in wanted if n not in before):
        await _labelled(hub, who, issue, name, is_set=True)
    for name in (n for n in before if n not in wanted):
        await _labelled(hub, who, issue, name, is_set=False)
    return issue


async def _labelled(hub: Hub, who: Somebody, issue: Issue, name: str, *, is_set: bool) -> None:
    """Keep who set or took a label, and tell of it."""
    repo = hub.state.repositories[issue.repo_id]
    hub.state.labellings.put(
        Labelling(
            id=hub.state.labellings.next_id(),
            repo_id=issue.repo_id,
            number=issue.number,
            actor_id=who.user.id,
            name=name,
            is_set=is_set,
            created_at=issue.updated_at,
        )
    )
    action = "labeled" if is_set else "unlabeled"
    await tell(hub, who, issue, action, label=_label_json(hub, repo, name))


async def add_labels(hub: Hub, actor: Actor, issue: Issue, names: Sequence[str]) -> Issue:
    """Add labels to those that are there."""
    return await set_labels(hub, actor, issue, (*issue.labels, *names))


async def remove_label(hub: Hub, actor: Actor, issue: Issue, name: str) -> Issue:
    """Take a label off."""
    kept = [n for n in issue.labels if n.lower() != name.lower()]
    if len(kept) == len(issue.labels):
        raise not_found()
    return await set_labels(hub, actor, issue, kept)


def _label_json(hub: Hub, repo: Repository, name: str) -> Json:
    found = hub.state.labels.one(name=(repo.id, name.lower()))
    assert found is not None
    return render_label(hub, found)
