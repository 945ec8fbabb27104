"""Pull requests, reviews and review comments as JSON."""

from __future__ import annotations

from bot.hub.actions.protection import unmet
from bot.hub.clock import stamp, stamp_or_none
from bot.hub.core import Hub
from bot.hub.records import Issue, Pull, Repository, Review, ReviewComment
from bot.hub.render import Json
from bot.hub.render.issues import author_association, issue_page, rollup
from bot.hub.render.repos import api_url, labels, repository
from bot.hub.render.users import user, user_by_id
from bot.hub.repositories import Bare


def conversation(hub: Hub, pull: Pull) -> Issue:
    """The issue that carries the pull request's texts."""
    found = hub.state.issues.one(number=(pull.repo_id, pull.number))
    assert found is not None
    return found


def _side(hub: Hub, repo: Repository, ref: str, sha: str) -> Json:
    owner = hub.owner(repo)
    return {
        "label": f"{owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": user(hub, owner),
        "repo": repository(hub, repo),
    }


def _head(hub: Hub, pull: Pull) -> Json:
    """The head's side; where its fork was deleted, GitHub knows neither that nor whose it was."""
    repo = hub.state.repositories.get(pull.head_home)
    if repo is not None:
        return _side(hub, repo, pull.head_ref, pull.head_sha)
    nobody = {"label": f"unknown:{pull.head_ref}", "user": None, "repo": None}
    return {**nobody, "ref": pull.head_ref, "sha": pull.head_sha}


def simple(hub: Hub, pull: Pull) -> Json:
    """A pull request as lists have it."""
    repo = hub.state.repositories[pull.repo_id]
    issue = conversation(hub, pull)
    base, page = api_url(hub, repo), issue_page(hub, issue)
    url = f"{base}/pulls/{pull.number}"
    issue_url = f"{base}/issues/{pull.number}"
    links = {
        "self": url,
        "html": page,
        "issue": issue_url,
        "comments": f"{issue_url}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{base}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{base}/statuses/{pull.head_sha}",
    }
    return {
        "url": url,
        "id": pull.id,
        "node_id": f"PR_{pull.id}",
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "issue_url": issue_url,
        "commits_url": links["commits"],
        "review_comments_url": links["review_comments"],
        "review_comment_url": links["review_comment"],
        "comments_url": links["comments"],
        "statuses_url": links["statuses"],
        "number": pull.number,
        "state": issue.state,
        "locked": False,
        "title": issue.title,
        "user": user_by_id(hub, issue.author_id),
        "body": issue.body,
        "labels": labels(hub, repo, issue.labels),
        "milestone": None,
        "active_lock_reason": None,
        "created_at": stamp(issue.created_at),
        "updated_at": stamp(issue.updated_at),
        "closed_at": stamp_or_none(issue.closed_at),
        "merged_at": stamp_or_none(pull.merged_at),
        "merge_commit_sha": pull.merge_commit_sha,
        "assignee": user_by_id(hub, next(iter(issue.assignee_ids), None)),
        "assignees": [user_by_id(hub, i) for i in issue.assignee_ids],
        "requested_reviewers": [user_by_id(hub, i) for i in pull.reviewer_ids],
        "requested_teams": [],
        "head": _head(hub, pull),
        "base": _side(hub, repo, pull.base_ref, pull.base_sha),
        "_links": {name: {"href": address} for name, address in links.items()},
        "author_association": author_association(hub, repo, issue.author_id),
        "auto_merge": _auto_merge(hub, pull),
        "draft": pull.draft,
    }


def _auto_merge(hub: Hub, pull: Pull) -> Json | None:
    if pull.auto_method is None:
        return None
    return {
        "enabled_by": user_by_id(hub, pull.auto_by_id),
        "merge_method": pull.auto_method,
        "commit_title": pull.auto_title,
        "commit_message": pull.auto_body,
    }


def _count(bare: Bare, pull: Pull) -> tuple[int, int, int, int]:
    start = bare.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    changes = bare.changes(start, pull.head_sha)
    added, removed = sum(c.additions for c in changes), sum(c.deletions for c in changes)
    commits = bare.count(f"{pull.base_sha}..{pull.head_sha}")
    return commits, added, removed, len(changes)


