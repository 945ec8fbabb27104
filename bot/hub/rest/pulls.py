"""Pull requests, reviews, review comments and reviewers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from bot.hub.actions import automerge, pulls, reviews
from bot.hub.records import Pull, Review, ReviewComment
from bot.hub.refusals import not_found
from bot.hub.render import commits as render_commits
from bot.hub.render import pulls as render
from bot.hub.repositories import Bare, Commit, FileChange
from bot.hub.rest.apps import since_of
from bot.hub.rest.door import Call, Reply, Table
from bot.hub.rest.issues import sort

SCOPE = pulls.SCOPE

# "Responses include a maximum of 3000 files" and of 250 commits.
FILES_LIMIT = 3_000
COMMITS_LIMIT = 250


def _pull(call: Call) -> Pull:
    repo = call.reads(SCOPE)
    return pulls.find(call.hub, repo, call.params["number"])


async def _full(call: Call, pull: Pull, status: int = 200) -> Reply:
    return Reply(await render.full(call.hub, call.hub.state.pulls[pull.id]), status)


async def create_pull(call: Call) -> Reply:
    """Open a pull request."""
    made = await pulls.create(
        call.hub,
        call.actor,
        call.repo,
        title=cast(str, call.body.get("title")),
        head=call.needed("head"),
        base=call.needed("base"),
        body=call.text("body"),
        draft=bool(call.body.get("draft", False)),
        maintainer_can_modify=bool(call.body.get("maintainer_can_modify", True)),
        head_repo=call.text("head_repo"),
    )
    return await _full(call, made, 201)


async def get_pull(call: Call) -> Reply:
    """One pull request; as a patch where that media type is asked for."""
    pull = _pull(call)
    if "diff" in call.request.headers.get("accept", ""):
        text = await call.hub.git(call.repo, _diff, pull)
        return Reply(raw=text.encode(), media="text/plain; charset=utf-8")
    return await _full(call, pull)


def _start(bare: Bare, pull: Pull) -> str:
    return bare.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha


def _diff(bare: Bare, pull: Pull) -> str:
    return bare.patch(_start(bare, pull), pull.head_sha)


def _owner_of(call: Call, pull: Pull) -> str | None:
    """Who the head belongs to; None where its fork was deleted."""
    repo = call.hub.state.repositories.get(pull.head_home)
    return None if repo is None else call.hub.owner(repo).login.lower()


async def list_pulls(call: Call) -> Reply:
    """Pull requests by state, head (`owner:branch`) and base."""
    repo = call.reads(SCOPE)
    state = call.query.get("state", "open")
    owner, _, head = call.query.get("head", "").rpartition(":")
    base = call.query.get("base")
    kept = {
        p.number: p
        for p in call.hub.state.pulls.where(repo=repo.id)
        if head in ("", p.head_ref)
        and base in (None, p.base_ref)
        and owner.lower() in ("", _owner_of(call, p))
    }
    found = (render.conversation(call.hub, p) for p in kept.values())
    ordered = sort(call, [i for i in found if state in ("all", i.state)])
    return call.page(ordered, lambda i: render.simple(call.hub, kept[i.number]))


async def update_pull(call: Call) -> Reply:
    """Change a pull request."""
    made = await pulls.edit(
        call.hub,
        call.actor,
        _pull(call),
        title=call.text("title"),
        body=call.text("body"),
        state=call.text("state"),
        base=call.text("base"),
        maintainer_can_modify=call.body.get("maintainer_can_modify"),
    )
    return await _full(call, made)


def _files(bare: Bare, pull: Pull) -> list[FileChange]:
    return bare.changes(_start(bare, pull), pull.head_sha)[:FILES_LIMIT]


async def list_files(call: Call) -> Reply:
    """What the pull request changes."""
    pull = _pull(call)
    found = await call.hub.git(call.repo, _files, pull)
    repo = call.repo
    return call.page(found, lambda f: render_commits.file_change(call.hub, repo, pull.head_sha, f))


def _commits(bare: Bare, pull: Pull) -> list[Commit]:
    found = bare.commits("--topo-order", f"{_start(bare, pull)}..{pull.head_sha}")
    return found[::-1][:COMMITS_LIMIT]


async def list_commits(call: Call) -> Reply:
    """The pull request's commits, oldest first."""
    pull = _pull(call)
    found = await call.hub.git(call.repo, _commits, pull)
    repo = call.repo
    return call.page(found, lambda c: render_commits.commit(call.hub, repo, c))


async def is_merged(call: Call) -> Reply:
    """204 where it was merged."""
    if _pull(call).merged_at is None:
        raise not_found()
    return Reply(status=204)


