"""A conversation as a list of what was said and done, oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from bot.hub.core import Hub
from bot.hub.pages.diffs import Row, rows
from bot.hub.records import Comment, Issue, Pull, Review, ReviewComment
from bot.hub.repositories import Commit

# Rows of the difference shown above a thread: enough to see what the comment is about.
CONTEXT_ROWS = 6

REVIEWED = {
    "APPROVED": "approved",
    "CHANGES_REQUESTED": "asked for changes",
    "COMMENTED": "reviewed",
    "DISMISSED": "reviewed (dismissed)",
    "PENDING": "began a review",
}


@dataclass(frozen=True, slots=True)
class Thread:
    """A comment on a line with its replies, under the rows that it is about."""

    comments: tuple[ReviewComment, ...]
    hunk: tuple[Row, ...]

    @property
    def first(self) -> ReviewComment:
        """The comment that began it."""
        return self.comments[0]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on the timeline; `key` is its id on the page, by which it is found again."""

    kind: Literal["comment", "review", "commits", "closed", "merged"]
    key: str
    at: datetime
    who: int | None
    comment: Comment | None = None
    review: Review | None = None
    threads: tuple[Thread, ...] = ()
    commits: tuple[Commit, ...] = ()
    sha: str = ""


def threads(comments: Sequence[ReviewComment]) -> list[Thread]:
    """The threads of line comments, in the order in which they began."""
    grouped: dict[int, list[ReviewComment]] = {}
    for comment in comments:
        grouped.setdefault(comment.in_reply_to_id or comment.id, []).append(comment)
    return [Thread(tuple(group), _context(group[0])) for group in grouped.values()]


def _context(comment: ReviewComment) -> tuple[Row, ...]:
    found = [row for row in rows(comment.diff_hunk) if row.kind != "hunk"]
    return tuple(found[-CONTEXT_ROWS:])


def timeline(hub: Hub, issue: Issue, viewer: int | None) -> list[Item]:
    """What happened on an issue; of pull requests everything but the commits."""
    key = (issue.repo_id, issue.number)
    items = [
        Item("comment", f"issuecomment-{c.id}", c.created_at, c.author_id, comment=c)
        for c in hub.state.comments.where(number=key)
    ]
    pull = hub.state.pulls.one(number=key) if issue.is_pull else None
    if pull is not None:
        items += _reviews(hub, pull, viewer)
    items += _ending(issue, pull)
    return sorted(items, key=lambda item: item.at)


def with_commits(items: Sequence[Item], commits: Sequence[Commit]) -> list[Item]:
    """Put commits in among the rest by when they were made, neighbours together."""
    out: list[Item] = []
    left = list(commits)
    for item in sorted(items, key=lambda item: item.at):
        before = [c for c in left if c.committer.at <= item.at]
        left = left[len(before) :]
        out += _pushed(before)
        out.append(item)
    return out + _pushed(left)


def _pushed(commits: Sequence[Commit]) -> list[Item]:
    if not commits:
        return []
    last = commits[-1]
    return [Item("commits", f"commits-{last.sha}", last.committer.at, None, commits=tuple(commits))]


def _reviews(hub: Hub, pull: Pull, viewer: int | None) -> list[Item]:
    key = (pull.repo_id, pull.number)
    by_review: dict[int, list[Thread]] = {}
    for thread in threads(hub.state.review_comments.where(number=key)):
        by_review.setdefault(thread.first.review_id, []).append(thread)
    out = []
    for review in hub.state.reviews.where(number=key):
        own = tuple(by_review.get(review.id, ()))
        only_replies = review.state == "COMMENTED" and not review.body and not own
        if only_replies or (review.state == "PENDING" and review.author_id != viewer):
            continue
        out.append(_reviewed(pull, review, own))
    return out


def _reviewed(pull: Pull, review: Review, own: tuple[Thread, ...]) -> Item:
    # A review that was not sent yet stands last.
    at = review.submitted_at or datetime.max.replace(tzinfo=UTC)
    return Item(
        "review",
        f"pullrequestreview-{review.id}",
        at,
        review.author_id,
        review=review,
        threads=own,
        sha=review.commit_id,
    )


def _ending(issue: Issue, pull: Pull | None) -> list[Item]:
    if pull is not None and pull.merged_at is not None:
        sha = pull.merge_commit_sha or ""
        return [Item("merged", "merged", pull.merged_at, pull.merged_by_id, sha=sha)]
    if issue.closed_at is not None:
        return [Item("closed", "closed", issue.closed_at, issue.closed_by_id)]
    return []
