"""Pages of pull requests: the conversation, commits, difference, and what decides about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from starlette.datastructures import FormData
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from bot.hub.access import at_least, role_of
from bot.hub.actions import pulls, reviews
from bot.hub.pages import reading
from bot.hub.pages.diffs import Side, rows
from bot.hub.pages.issues import address, converse
from bot.hub.pages.showing import latest_runs, standing, summary
from bot.hub.pages.site import HEADERS, Visit, text_of
from bot.hub.pages.timeline import Thread, threads, timeline, with_commits
from bot.hub.records import Pull
from bot.hub.refusals import unprocessable
from bot.hub.render.pulls import mergeable
from bot.hub.repositories import Commit, FileChange

# Lists of commits that are kept, as pages ask for them every other second.
KEPT = 200

METHODS = {"merge": "Merge commit", "squash": "Squash", "rebase": "Rebase"}
EVENTS = {"COMMENT": "Comment", "APPROVE": "Approve", "REQUEST_CHANGES": "Request changes"}


@dataclass(frozen=True, slots=True)
class Draft:
    """A line comment that was typed and not sent yet."""

    path: str
    side: Side
    line: int
    body: str


async def show(visit: Visit) -> Response:
    """A pull request with its conversation, its reviews and checks, and the way to merge it."""
    if not visit.issue.is_pull:
        return RedirectResponse(address(visit, visit.issue), 302, HEADERS)
    pull, issue = visit.pull, visit.issue
    items = timeline(visit.hub, issue, visit.user.id if visit.user else None)
    live = issue.state == "open"
    return _page(
        visit,
        "pull.html",
        "conversation",
        items=with_commits(items, await _commits(visit, pull)),
        labels=visit.hub.state.labels.where(repo=pull.repo_id),
        clean=await mergeable(visit.hub, pull) if live else None,
        may_merge=visit.user is not None
        and at_least(role_of(visit.repository, visit.user), "write"),
        methods=METHODS,
        events=EVENTS,
    )


async def commits(visit: Visit) -> Response:
    """The commits of a pull request, oldest first."""
    found = await _commits(visit, visit.pull)
    return _page(visit, "pull_commits.html", "commits", commits=found)


async def checks(visit: Visit) -> Response:
    """The check runs of a pull request's head."""
    return _page(visit, "pull_checks.html", "checks")


async def files(visit: Visit) -> Response:
    """What a pull request changes, line by line, with the comments on the lines."""
    pull = visit.pull
    changes = await _changes(visit, pull)
    told = {review.id for review in reviews.visible(visit.hub, pull, visit.actor)}
    said = visit.hub.state.review_comments.where(number=(pull.repo_id, pull.number))
    found = threads([comment for comment in said if comment.review_id in told])
    return _page(
        visit,
        "pull_files.html",
        "files",
        changes=[(change, rows(change.patch or "")) for change in changes],
        threads=_by_line(found),
        elsewhere=_elsewhere(found, changes),
        drafts=_drafts(visit.form),
        events=EVENTS,
        limit=reading.DIFF_LINES,
    )


async def diff(visit: Visit) -> Response:
    """The difference of a pull request as text."""
    text = await visit.git(reading.pull_patch, visit.pull.base_sha, visit.pull.head_sha)
    return PlainTextResponse(text, headers=HEADERS)


def _page(visit: Visit, template: str, part: str, **context: object) -> Response:
    pull = visit.pull
    runs = latest_runs(visit.hub, visit.repository, pull.head_sha)
    given = visit.hub.state.reviews.where(number=(pull.repo_id, pull.number))
    return visit.repository_page(
        template,
        "pulls",
        part=part,
        issue=visit.issue,
        pull=pull,
        runs=runs,
        summary=summary(runs),
        standing=standing(visit.hub, given),
        **context,
    )


