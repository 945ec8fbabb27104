"""Reviews and the comments on lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from bot.hub.access import Actor, Person, Somebody, app_id, at_least, require, role_of, somebody
from bot.hub.actions.texts import checked_body
from bot.hub.core import Hub
from bot.hub.events import emit
from bot.hub.records import Pull, Repository, Review, ReviewComment
from bot.hub.refusals import Refusal, forbidden, invalid, not_found, unprocessable
from bot.hub.render import Json
from bot.hub.render import pulls as render
from bot.hub.render.pulls import conversation
from bot.hub.repositories import Bare, FileChange

SCOPE = "pull_requests"

State = Literal["PENDING", "COMMENTED", "APPROVED", "CHANGES_REQUESTED", "DISMISSED"]
STATES: dict[str, State] = {
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
    "COMMENT": "COMMENTED",
}

HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


def find(hub: Hub, pull: Pull, review_id: int, actor: Actor) -> Review:
    """The review of this id; pending ones are there for their author alone."""
    found = hub.state.reviews.get(review_id)
    if found is None or (found.repo_id, found.number) != (pull.repo_id, pull.number):
        raise not_found()
    if found.state == "PENDING" and not _is(actor, found.author_id):
        raise not_found()
    return found


def _is(actor: Actor, user_id: int) -> bool:
    return getattr(getattr(actor, "user", None), "id", None) == user_id


def visible(hub: Hub, pull: Pull, actor: Actor) -> list[Review]:
    """The pull request's reviews, without others' pending ones."""
    found = hub.state.reviews.where(number=(pull.repo_id, pull.number))
    return [r for r in found if r.state != "PENDING" or _is(actor, r.author_id)]


def find_comment(hub: Hub, repo: Repository, comment_id: int) -> ReviewComment:
    """The review comment of this id in this repository."""
    found = hub.state.review_comments.get(comment_id)
    if found is None or found.repo_id != repo.id:
        raise not_found()
    return found


def _is_pending(hub: Hub, comment: ReviewComment) -> bool:
    review = hub.state.reviews.get(comment.review_id)
    return review is not None and review.state == "PENDING"


def visible_comments(hub: Hub, pull: Pull) -> list[ReviewComment]:
    """The pull request's comments on lines, without those of pending reviews."""
    found = hub.state.review_comments.where(number=(pull.repo_id, pull.number))
    return [c for c in found if not _is_pending(hub, c)]


async def create(
    hub: Hub,
    actor: Actor,
    pull: Pull,
    *,
    event: str | None = None,
    body: str = "",
    comments: Sequence[Mapping[str, Any]] = (),
    commit_id: str | None = None,
) -> Review:
    """Review a pull request; `event` None keeps the review pending.

    Each of `comments` has path, body and line (and side, start_line, start_side), as GitHub's do.
    """
    repo = hub.state.repositories[pull.repo_id]
    require(actor, repo, SCOPE, "write")
    who = somebody(actor)
    body = checked_body("PullRequestReview", body) or ""
    if event is not None:
        _submittable(hub, who, pull, event, bool(body.strip() or comments))
    commit = commit_id or pull.head_sha
    checked = await _checked(hub, repo, pull, commit, comments)
    now = hub.clock.now()
    review = Review(
        id=hub.state.reviews.next_id(),
        repo_id=repo.id,
        number=pull.number,
        author_id=who.user.id,
        app_id=app_id(actor),
        state="PENDING" if event is None else STATES[event],
        body=body,
        commit_id=commit,
        submitted_at=None if event is None else now,
    )
    hub.state.reviews.put(review)
    made = [_put(hub, who, review, each, hunk) for each, hunk in checked]
    if event is not None:
        await _submitted(hub, who, review, made)
    return review


def _submittable(hub: Hub, who: Somebody, pull: Pull, event: str, says: bool) -> None:
    if event not in STATES:
        raise invalid("PullRequestReview", "event", "invalid")
    own = conversation(hub, pull).author_id == who.user.id
    if own and event != "COMMENT":
        doing = "approve" if event == "APPROVE" else "request changes on"
        message = f"Review Can not {doing} your own pull request"
        raise Refusal(422, "Unprocessable Entity", [message])
    if event != "APPROVE" and not says:
        raise Refusal(422, "Unprocessable Entity", ["Could not create a review without a body"])