async def mergeable(hub: Hub, pull: Pull) -> bool:
    """Whether head and base merge cleanly; told once for each pair of shas."""
    key = (pull.repo_id, pull.base_sha, pull.head_sha)
    if key not in hub.mergeable:
        repo = hub.state.repositories[pull.repo_id]
        tree = await hub.git(repo, Bare.merge_trees, pull.base_sha, pull.head_sha)
        hub.mergeable[key] = tree is not None
    return hub.mergeable[key]


async def full(hub: Hub, pull: Pull, *, with_mergeability: bool = True) -> Json:
    """A pull request as its own address and webhooks have it."""
    repo = hub.state.repositories[pull.repo_id]
    issue = conversation(hub, pull)
    key = (pull.repo_id, pull.base_sha, pull.head_sha)
    if key not in hub.pull_counts:
        hub.pull_counts[key] = await hub.git(repo, _count, pull)
    commits, added, removed, files = hub.pull_counts[key]
    clean: bool | None = None
    if with_mergeability and issue.state == "open":
        clean = await mergeable(hub, pull)
    return {
        **simple(hub, pull),
        "merged": pull.merged_at is not None,
        "mergeable": clean,
        "rebaseable": clean,
        "mergeable_state": await _state(hub, pull, clean),
        "merged_by": user_by_id(hub, pull.merged_by_id),
        "comments": hub.state.comments.count(number=(repo.id, pull.number)),
        "review_comments": hub.state.review_comments.count(number=(repo.id, pull.number)),
        "maintainer_can_modify": pull.maintainer_can_modify,
        "commits": commits,
        "additions": added,
        "deletions": removed,
        "changed_files": files,
    }


async def _state(hub: Hub, pull: Pull, clean: bool | None) -> str:
    if clean is None:
        return "unknown"
    if not clean:
        return "dirty"
    if pull.draft:
        return "draft"
    return "blocked" if await unmet(hub, pull, "squash") else "clean"


def review(hub: Hub, record: Review) -> Json:
    """A review."""
    repo = hub.state.repositories[record.repo_id]
    url = f"{api_url(hub, repo)}/pulls/{record.number}"
    issue = hub.state.issues.one(number=(repo.id, record.number))
    assert issue is not None
    page = f"{issue_page(hub, issue)}#pullrequestreview-{record.id}"
    sent = {} if record.submitted_at is None else {"submitted_at": stamp(record.submitted_at)}
    return {
        "id": record.id,
        "node_id": f"PRR_{record.id}",
        "user": user_by_id(hub, record.author_id),
        "body": record.body,
        "state": record.state,
        "html_url": page,
        "pull_request_url": url,
        "author_association": author_association(hub, repo, record.author_id),
        "_links": {"html": {"href": page}, "pull_request": {"href": url}},
        **sent,
        "commit_id": record.commit_id,
    }


def review_comment(hub: Hub, record: ReviewComment) -> Json:
    """A comment on a line."""
    repo = hub.state.repositories[record.repo_id]
    base = api_url(hub, repo)
    url = f"{base}/pulls/comments/{record.id}"
    pull_url = f"{base}/pulls/{record.number}"
    issue = hub.state.issues.one(number=(repo.id, record.number))
    assert issue is not None
    page = f"{issue_page(hub, issue)}#discussion_r{record.id}"
    reply = {} if record.in_reply_to_id is None else {"in_reply_to_id": record.in_reply_to_id}
    place = {} if record.line is None else {
        "line": record.line, "original_line": record.line, "position": 1, "original_position": 1,
    }  # fmt: skip
    return {
        "url": url,
        "pull_request_review_id": record.review_id,
        "id": record.id,
        "node_id": f"PRRC_{record.id}",
        "diff_hunk": record.diff_hunk,
        "path": record.path,
        "commit_id": record.commit_id,
        "original_commit_id": record.original_commit_id,
        "user": user_by_id(hub, record.author_id),
        "body": record.body,
        "created_at": stamp(record.created_at),
        "updated_at": stamp(record.updated_at),
        "html_url": page,
        "pull_request_url": pull_url,
        "author_association": author_association(hub, repo, record.author_id),
        "_links": {
            "self": {"href": url},
            "html": {"href": page},
            "pull_request": {"href": pull_url},
        },
        "reactions": rollup(hub, "review_comment", record.id, url),
        "start_line": record.start_line,
        "original_start_line": record.start_line,
        "start_side": record.start_side,
        "side": record.side,
        "subject_type": record.subject_type,
        **place,
        **reply,
    }
