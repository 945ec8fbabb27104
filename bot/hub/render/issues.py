"""Issues, comments and reactions as JSON."""

from __future__ import annotations

from bot.hub.access import association
from bot.hub.clock import stamp, stamp_or_none
from bot.hub.core import Hub
from bot.hub.records import Comment, Issue, Reaction, Repository
from bot.hub.render import Json
from bot.hub.render.repos import api_url, labels, page_url
from bot.hub.render.users import app_by_id, user_by_id

CONTENTS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")


def reaction(hub: Hub, record: Reaction) -> Json:
    """A reaction."""
    return {
        "id": record.id,
        "node_id": f"REA_{record.id}",
        "user": user_by_id(hub, record.author_id),
        "content": record.content,
        "created_at": stamp(record.created_at),
    }


def rollup(hub: Hub, subject: str, subject_id: int, url: str) -> Json:
    """How many reactions of each kind a thing has."""
    found = [r.content for r in hub.state.reactions.where(subject=(subject, subject_id))]
    counts = {content: found.count(content) for content in CONTENTS}
    return {"url": f"{url}/reactions", "total_count": len(found), **counts}


def author_association(hub: Hub, repo: Repository, user_id: int) -> str:
    """The author's relation to the repository."""
    return association(hub, repo, hub.state.users[user_id])


def issue_page(hub: Hub, record: Issue) -> str:
    """The page of an issue or pull request."""
    repo = hub.state.repositories[record.repo_id]
    return f"{page_url(hub, repo)}/{'pull' if record.is_pull else 'issues'}/{record.number}"


def issue(hub: Hub, record: Issue) -> Json:
    """An issue, or a pull request's conversation."""
    repo = hub.state.repositories[record.repo_id]
    base = api_url(hub, repo)
    url = f"{base}/issues/{record.number}"
    pull = _pull_part(hub, record, base) if record.is_pull else {}
    return {
        "url": url,
        "repository_url": base,
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": issue_page(hub, record),
        "id": record.id,
        "node_id": f"I_{record.id}",
        "number": record.number,
        "title": record.title,
        "user": user_by_id(hub, record.author_id),
        "labels": labels(hub, repo, record.labels),
        "state": record.state,
        "state_reason": record.state_reason,
        "locked": False,
        "assignee": user_by_id(hub, next(iter(record.assignee_ids), None)),
        "assignees": [user_by_id(hub, i) for i in record.assignee_ids],
        "milestone": None,
        "comments": hub.state.comments.count(number=(repo.id, record.number)),
        "created_at": stamp(record.created_at),
        "updated_at": stamp(record.updated_at),
        "closed_at": stamp_or_none(record.closed_at),
        "author_association": author_association(hub, repo, record.author_id),
        "active_lock_reason": None,
        "body": record.body,
        "closed_by": user_by_id(hub, record.closed_by_id),
        "reactions": rollup(hub, "issue", record.id, url),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": app_by_id(hub, record.app_id),
        **pull,
    }


def _pull_part(hub: Hub, record: Issue, base: str) -> Json:
    pull = hub.state.pulls.one(number=(record.repo_id, record.number))
    assert pull is not None
    page = issue_page(hub, record)
    return {
        "draft": pull.draft,
        "pull_request": {
            "url": f"{base}/pulls/{record.number}",
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": stamp_or_none(pull.merged_at),
        },
    }


def comment(hub: Hub, record: Comment) -> Json:
    """A comment on an issue or a pull request's conversation."""
    repo = hub.state.repositories[record.repo_id]
    base = api_url(hub, repo)
    url = f"{base}/issues/comments/{record.id}"
    parent = hub.state.issues.one(number=(record.repo_id, record.number))
    assert parent is not None
    return {
        "url": url,
        "html_url": f"{issue_page(hub, parent)}#issuecomment-{record.id}",
        "issue_url": f"{base}/issues/{record.number}",
        "id": record.id,
        "node_id": f"IC_{record.id}",
        "user": user_by_id(hub, record.author_id),
        "created_at": stamp(record.created_at),
        "updated_at": stamp(record.updated_at),
        "body": record.body,
        "author_association": author_association(hub, repo, record.author_id),
        "reactions": rollup(hub, "comment", record.id, url),
        "performed_via_github_app": app_by_id(hub, record.app_id),
    }
