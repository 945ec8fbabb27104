"""Check runs and check suites."""

from __future__ import annotations

from bot.hub.actions import automerge, checks
from bot.hub.records import CheckRun
from bot.hub.render import checks as render
from bot.hub.rest.door import Call, Reply, Table
from bot.hub.rest.git import commit_of

SCOPE = "checks"


def _run(call: Call) -> CheckRun:
    return checks.find(call.hub, call.reads(SCOPE), call.params["id"])


async def create_run(call: Call) -> Reply:
    """Make a check run."""
    made = await checks.create(call.hub, call.actor, call.repo, call.body)
    await automerge.settle(call.hub, call.repo, made.head_sha)
    return Reply(render.check_run(call.hub, made), 201)


async def update_run(call: Call) -> Reply:
    """Change a check run."""
    made = await checks.update(call.hub, call.actor, _run(call), call.body)
    await automerge.settle(call.hub, call.repo, made.head_sha)
    return Reply(render.check_run(call.hub, made))


async def get_run(call: Call) -> Reply:
    """One check run."""
    return Reply(render.check_run(call.hub, _run(call)))


async def list_annotations(call: Call) -> Reply:
    """A check run's annotations."""
    run = _run(call)
    return call.page(run.annotations, lambda a: render.annotation(call.hub, run, a))


async def rerequest_run(call: Call) -> Reply:
    """Ask for the run again."""
    await checks.rerequest(call.hub, call.actor, _run(call))
    return Reply({}, 201)


def _listed(call: Call, found: list[CheckRun]) -> Reply:
    query = call.query
    app = query.get("app_id")
    kept = [
        r
        for r in found
        if query.get("check_name") in (None, r.name)
        and query.get("status") in (None, r.status)
        and app in (None, str(r.app_id))
    ]
    if query.get("filter", "latest") == "latest":
        kept = render.latest(kept)
    return call.page(kept, lambda r: render.check_run(call.hub, r), under="check_runs")


async def list_runs_of_commit(call: Call) -> Reply:
    """The check runs of a commit; of each name the newest, unless `filter=all`."""
    repo = call.reads(SCOPE)
    sha = await commit_of(call, call.params["ref"])
    return _listed(call, call.hub.state.check_runs.where(sha=(repo.id, sha)))


async def list_runs_of_suite(call: Call) -> Reply:
    """The check runs of a suite."""
    suite = checks.find_suite(call.hub, call.reads(SCOPE), call.params["id"])
    return _listed(call, call.hub.state.check_runs.where(suite=suite.id))


async def get_suite(call: Call) -> Reply:
    """One check suite."""
    suite = checks.find_suite(call.hub, call.reads(SCOPE), call.params["id"])
    return Reply(await render.check_suite(call.hub, suite))


async def rerequest_suite(call: Call) -> Reply:
    """Ask for all runs of a suite again."""
    suite = checks.find_suite(call.hub, call.reads(SCOPE), call.params["id"])
    await checks.rerequest_suite(call.hub, call.actor, suite)
    return Reply({}, 201)


async def list_suites(call: Call) -> Reply:
    """The check suites of a commit."""
    repo = call.reads(SCOPE)
    sha = await commit_of(call, call.params["ref"])
    app = call.query.get("app_id")
    found = call.hub.state.check_suites.where(sha=(repo.id, sha))
    bodies = [await render.check_suite(call.hub, s) for s in found if app in (None, str(s.app_id))]
    return call.page(bodies, lambda b: b, under="check_suites")


R = "/repos/{owner}/{repo}"
RUN = R + "/check-runs/{id:int}"
SUITE = R + "/check-suites/{id:int}"

TABLE: Table = [
    ("POST", R + "/check-runs", create_run),
    ("GET", RUN, get_run),
    ("PATCH", RUN, update_run),
    ("GET", RUN + "/annotations", list_annotations),
    ("POST", RUN + "/rerequest", rerequest_run),
    ("GET", SUITE, get_suite),
    ("GET", SUITE + "/check-runs", list_runs_of_suite),
    ("POST", SUITE + "/rerequest", rerequest_suite),
    ("GET", R + "/commits/{ref:path}/check-runs", list_runs_of_commit),
    ("GET", R + "/commits/{ref:path}/check-suites", list_suites),
]
