"""Pages of issues: the list, a new one, the conversation."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from bot.hub.actions import comments, issues
from bot.hub.actions import pulls as actions
from bot.hub.pages.site import HEADERS, Visit, text_of
from bot.hub.pages.timeline import timeline
from bot.hub.records import Issue
from bot.hub.refusals import Refusal, unprocessable


async def listing(visit: Visit) -> Response:
    """The issues of a repository, newest first."""
    return _listing(visit, pulls=False)


async def pulls(visit: Visit) -> Response:
    """The pull requests of a repository, newest first."""
    return _listing(visit, pulls=True)


def _listing(visit: Visit, *, pulls: bool) -> Response:
    shown = "closed" if visit.request.query_params.get("state") == "closed" else "open"
    every = visit.hub.state.issues.where(repo=visit.repository.id)
    found = [i for i in every if i.is_pull == pulls]
    label = visit.request.query_params.get("label", "")
    return visit.repository_page(
        "issues.html",
        "pulls" if pulls else "issues",
        pulls=pulls,
        shown=shown,
        label=label,
        opened=sum(i.state == "open" for i in found),
        closed=sum(i.state == "closed" for i in found),
        issues=[
            i for i in reversed(found) if i.state == shown and (not label or label in i.labels)
        ],
        talk=visit.hub.state.comments,
    )


async def new(visit: Visit) -> Response:
    """The form of a new issue."""
    return visit.repository_page("new_issue.html", "issues")


async def open_issue(visit: Visit, form: FormData) -> str:
    """Open an issue."""
    repo = visit.repository
    title, body = text_of(form, "title"), text_of(form, "body")
    issue = await issues.create(visit.hub, visit.actor, repo, title, body or None)
    return address(visit, issue)


async def show(visit: Visit) -> Response:
    """An issue with its conversation."""
    issue = visit.issue
    if issue.is_pull:
        return RedirectResponse(address(visit, issue), 302, HEADERS)
    return visit.repository_page(
        "issue.html",
        "issues",
        issue=issue,
        items=timeline(visit.hub, issue, visit.user.id if visit.user else None),
        labels=visit.hub.state.labels.where(repo=issue.repo_id),
    )


async def act(visit: Visit, form: FormData) -> str:
    """Do to an issue what a button of its page says."""
    done = await converse(visit, form)
    if done is None:
        raise unprocessable("This page has no such button.")
    return done


async def converse(visit: Visit, form: FormData) -> str | None:
    """Do what issues and pull requests have in common; None where the button is another's."""
    hub, actor, issue = visit.hub, visit.actor, visit.issue
    here = address(visit, issue)
    match text_of(form, "do"):
        case "comment":
            made = comments.create(
                hub, actor, visit.repository, issue.number, text_of(form, "body")
            )
            return f"{here}#issuecomment-{made.id}"
        case "close" | "reopen" as change:
            await _with_comment(visit, form, issue, "closed" if change == "close" else "open")
        case "label":
            await issues.add_labels(hub, actor, issue, [text_of(form, "label")])
        case "unlabel":
            await issues.remove_label(hub, actor, issue, text_of(form, "label"))
        case "retitle":
            await _edit(visit, issue, title=text_of(form, "title"))
        case _:
            return None
    return here


async def _edit(
    visit: Visit, issue: Issue, *, title: str | None = None, state: str | None = None
) -> None:
    if issue.is_pull:
        await actions.edit(visit.hub, visit.actor, visit.pull, title=title, state=state)
    else:
        await issues.edit(visit.hub, visit.actor, visit.issue, title=title, state=state)


async def _with_comment(visit: Visit, form: FormData, issue: Issue, state: str) -> None:
    """Close or reopen, with what was typed as a comment before it."""
    if body := text_of(form, "body").strip():
        comments.create(visit.hub, visit.actor, visit.repository, issue.number, body)
    try:
        await _edit(visit, issue, state=state)
    except Refusal as refusal:
        if not body:
            raise
        # The comment stands; typing it again would say it twice.
        raise Refusal(refusal.code, f"The comment was written, but {refusal.message}") from refusal


def address(visit: Visit, issue: Issue) -> str:
    """The path of an issue's or pull request's page."""
    kind = "pull" if issue.is_pull else "issues"
    return f"{visit.base(visit.repository)}/{kind}/{issue.number}"