async def merge(call: Call) -> Reply:
    """Merge."""
    sha = await pulls.merge(
        call.hub,
        call.actor,
        _pull(call),
        method=call.text("merge_method") or "merge",
        sha=call.text("sha"),
        title=call.text("commit_title"),
        message=call.text("commit_message"),
    )
    return Reply({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


async def list_reviewers(call: Call) -> Reply:
    """Who is asked for a review."""
    shown = render.simple(call.hub, _pull(call))
    return Reply({"users": shown["requested_reviewers"], "teams": []})


async def request_reviewers(call: Call) -> Reply:
    """Ask for reviews."""
    wanted = call.texts("reviewers") or []
    made = await pulls.request_reviewers(call.hub, call.actor, _pull(call), wanted)
    return Reply(render.simple(call.hub, made), 201)


async def remove_reviewers(call: Call) -> Reply:
    """Ask no longer."""
    wanted = call.texts("reviewers") or []
    made = await pulls.remove_reviewers(call.hub, call.actor, _pull(call), wanted)
    return Reply(render.simple(call.hub, made))


# -- reviews --------------------------------------------------------------------------------


def _review(call: Call) -> Review:
    return reviews.find(call.hub, _pull(call), call.params["review"], call.actor)


async def list_reviews(call: Call) -> Reply:
    """The reviews, oldest first."""
    found = reviews.visible(call.hub, _pull(call), call.actor)
    return call.page(found, lambda r: render.review(call.hub, r))


def _comments(call: Call) -> list[Mapping[str, Any]]:
    found = call.body.get("comments") or []
    if not isinstance(found, list) or not all(isinstance(c, dict) for c in found):
        raise call.wrong("comments")
    return found


async def create_review(call: Call) -> Reply:
    """Review; without an event it stays pending."""
    pull = _pull(call)
    made = await reviews.create(
        call.hub,
        call.actor,
        pull,
        event=call.text("event"),
        body=call.text("body") or "",
        comments=_comments(call),
        commit_id=call.text("commit_id"),
    )
    await automerge.settle(call.hub, call.repo, pull.head_sha)
    return Reply(render.review(call.hub, made))


async def get_review(call: Call) -> Reply:
    """One review."""
    return Reply(render.review(call.hub, _review(call)))


async def submit_review(call: Call) -> Reply:
    """Send a pending review."""
    event, body = call.needed("event"), call.text("body") or ""
    made = await reviews.submit(call.hub, call.actor, _review(call), event, body)
    await automerge.settle(call.hub, call.repo, _pull(call).head_sha)
    return Reply(render.review(call.hub, made))


async def dismiss_review(call: Call) -> Reply:
    """Dismiss a review."""
    made = await reviews.dismiss(call.hub, call.actor, _review(call), call.needed("message"))
    return Reply(render.review(call.hub, made))


async def list_comments_of_review(call: Call) -> Reply:
    """The comments of one review."""
    review = _review(call)
    found = call.hub.state.review_comments.where(number=(review.repo_id, review.number))
    kept = [c for c in found if c.review_id == review.id]
    return call.page(kept, lambda c: {**render.review_comment(call.hub, c), "position": 1,
                                      "original_position": 1})  # fmt: skip


async def list_review_comments(call: Call) -> Reply:
    """The comments on lines of one pull request."""
    since = since_of(call)
    found = reviews.visible_comments(call.hub, _pull(call))
    kept = [c for c in found if c.updated_at.timestamp() >= since]
    return call.page(kept, lambda c: render.review_comment(call.hub, c))


async def list_all_review_comments(call: Call) -> Reply:
    """The comments on lines of a repository."""
    repo, since = call.reads(SCOPE), since_of(call)
    found = [c for p in call.hub.state.pulls.where(repo=repo.id)
             for c in reviews.visible_comments(call.hub, p)]  # fmt: skip
    kept = [c for c in found if c.updated_at.timestamp() >= since]
    kept.sort(key=lambda c: c.id)
    return call.page(kept, lambda c: render.review_comment(call.hub, c))


async def create_review_comment(call: Call) -> Reply:
    """Comment on a line, or answer where `in_reply_to` is given."""
    pull = _pull(call)
    if call.body.get("in_reply_to") is not None:
        to, body = call.body["in_reply_to"], call.needed("body")
        if not isinstance(to, int):
            raise call.wrong("in_reply_to")
        made = await reviews.reply(call.hub, call.actor, pull, to, body)
    else:
        made = await reviews.comment(call.hub, call.actor, pull, call.body)
    return Reply(render.review_comment(call.hub, made), 201)


async def reply_to_comment(call: Call) -> Reply:
    """Answer in a thread."""
    to, body = call.params["id"], call.needed("body")
    made = await reviews.reply(call.hub, call.actor, _pull(call), to, body)
    return Reply(render.review_comment(call.hub, made), 201)


def _comment(call: Call) -> ReviewComment:
    return reviews.find_comment(call.hub, call.reads(SCOPE), call.params["id"])


async def get_review_comment(call: Call) -> Reply:
    """One comment on a line."""
    return Reply(render.review_comment(call.hub, _comment(call)))


async def update_review_comment(call: Call) -> Reply:
    """Change a comment on a line."""
    made = reviews.edit_comment(call.hub, call.actor, _comment(call), call.needed("body"))
    return Reply(render.review_comment(call.hub, made))


R = "/repos/{owner}/{repo}"
PULL = R + "/pulls/{number:int}"
REVIEW = PULL + "/reviews/{review:int}"

TABLE: Table = [
    ("GET", R + "/pulls", list_pulls),
    ("POST", R + "/pulls", create_pull),
    ("GET", R + "/pulls/comments", list_all_review_comments),
    ("GET", R + "/pulls/comments/{id:int}", get_review_comment),
    ("PATCH", R + "/pulls/comments/{id:int}", update_review_comment),
    ("GET", PULL, get_pull),
    ("PATCH", PULL, update_pull),
    ("GET", PULL + "/files", list_files),
    ("GET", PULL + "/commits", list_commits),
    ("GET", PULL + "/merge", is_merged),
    ("PUT", PULL + "/merge", merge),
    ("GET", PULL + "/requested_reviewers", list_reviewers),
    ("POST", PULL + "/requested_reviewers", request_reviewers),
    ("DELETE", PULL + "/requested_reviewers", remove_reviewers),
    ("GET", PULL + "/reviews", list_reviews),
    ("POST", PULL + "/reviews", create_review),
    ("GET", REVIEW, get_review),
    ("POST", REVIEW + "/events", submit_review),
    ("PUT", REVIEW + "/dismissals", dismiss_review),
    ("GET", REVIEW + "/comments", list_comments_of_review),
    ("GET", PULL + "/comments", list_review_comments),
    ("POST", PULL + "/comments", create_review_comment),
    ("POST", PULL + "/comments/{id:int}/replies", reply_to_comment),
]
