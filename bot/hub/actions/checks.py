"""Check runs and suites: made by Apps, looked at and pressed by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from bot.hub.access import Actor, Installed, Somebody, require, somebody
from bot.hub.clock import parse_stamp
from bot.hub.core import Hub
from bot.hub.events import emit
from bot.hub.records import CheckRun, CheckSuite, Repository
from bot.hub.refusals import Refusal, forbidden, not_found, unprocessable
from bot.hub.render import checks as render
from bot.hub.repositories import Bare

# GitHub's limits on a request about a check run.
ANNOTATIONS_LIMIT = 50
MESSAGE_LIMIT = 65_536
TITLE_LIMIT = 255
TEXT_LIMIT = 65_535
ACTIONS_LIMIT = 3
ACTION_LIMITS = {"label": 20, "identifier": 20, "description": 40}

STATUSES = ("queued", "in_progress", "completed", "waiting", "requested", "pending")
CONCLUSIONS = (
    "success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required",
)  # fmt: skip
LEVELS = ("notice", "warning", "failure")


def find(hub: Hub, repo: Repository, run_id: int) -> CheckRun:
    """The check run of this id in this repository."""
    found = hub.state.check_runs.get(run_id)
    if found is None or found.repo_id != repo.id:
        raise not_found()
    return found


def find_suite(hub: Hub, repo: Repository, suite_id: int) -> CheckSuite:
    """The check suite of this id in this repository."""
    found = hub.state.check_suites.get(suite_id)
    if found is None or found.repo_id != repo.id:
        raise not_found()
    return found


def suite_for(
    hub: Hub, repo: Repository, app_id: int, sha: str, branch: str | None, before: str | None = None
) -> CheckSuite:
    """The App's suite on a commit, made where it was missing."""
    for suite in hub.state.check_suites.where(sha=(repo.id, sha)):
        if suite.app_id == app_id:
            return suite
    now = hub.clock.now()
    new_id = hub.state.check_suites.next_id()
    suite = CheckSuite(new_id, repo.id, app_id, sha, branch, before, now, now)
    return hub.state.check_suites.put(suite)


def _branch_of(hub: Hub, repo: Repository, sha: str) -> str | None:
    found = [p for p in hub.state.pulls.where(sha=(repo.id, sha)) if p.head_repo_id is None]
    return found[-1].head_ref if found else None


def _app(actor: Actor, repo: Repository) -> Installed:
    require(actor, repo, "checks", "write", "write")
    if not isinstance(actor, Installed):
        raise forbidden("You must authenticate via a GitHub App.")
    return actor


async def create(hub: Hub, actor: Actor, repo: Repository, given: Mapping[str, Any]) -> CheckRun:
    """Make a check run of the App on a commit; `given` is GitHub's request."""
    app = _app(actor, repo)
    name, sha = given.get("name"), given.get("head_sha")
    if not isinstance(name, str) or not name:
        raise _lacks("name")
    if not isinstance(sha, str) or not sha:
        raise _lacks("head_sha")
    if await hub.git(repo, Bare.kind_of, sha) != "commit":
        raise unprocessable(f"No commit found for SHA: {sha}")
    suite = suite_for(hub, repo, app.app.id, sha, _branch_of(hub, repo, sha))
    now = hub.clock.now()
    blank = CheckRun(
        id=hub.state.check_runs.next_id(),
        repo_id=repo.id,
        suite_id=suite.id,
        app_id=app.app.id,
        name=name,
        head_sha=sha,
        status="queued",
        conclusion=None,
        started_at=now,
        completed_at=None,
        external_id=None,
        details_url=None,
    )
    run = hub.state.check_runs.put(_changed(blank, given, now))
    _tell(hub, app, run, "created")
    if run.status == "completed":
        await _completed(hub, app, run)
    return run


async def update(hub: Hub, actor: Actor, run: CheckRun, given: Mapping[str, Any]) -> CheckRun:
    """Change a check run: what is given replaces, annotations are added."""
    repo = hub.state.repositories[run.repo_id]
    app = _app(actor, repo)
    if app.app.id != run.app_id:
        raise forbidden(
            f"Invalid app_id `{app.app.id}` - check run can only be modified by the GitHub App "
            "that created it."
        )
    before = run.status
    run = hub.state.check_runs.put(_changed(run, given, hub.clock.now()))
    if run.status == "completed" and before != "completed":
        await _completed(hub, app, run)
    return run


async def _completed(hub: Hub, who: Somebody, run: CheckRun) -> None:
    _tell(hub, who, run, "completed")
    suite = hub.state.check_suites[run.suite_id]
    if render.standing(hub.state.check_runs.where(suite=suite.id))[0] == "completed":
        suite = hub.state.check_suites.put(replace(suite, updated_at=hub.clock.now()))
        await tell_suite(hub, who, suite, "completed")


async def tell_suite(hub: Hub, who: Somebody, suite: CheckSuite, action: str) -> None:
    """Send the `check_suite` event to the suite's App."""
    repo = hub.state.repositories[suite.repo_id]
    body = await render.check_suite(hub, suite, with_repository=False)
    emit(hub, who, repo, "check_suite", action, only_app=suite.app_id, check_suite=body)


