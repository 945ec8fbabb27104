"""Issues, comments, reactions and labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from bot.hub.actions import comments, issues, reviews
from bot.hub.actions.comments import Subject
from bot.hub.records import Comment, Issue, Label, Reaction
from bot.hub.refusals import Refusal, invalid, not_found
from bot.hub.render import issues as render
from bot.hub.render import repos as render_repos
from bot.hub.rest.apps import since_of
from bot.hub.rest.door import NO_CONTENT, Call, Reply, Table

EITHER = issues.EITHER


def _issue(call: Call) -> Issue:
    call.reads(EITHER)
    return issues.find(call.hub, call.repo, call.params["number"])


def _labels(call: Call, names: object) -> list[str] | None:
    """Label names, where GitHub takes texts or objects with a name."""
    if names is None:
        return None
    if not isinstance(names, list):
        raise call.wrong("labels")
    return [n["name"] if isinstance(n, dict) and "name" in n else n for n in names]


async def create_issue(call: Call) -> Reply:
    """Open an issue."""
    made = await issues.create(
        call.hub,
        call.actor,
        call.repo,
        cast(str, call.body.get("title")),
        call.text("body"),
        labels=_labels(call, call.body.get("labels")) or (),
        assignees=call.texts("assignees") or (),
    )
    return Reply(render.issue(call.hub, made), 201)


async def get_issue(call: Call) -> Reply:
    """One issue, or a pull request's conversation."""
    return Reply(render.issue(call.hub, _issue(call)))


async def update_issue(call: Call) -> Reply:
    """Change an issue."""
    found = issues.find(call.hub, call.repo, call.params["number"])
    made = await issues.edit(
        call.hub,
        call.actor,
        found,
        title=call.text("title"),
        body=call.text("body"),
        state=call.text("state"),
        state_reason=call.text("state_reason"),
        labels=_labels(call, call.body.get("labels")),
        assignees=call.texts("assignees"),
    )
    return Reply(render.issue(call.hub, made))


async def list_issues(call: Call) -> Reply:
    """Issues and pull requests, by state, labels, creator and `since`."""
    repo = call.reads(EITHER)
    found = call.hub.state.issues.where(repo=repo.id)
    state = call.query.get("state", "open")
    since = since_of(call)
    labels = {n.lower() for n in call.query.get("labels", "").split(",") if n}
    creator = call.query.get("creator")
    author = call.hub.user(creator) if creator else None
    kept = [
        i
        for i in found
        if state in ("all", i.state)
        and i.updated_at.timestamp() >= since
        and labels <= {n.lower() for n in i.labels}
        and (not creator or (author is not None and author.id == i.author_id))
    ]
    return call.page(sort(call, kept), lambda i: render.issue(call.hub, i))


def sort(call: Call, found: Sequence[Issue]) -> list[Issue]:
    """Issues in the order that the query asks for."""

    def moment(issue: Issue) -> tuple[datetime, int]:
        by_update = call.query.get("sort") == "updated"
        return (issue.updated_at if by_update else issue.created_at), issue.id

    return sorted(found, key=moment, reverse=call.query.get("direction", "desc") == "desc")


# -- comments -------------------------------------------------------------------------------


async def create_comment(call: Call) -> Reply:
    """Comment."""
    body = call.needed("body")
    made = comments.create(call.hub, call.actor, call.repo, call.params["number"], body)
    return Reply(render.comment(call.hub, made), 201)


def _since(call: Call, found: Sequence[Comment]) -> list[Comment]:
    since = since_of(call)
    return [c for c in found if c.updated_at.timestamp() >= since]


async def list_comments(call: Call) -> Reply:
    """The comments of one issue, oldest first."""
    issue = _issue(call)
    found = call.hub.state.comments.where(number=(issue.repo_id, issue.number))
    return call.page(_since(call, found), lambda c: render.comment(call.hub, c))


async def list_all_comments(call: Call) -> Reply:
    """The comments of a repository."""
    repo = call.reads(EITHER)
    found = _since(call, call.hub.state.comments.where(repo=repo.id))
    if call.query.get("sort") == "updated":
        found.sort(key=lambda c: (c.updated_at, c.id))
    if call.query.get("sort") and call.query.get("direction", "desc") == "desc":
        found.reverse()
    return call.page(found, lambda c: render.comment(call.hub, c))


def _comment(call: Call) -> Comment:
    call.reads(EITHER)
    return comments.find_comment(call.hub, call.repo, call.params["id"])


async def get_comment(call: Call) -> Reply:
    """One comment."""
    return Reply(render.comment(call.hub, _comment(call)))


async def update_comment(call: Call) -> Reply:
    """Change a comment."""
    made = comments.edit(call.hub, call.actor, _comment(call), call.needed("body"))
    return Reply(render.comment(call.hub, made))


async def delete_comment(call: Call) -> Reply:
    """Take a comment away."""
    comments.delete(call.hub, call.actor, _comment(call))
    return NO_CONTENT


