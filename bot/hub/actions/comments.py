"""Comments and reactions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from bot.hub.access import Actor, Person, Somebody, app_id, at_least, require, role_of, somebody
from bot.hub.actions.issues import EITHER, find, scopes
from bot.hub.actions.texts import checked_body
from bot.hub.core import Hub
from bot.hub.events import emit
from bot.hub.records import Comment, Reaction, Repository
from bot.hub.refusals import forbidden, invalid, not_found
from bot.hub.render import issues as render

Subject = Literal["issue", "comment", "review_comment"]


def find_comment(hub: Hub, repo: Repository, comment_id: int) -> Comment:
    """The comment of this id in this repository."""
    found = hub.state.comments.get(comment_id)
    if found is None or found.repo_id != repo.id:
        raise not_found()
    return found


def _tell(hub: Hub, who: Somebody, comment: Comment, action: str, **fields: Any) -> None:
    repo = hub.state.repositories[comment.repo_id]
    issue = render.issue(hub, find(hub, repo, comment.number))
    body = render.comment(hub, comment)
    emit(hub, who, repo, "issue_comment", action, issue=issue, comment=body, **fields)


def create(hub: Hub, actor: Actor, repo: Repository, number: int, body: str) -> Comment:
    """Comment on an issue or pull request: whoever may read it may."""
    issue = find(hub, repo, number)
    require(actor, repo, scopes(issue), "write")
    who = somebody(actor)
    text = checked_body("IssueComment", body, required=True)
    now = hub.clock.now()
    comment = Comment(
        id=hub.state.comments.next_id(),
        repo_id=repo.id,
        number=number,
        author_id=who.user.id,
        app_id=app_id(actor),
        body=text or "",
        created_at=now,
        updated_at=now,
    )
    hub.state.comments.put(comment)
    hub.state.issues.put(replace(issue, updated_at=now))
    _tell(hub, who, comment, "created")
    return comment


def _own_or_write(hub: Hub, actor: Actor, comment: Comment) -> Somebody:
    repo = hub.state.repositories[comment.repo_id]
    require(actor, repo, EITHER, "write")
    who = somebody(actor)
    if who.user.id == comment.author_id:
        return who
    if isinstance(who, Person) and at_least(role_of(repo, who.user), "write"):
        return who
    raise forbidden()


def edit(hub: Hub, actor: Actor, comment: Comment, body: str) -> Comment:
    """Change a comment: one's own, or with the role write anyone's."""
    who = _own_or_write(hub, actor, comment)
    text = checked_body("IssueComment", body, required=True) or ""
    before = comment.body
    comment = replace(comment, body=text, updated_at=hub.clock.now())
    hub.state.comments.put(comment)
    if text != before:
        _tell(hub, who, comment, "edited", changes={"body": {"from": before}})
    return comment


def delete(hub: Hub, actor: Actor, comment: Comment) -> None:
    """Take a comment away, with its reactions."""
    who = _own_or_write(hub, actor, comment)
    _tell(hub, who, comment, "deleted")
    for reaction in hub.state.reactions.where(subject=("comment", comment.id)):
        hub.state.reactions.drop(reaction.id)
    hub.state.comments.drop(comment.id)


def react(
    hub: Hub, actor: Actor, repo: Repository, subject: Subject, subject_id: int, content: str
) -> tuple[Reaction, bool]:
    """React to something; gives the reaction and whether it is new. GitHub sends no event."""
    scope = "pull_requests" if subject == "review_comment" else EITHER
    require(actor, repo, scope, "write")
    who = somebody(actor)
    if content not in render.CONTENTS:
        raise invalid("Reaction", "content", "invalid")
    for old in hub.state.reactions.where(subject=(subject, subject_id)):
        if old.author_id == who.user.id and old.content == content:
            return old, False
    reaction = Reaction(
        id=hub.state.reactions.next_id(),
        repo_id=repo.id,
        subject=subject,
        subject_id=subject_id,
        author_id=who.user.id,
        content=content,
        created_at=hub.clock.now(),
    )
    return hub.state.reactions.put(reaction), True


def unreact(
    hub: Hub, actor: Actor, repo: Repository, subject: Subject, subject_id: int, reaction_id: int
) -> None:
    """Take one's own reaction away."""
    require(actor, repo, EITHER, "write")
    found = hub.state.reactions.get(reaction_id)
    if found is None or (found.subject, found.subject_id) != (subject, subject_id):
        raise not_found()
    if found.author_id != somebody(actor).user.id:
        raise forbidden()
    hub.state.reactions.drop(reaction_id)