def _tell(hub: Hub, who: Somebody, run: CheckRun, action: str, **fields: Any) -> None:
    repo = hub.state.repositories[run.repo_id]
    body = render.check_run(hub, run, with_suite=True)
    only = run.app_id if action in ("requested_action", "rerequested") else None
    emit(hub, who, repo, "check_run", action, only_app=only, check_run=body, **fields)


async def press(hub: Hub, actor: Actor, run: CheckRun, identifier: str) -> None:
    """Press one of the run's buttons; whoever may write may."""
    repo = hub.state.repositories[run.repo_id]
    require(actor, repo, "checks", "write", "write")
    if identifier not in [a["identifier"] for a in run.actions]:
        raise unprocessable(f"This check run has no action {identifier!r}.")
    wanted = {"identifier": identifier}
    _tell(hub, somebody(actor), run, "requested_action", requested_action=wanted)


async def rerequest(hub: Hub, actor: Actor, run: CheckRun) -> None:
    """Ask for the run again; whoever may write may."""
    repo = hub.state.repositories[run.repo_id]
    require(actor, repo, "checks", "write", "write")
    _tell(hub, somebody(actor), run, "rerequested")


async def rerequest_suite(hub: Hub, actor: Actor, suite: CheckSuite) -> None:
    """Ask for all runs of a suite again; whoever may write may."""
    require(actor, hub.state.repositories[suite.repo_id], "checks", "write", "write")
    await tell_suite(hub, somebody(actor), suite, "rerequested")


# -- what a request says --------------------------------------------------------------------


def _lacks(field: str) -> Refusal:
    return unprocessable(f'Invalid request.\n\n"{field}" wasn\'t supplied.')


def _changed(run: CheckRun, given: Mapping[str, Any], now: datetime) -> CheckRun:
    run = _standing(run, given, now)
    for name in ("name", "external_id", "details_url"):
        if isinstance(given.get(name), str):
            run = replace(run, **{name: given[name]})
    if isinstance(given.get("output"), Mapping):
        run = _output(run, given["output"])
    if given.get("actions") is not None:
        run = replace(run, actions=_actions(given["actions"]))
    return run


def _standing(run: CheckRun, given: Mapping[str, Any], now: datetime) -> CheckRun:
    status, conclusion = given.get("status", run.status), given.get("conclusion")
    if conclusion is not None:
        status = "completed"
    if status not in STATUSES or (conclusion is not None and conclusion not in CONCLUSIONS):
        raise unprocessable("Invalid request.\n\nstatus or conclusion is not a possible value.")
    started = _moment(given, "started_at") or run.started_at
    if status != "completed":
        return replace(run, status=status, conclusion=None, started_at=started, completed_at=None)
    if conclusion is None and run.conclusion is None:
        raise _lacks("conclusion")
    ended = _moment(given, "completed_at") or run.completed_at or now
    return replace(
        run,
        status=status,
        conclusion=conclusion or run.conclusion,
        started_at=started,
        completed_at=ended,
    )


def _moment(given: Mapping[str, Any], name: str) -> datetime | None:
    if given.get(name) is None:
        return None
    found = parse_stamp(str(given[name]))
    if found is None:
        raise unprocessable(f"Invalid request.\n\n{given[name]} is not a valid date-time.")
    return found


def _output(run: CheckRun, output: Mapping[str, Any]) -> CheckRun:
    title = output.get("title", run.title)
    summary = output.get("summary")
    if not isinstance(summary, str):
        raise _lacks("summary")
    _at_most("title", title, TITLE_LIMIT)
    _at_most("summary", summary, TEXT_LIMIT)
    _at_most("text", output.get("text"), TEXT_LIMIT)
    added = output.get("annotations") or []
    _few("annotations", added, ANNOTATIONS_LIMIT)
    for each in added:
        _check_annotation(each)
    text = output.get("text", run.text)
    known = (*run.annotations, *added)
    return replace(run, title=title, summary=summary, text=text, annotations=known)


def _check_annotation(given: Mapping[str, Any]) -> None:
    for field in ("path", "start_line", "end_line", "annotation_level", "message"):
        if given.get(field) is None:
            raise _lacks(field)
    if given["annotation_level"] not in LEVELS:
        raise unprocessable("Invalid request.\n\nannotation_level is not a possible value.")
    _at_most("message", given["message"], MESSAGE_LIMIT)
    _at_most("title", given.get("title"), TITLE_LIMIT)
    _at_most("raw_details", given.get("raw_details"), MESSAGE_LIMIT)
    columns = given.get("start_column") or given.get("end_column")
    if columns and given["start_line"] != given["end_line"]:
        raise unprocessable("Invalid request.\n\nColumns are for annotations on a single line.")


def _actions(given: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    _few("actions", given, ACTIONS_LIMIT)
    for each in given:
        for field, limit in ACTION_LIMITS.items():
            if not each.get(field):
                raise _lacks(field)
            _at_most(field, each[field], limit)
    return tuple({field: each[field] for field in ACTION_LIMITS} for each in given)


def _at_most(field: str, text: object, limit: int) -> None:
    if isinstance(text, str) and len(text) > limit:
        raise unprocessable(
            f"Invalid request.\n\nOnly {limit} characters are allowed in {field}; "
            f"{len(text)} were supplied."
        )


def _few(field: str, items: Sequence[object], limit: int) -> None:
    if len(items) > limit:
        raise unprocessable(
            f"Invalid request.\n\nNo more than {limit} items are allowed in {field}; "
            f"{len(items)} were supplied."
        )