async def _commits(visit: Visit, pull: Pull) -> list[Commit]:
    key = (pull.repo_id, pull.base_sha, pull.head_sha)
    kept = visit.site.pull_commits
    if len(kept) > KEPT:
        kept.clear()
    if key not in kept:
        kept[key] = await visit.git(reading.pull_commits, pull.base_sha, pull.head_sha)
    return kept[key]


async def _changes(visit: Visit, pull: Pull) -> list[FileChange]:
    return await visit.git(reading.pull_changes, pull.base_sha, pull.head_sha)


Line = tuple[str, str, int | None]


def _by_line(found: Sequence[Thread]) -> dict[Line, list[Thread]]:
    out: dict[Line, list[Thread]] = {}
    for thread in found:
        first = thread.first
        out.setdefault((first.path, first.side, first.line), []).append(thread)
    return out


def _elsewhere(found: Sequence[Thread], changes: Sequence[FileChange]) -> list[Thread]:
    """The threads on lines that the difference does not show any more."""
    shown: set[Line] = set()
    for change in changes:
        shown |= {(change.path, row.side, row.line) for row in rows(change.patch or "")}
    return [t for t in found if (t.first.path, t.first.side, t.first.line) not in shown]


# -- what people do -------------------------------------------------------------------------


async def act(visit: Visit, form: FormData) -> str:
    """Do to a pull request what a button of its page says."""
    done = await converse(visit, form)
    if done is not None:
        return done
    hub, actor, pull = visit.hub, visit.actor, visit.pull
    here = address(visit, visit.issue)
    match text_of(form, "do"):
        case "merge":
            await pulls.merge(
                hub, actor, pull, method=text_of(form, "method"), sha=text_of(form, "sha")
            )
        case "ready":
            await pulls.mark_ready(hub, actor, pull)
        case "draft":
            await pulls.convert_to_draft(hub, actor, pull)
        case "review":
            return await _review(visit, form, ())
        case "reply":
            made = await reviews.reply(
                hub, actor, pull, _number(form, "thread"), text_of(form, "body")
            )
            return f"{here}#discussion_r{made.id}"
        case _:
            raise unprocessable("This page has no such button.")
    return here


async def act_on_files(visit: Visit, form: FormData) -> str | Response:
    """Send a review with its line comments, or open a box for one more."""
    if text_of(form, "add"):
        return await files(replace(visit, form=form))
    if text_of(form, "do") == "reply":
        return await act(visit, form)
    return await _review(visit, form, [d for d in _drafts(form) if d.body.strip()])


def _number(form: FormData, name: str) -> int:
    text = text_of(form, name)
    if not text.isdecimal():
        raise unprocessable("The form names a thread that there is not.")
    return int(text)


def _drafts(form: FormData) -> list[Draft]:
    """The line comments in a form, the one that `add` asks a box for last, with an empty body."""
    places = [*form.getlist("place"), *form.getlist("add")]
    bodies = [*form.getlist("line_body"), *("" for _ in form.getlist("add"))]
    found: dict[tuple[str, str, int], Draft] = {}
    for place, body in zip(places, bodies, strict=False):
        side, line, path = [*str(place).split(":", 2), "", ""][:3]
        if side not in ("LEFT", "RIGHT") or not line.isdecimal() or not path:
            raise unprocessable("The form names a line that there is not.")
        draft = Draft(path, cast(Side, side), int(line), str(body).replace("\r\n", "\n"))
        found.setdefault((path, side, int(line)), draft)
    return list(found.values())


async def _review(visit: Visit, form: FormData, drafts: Sequence[Draft]) -> str:
    event = text_of(form, "event")
    if event not in EVENTS:
        raise unprocessable("Choose whether to comment, to approve or to ask for changes.")
    comments = [
        {"path": d.path, "side": d.side, "line": d.line, "body": d.body.strip()} for d in drafts
    ]
    made = await reviews.create(
        visit.hub,
        visit.actor,
        visit.pull,
        event=event,
        body=text_of(form, "body"),
        comments=comments,
        commit_id=text_of(form, "sha") or None,
    )
    return f"{address(visit, visit.issue)}#pullrequestreview-{made.id}"