async def submit(hub: Hub, actor: Actor, review: Review, event: str, body: str = "") -> Review:
    """Send a pending review."""
    repo = hub.state.repositories[review.repo_id]
    require(actor, repo, SCOPE, "write")
    who = somebody(actor)
    pull = hub.state.pulls.one(number=(review.repo_id, review.number))
    assert pull is not None
    if review.state != "PENDING":
        raise Refusal(422, "Unprocessable Entity", ["The review was submitted before"])
    found = hub.state.review_comments.where(number=(repo.id, review.number))
    made = [c for c in found if c.review_id == review.id]
    text = checked_body("PullRequestReview", body or review.body) or ""
    _submittable(hub, who, pull, event, bool(text.strip() or made))
    now = hub.clock.now()
    review = replace(review, state=STATES[event], body=text, submitted_at=now)
    hub.state.reviews.put(review)
    await _submitted(hub, who, review, made)
    return review


async def _submitted(
    hub: Hub, who: Somebody, review: Review, made: Sequence[ReviewComment]
) -> None:
    pull = hub.state.pulls.one(number=(review.repo_id, review.number))
    assert pull is not None
    if review.author_id in pull.reviewer_ids:
        left = tuple(i for i in pull.reviewer_ids if i != review.author_id)
        hub.state.pulls.put(replace(pull, reviewer_ids=left))
    issue = conversation(hub, pull)
    hub.state.issues.put(replace(issue, updated_at=hub.clock.now()))
    _tell(hub, who, review, "submitted")
    for comment in made:
        _tell_comment(hub, who, comment)


def _tell(hub: Hub, who: Somebody, review: Review, action: str) -> None:
    repo = hub.state.repositories[review.repo_id]
    pull = hub.state.pulls.one(number=(repo.id, review.number))
    assert pull is not None
    # Webhooks write the state in small letters, REST in capitals.
    body = {**render.review(hub, review), "state": review.state.lower()}
    shown = render.simple(hub, pull)
    emit(hub, who, repo, "pull_request_review", action, review=body, pull_request=shown)


def _tell_comment(hub: Hub, who: Somebody, comment: ReviewComment) -> None:
    repo = hub.state.repositories[comment.repo_id]
    pull = hub.state.pulls.one(number=(repo.id, comment.number))
    assert pull is not None
    body = render.review_comment(hub, comment)
    shown = render.simple(hub, pull)
    event = "pull_request_review_comment"
    emit(hub, who, repo, event, "created", comment=body, pull_request=shown)


async def dismiss(hub: Hub, actor: Actor, review: Review, message: str) -> Review:
    """Dismiss an approving or rejecting review, with the reason."""
    repo = hub.state.repositories[review.repo_id]
    require(actor, repo, SCOPE, "write", "write")
    if not message.strip():
        raise invalid("PullRequestReview", "message", "missing_field")
    if review.state not in ("APPROVED", "CHANGES_REQUESTED"):
        raise Refusal(422, "Unprocessable Entity", ["Can not dismiss a review of this kind"])
    review = hub.state.reviews.put(replace(review, state="DISMISSED"))
    _tell(hub, somebody(actor), review, "dismissed")
    return review


async def comment(hub: Hub, actor: Actor, pull: Pull, given: Mapping[str, Any]) -> ReviewComment:
    """Comment on one line: a review of its own, as GitHub makes it."""
    review = await create(
        hub, actor, pull, event="COMMENT", comments=[given], commit_id=given.get("commit_id")
    )
    found = hub.state.review_comments.where(number=(pull.repo_id, pull.number))
    return next(c for c in found if c.review_id == review.id)