# -- reactions ------------------------------------------------------------------------------


def _subject(call: Call) -> tuple[Subject, int]:
    path = call.request.url.path
    if "/pulls/comments/" in path:
        return "review_comment", reviews.find_comment(call.hub, call.repo, call.params["id"]).id
    if "/issues/comments/" in path:
        return "comment", _comment(call).id
    return "issue", _issue(call).id


async def create_reaction(call: Call) -> Reply:
    """React: 201 for a new reaction, 200 for one that was there."""
    subject, subject_id = _subject(call)
    content = call.needed("content")
    made, new = comments.react(call.hub, call.actor, call.repo, subject, subject_id, content)
    return Reply(render.reaction(call.hub, made), 201 if new else 200)


async def list_reactions(call: Call) -> Reply:
    """The reactions to something."""
    subject = _subject(call)
    wanted = call.query.get("content")
    found = call.hub.state.reactions.where(subject=subject)
    kept: list[Reaction] = [r for r in found if wanted in (None, r.content)]
    return call.page(kept, lambda r: render.reaction(call.hub, r))


async def delete_reaction(call: Call) -> Reply:
    """Take a reaction away."""
    subject, subject_id = _subject(call)
    reaction = call.params["reaction"]
    comments.unreact(call.hub, call.actor, call.repo, subject, subject_id, reaction)
    return NO_CONTENT


# -- labels ---------------------------------------------------------------------------------


def _label_list(call: Call, issue: Issue) -> Reply:
    return Reply(render_repos.labels(call.hub, call.repo, issue.labels))


async def list_repo_labels(call: Call) -> Reply:
    """The repository's labels."""
    repo = call.reads(EITHER)
    found = call.hub.state.labels.where(repo=repo.id)
    return call.page(found, lambda x: render_repos.label(call.hub, x))


async def create_label(call: Call) -> Reply:
    """Make a label."""
    made = issues.create_label(
        call.hub,
        call.actor,
        call.repo,
        call.needed("name"),
        call.text("color") or "",
        call.text("description") or "",
    )
    return Reply(render_repos.label(call.hub, made), 201)


async def get_label(call: Call) -> Reply:
    """One label."""
    repo = call.reads(EITHER)
    found: Label | None = call.hub.state.labels.one(name=(repo.id, call.params["name"].lower()))
    if found is None:
        raise not_found()
    return Reply(render_repos.label(call.hub, found))


async def list_labels(call: Call) -> Reply:
    """An issue's labels."""
    return _label_list(call, _issue(call))


def _wanted(call: Call) -> list[str]:
    names = _labels(call, call.body.get("labels", call.body.get("")))
    if names is None:
        raise invalid("Label", "labels", "missing_field")
    return names


async def add_labels(call: Call) -> Reply:
    """Add labels to an issue."""
    made = await issues.add_labels(call.hub, call.actor, _issue(call), _wanted(call))
    return _label_list(call, made)


async def set_labels(call: Call) -> Reply:
    """Make these an issue's labels."""
    made = await issues.set_labels(call.hub, call.actor, _issue(call), _wanted(call))
    return _label_list(call, made)


async def remove_label(call: Call) -> Reply:
    """Take a label off an issue."""
    try:
        made = await issues.remove_label(call.hub, call.actor, _issue(call), call.params["name"])
    except Refusal as refusal:
        if refusal.code == 404:
            raise Refusal(404, "Label does not exist") from refusal
        raise
    return _label_list(call, made)


R = "/repos/{owner}/{repo}"
ISSUE = R + "/issues/{number:int}"
COMMENT = R + "/issues/comments/{id:int}"
LINE = R + "/pulls/comments/{id:int}"

TABLE: Table = [
    ("GET", R + "/issues", list_issues),
    ("POST", R + "/issues", create_issue),
    ("GET", R + "/issues/comments", list_all_comments),
    ("GET", COMMENT, get_comment),
    ("PATCH", COMMENT, update_comment),
    ("DELETE", COMMENT, delete_comment),
    ("GET", ISSUE, get_issue),
    ("PATCH", ISSUE, update_issue),
    ("GET", ISSUE + "/comments", list_comments),
    ("POST", ISSUE + "/comments", create_comment),
    *(
        row
        for place in (ISSUE, COMMENT, LINE)
        for row in (
            ("GET", place + "/reactions", list_reactions),
            ("POST", place + "/reactions", create_reaction),
            ("DELETE", place + "/reactions/{reaction:int}", delete_reaction),
        )
    ),
    ("GET", R + "/labels", list_repo_labels),
    ("POST", R + "/labels", create_label),
    ("GET", R + "/labels/{name}", get_label),
    ("GET", ISSUE + "/labels", list_labels),
    ("POST", ISSUE + "/labels", add_labels),
    ("PUT", ISSUE + "/labels", set_labels),
    ("DELETE", ISSUE + "/labels/{name}", remove_label),
]
