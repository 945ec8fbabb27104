"""The page of a check run: what it found, where, and the buttons that it offers."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.responses import Response

from bot.hub.actions import checks
from bot.hub.pages.site import Visit, text_of
from bot.hub.records import CheckRun, Pull
from bot.hub.refusals import not_found, unprocessable


def _run(visit: Visit) -> CheckRun:
    found = visit.hub.state.check_runs.get(int(visit.request.path_params["id"]))
    if found is None or found.repo_id != visit.repository.id:
        raise not_found()
    return found


def _pulls(visit: Visit, run: CheckRun) -> list[Pull]:
    """The pull requests whose head the run looked at."""
    found = visit.hub.state.pulls.where(repo=run.repo_id)
    return [pull for pull in found if pull.head_sha == run.head_sha]


async def show(visit: Visit) -> Response:
    """One check run."""
    run = _run(visit)
    return visit.repository_page("run.html", "pulls", run=run, pulls=_pulls(visit, run))


async def act(visit: Visit, form: FormData) -> str:
    """Press one of the run's buttons, or have it run again."""
    run = _run(visit)
    match text_of(form, "do"):
        case "press":
            await checks.press(visit.hub, visit.actor, run, text_of(form, "identifier"))
        case "rerun":
            await checks.rerequest(visit.hub, visit.actor, run)
        case _:
            raise unprocessable("This page has no such button.")
    # The buttons also stand on the pull request's list of checks, to which one returns then.
    back = f"{visit.base(visit.repository)}/pull/{text_of(form, 'pull')}/checks"
    return back if text_of(form, "pull").isdecimal() else visit.request.url.path
