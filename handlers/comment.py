"""A comment on an issue, a pull request or a line of its diff: the commands in it are obeyed.

Bots command nothing, and an edited comment is no new command.
"""

from __future__ import annotations

from bot.payloads import CommentCreated, ReviewCommentCreated
from bot.router import Conversation, Router, Spoken, repository_of


async def on_comment(router: Router, arrival: CommentCreated) -> None:
    """Hear a comment in the conversation of an issue or a pull request."""
    if arrival.author_is_bot:
        return
    conversation = Conversation(
        number=arrival.number,
        title=arrival.issue_title,
        body=arrival.issue_body,
        author=arrival.issue_author,
        is_pull=arrival.is_pull,
    )
    spoken = Spoken(
        cause=f"comment:{arrival.comment}",
        login=arrival.author,
        at=arrival.created_at,
        how="command",
        repository=repository_of(arrival.where),
        conversation=conversation,
        url=arrival.url,
        comment=arrival.comment,
        found=not arrival.delivery,
    )
    await router.hear(spoken, arrival.body)


async def on_review_comment(router: Router, arrival: ReviewCommentCreated) -> None:
    """Hear a comment on a line of a pull request's diff."""
    if arrival.author_is_bot:
        return
    line = f", line {arrival.line}" if arrival.line else ""
    spoken = Spoken(
        cause=f"review-comment:{arrival.comment}",
        login=arrival.author,
        at=arrival.created_at,
        how="command",
        repository=repository_of(arrival.where),
        conversation=Conversation(arrival.number, arrival.pull_title, is_pull=True),
        url=arrival.url,
        seen=arrival.commit_sha,
        place=f"`{arrival.path}`{line}",
        review_comment=arrival.comment,
        found=not arrival.delivery,
    )
    await router.hear(spoken, arrival.body)
