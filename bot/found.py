"""Arrivals that no webhook told: what was found by looking, in the words of what arrives.

They carry no GUID, which says that their webhook may come, or have come, as well.
"""

from __future__ import annotations

from bot.payloads import CommentCreated, ReviewSubmitted, Where
from bot.runs.model import Repository
from bot.threads import Comment, Issue, Review

REVIEWS = frozenset({"approved", "changes_requested", "commented"})
"""The reviews that say something now; a dismissed one does not."""


def comment_on(repository: Repository, issue: Issue, comment: Comment) -> CommentCreated:
    """Say that somebody commented on an issue, or in a pull request's conversation."""
    return CommentCreated(
        where=where(repository),
        sender=comment.author,
        number=issue.number,
        is_pull=issue.is_pull,
        issue_title=issue.title,
        issue_body=issue.body,
        issue_author=issue.author,
        comment=comment.id,
        body=comment.body,
        author=comment.author,
        author_is_bot=comment.author_is_bot,
        created_at=comment.created_at,
        url=comment.url,
    )


def is_unedited(comment: Comment) -> bool:
    """Say whether a comment reads as it was written: an edit commands nothing."""
    return comment.created_at == comment.updated_at


def review_of(
    repository: Repository, number: int, head: tuple[str, str], review: Review
) -> ReviewSubmitted:
    """Say that somebody reviewed pull request `number`; `head` is its commit and branch."""
    return ReviewSubmitted.model_validate(
        {
            "where": where(repository),
            "sender": review.author,
            "number": number,
            "head_sha": head[0],
            "head_ref": head[1],
            "review": review.id,
            "state": review.state,
            "body": review.body,
            "commit_sha": review.commit_sha,
            "author": review.author,
            "author_is_bot": review.author_is_bot,
            "submitted_at": review.submitted_at,
            "url": review.url,
        }
    )


def where(repository: Repository) -> Where:
    """Say where something happened."""
    return Where(
        repository=repository.id,
        owner=repository.owner,
        name=repository.name,
        installation=repository.installation,
        default_branch=repository.default_branch,
        clone_url=repository.url,
    )