async def reply(hub: Hub, actor: Actor, pull: Pull, to: int, body: str) -> ReviewComment:
    """Answer in the thread that comment `to` belongs to."""
    repo = hub.state.repositories[pull.repo_id]
    require(actor, repo, SCOPE, "write")
    who = somebody(actor)
    text = checked_body("PullRequestReviewComment", body, required=True) or ""
    first = find_comment(hub, repo, to)
    if first.number != pull.number:
        raise not_found()
    root = first.in_reply_to_id or first.id
    now = hub.clock.now()
    review = Review(
        id=hub.state.reviews.next_id(),
        repo_id=repo.id,
        number=pull.number,
        author_id=who.user.id,
        app_id=app_id(actor),
        state="COMMENTED",
        body="",
        commit_id=pull.head_sha,
        submitted_at=now,
    )
    hub.state.reviews.put(review)
    made = replace(
        first,
        id=hub.state.review_comments.next_id(),
        review_id=review.id,
        author_id=who.user.id,
        app_id=app_id(actor),
        body=text,
        in_reply_to_id=root,
        created_at=now,
        updated_at=now,
    )
    hub.state.review_comments.put(made)
    await _submitted(hub, who, review, [made])
    return made


def edit_comment(hub: Hub, actor: Actor, comment: ReviewComment, body: str) -> ReviewComment:
    """Change a comment on a line: one's own, or with the role write anyone's."""
    repo = hub.state.repositories[comment.repo_id]
    require(actor, repo, SCOPE, "write")
    who = somebody(actor)
    writer = isinstance(who, Person) and at_least(role_of(repo, who.user), "write")
    if who.user.id != comment.author_id and not writer:
        raise forbidden()
    text = checked_body("PullRequestReviewComment", body, required=True) or ""
    return hub.state.review_comments.put(replace(comment, body=text, updated_at=hub.clock.now()))


# -- lines ----------------------------------------------------------------------------------


def _changes(bare: Bare, base: str, commit: str) -> list[FileChange]:
    return bare.changes(bare.merge_base(base, commit) or base, commit)


async def _checked(
    hub: Hub, repo: Repository, pull: Pull, commit: str, comments: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], str]]:
    """The comments with the hunks they stand on; refused where a line is not in the difference."""
    if await hub.git(repo, Bare.kind_of, commit) != "commit":
        raise unprocessable(f"No commit found for SHA: {commit}")
    if not comments:
        return []
    found = await hub.git(repo, _changes, pull.base_sha, commit)
    patches = {c.path: c.patch or "" for c in found}
    return [(each, _hunk(patches, each)) for each in comments]


def _hunk(patches: Mapping[str, str], given: Mapping[str, Any]) -> str:
    checked_body("PullRequestReviewComment", given.get("body"), required=True)
    path, line = str(given.get("path")), given.get("line")
    if path not in patches:
        raise Refusal(422, "Unprocessable Entity", ["Path could not be resolved"])
    if given.get("subject_type") == "file" or "position" in given:
        return patches[path]
    hunk = hunk_at(patches[path], given.get("side") or "RIGHT", line)
    if hunk is None:
        raise Refusal(422, "Unprocessable Entity", ["Line could not be resolved"])
    return hunk


def hunk_at(patch: str, side: str, line: object) -> str | None:
    """The hunk of a patch, down to `line` of a side, or None where the line is not in it."""
    kept: list[str] = []
    old = new = 0
    for text in patch.split("\n"):
        if start := HUNK.match(text):
            kept, old, new = [text], int(start[1]) - 1, int(start[2]) - 1
            continue
        kept.append(text)
        old += text[:1] in (" ", "-")
        new += text[:1] in (" ", "+")
        there = text[:1] in ((" ", "+") if side == "RIGHT" else (" ", "-"))
        if there and (new if side == "RIGHT" else old) == line:
            return "\n".join(kept)
    return None


def _put(
    hub: Hub, who: Somebody, review: Review, given: Json | Mapping[str, Any], hunk: str
) -> ReviewComment:
    now = hub.clock.now()
    made = ReviewComment(
        id=hub.state.review_comments.next_id(),
        repo_id=review.repo_id,
        number=review.number,
        review_id=review.id,
        author_id=who.user.id,
        app_id=app_id(who),
        body=given["body"],
        path=given["path"],
        commit_id=review.commit_id,
        original_commit_id=review.commit_id,
        diff_hunk=hunk,
        line=given.get("line"),
        side=given.get("side") or "RIGHT",
        start_line=given.get("start_line"),
        start_side=given.get("start_side"),
        subject_type=given.get("subject_type") or "line",
        in_reply_to_id=None,
        created_at=now,
        updated_at=now,
    )
    return hub.state.review_comments.put(made)
