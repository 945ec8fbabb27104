"""Check runs and check suites as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.hub.clock import stamp, stamp_or_none
from bot.hub.core import Hub
from bot.hub.records import CheckRun, CheckSuite, Repository
from bot.hub.render import Json
from bot.hub.render.commits import simple_commit
from bot.hub.render.repos import api_url, minimal, page_url
from bot.hub.render.users import app_by_id
from bot.hub.repositories import Bare

# The worst conclusion of a suite's runs is the suite's; the first of these that occurs.
WORST = (
    "action_required",
    "timed_out",
    "cancelled",
    "failure",
    "stale",
    "startup_failure",
    "success",
    "neutral",
    "skipped",
)


def pull_requests(hub: Hub, repo: Repository, sha: str) -> list[Json]:
    """The open pull requests whose head is `sha`, in short; GitHub leaves out those from forks."""
    url = api_url(hub, repo)
    place = {"id": repo.id, "url": url, "name": repo.name}
    found = hub.state.pulls.where(sha=(repo.id, sha))
    return [
        {
            "id": p.id,
            "number": p.number,
            "url": f"{url}/pulls/{p.number}",
            "head": {"ref": p.head_ref, "sha": p.head_sha, "repo": place},
            "base": {"ref": p.base_ref, "sha": p.base_sha, "repo": place},
        }
        for p in found
        if p.head_repo_id is None
        and (issue := hub.state.issues.one(number=(repo.id, p.number)))
        and issue.state == "open"
    ]


def latest(runs: Sequence[CheckRun]) -> list[CheckRun]:
    """Of runs of the same name by the same App, the newest."""
    return list({(r.app_id, r.name): r for r in runs}.values())


def standing(runs: Sequence[CheckRun]) -> tuple[str, str | None]:
    """The status and conclusion of a suite, by its runs."""
    if not runs:
        return "queued", None
    if any(r.status != "completed" for r in runs):
        started = any(r.status in ("in_progress", "completed") for r in runs)
        return ("in_progress" if started else "queued"), None
    found = {r.conclusion for r in latest(runs)}
    return "completed", next((c for c in WORST if c in found), None)


def check_run(hub: Hub, record: CheckRun, *, with_suite: bool = False) -> Json:
    """A check run; webhooks carry the suite as well, REST its id."""
    repo = hub.state.repositories[record.repo_id]
    url = f"{api_url(hub, repo)}/check-runs/{record.id}"
    page = f"{page_url(hub, repo)}/runs/{record.id}"
    suite = hub.state.check_suites[record.suite_id]
    return {
        "id": record.id,
        "node_id": f"CR_{record.id}",
        "name": record.name,
        "head_sha": record.head_sha,
        "external_id": record.external_id or "",
        "url": url,
        "html_url": page,
        "details_url": record.details_url or page,
        "status": record.status,
        "conclusion": record.conclusion,
        "started_at": stamp_or_none(record.started_at),
        "completed_at": stamp_or_none(record.completed_at),
        "output": {
            "title": record.title,
            "summary": record.summary,
            "text": record.text,
            "annotations_count": len(record.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": _suite_core(hub, suite) if with_suite else {"id": suite.id},
        "app": app_by_id(hub, record.app_id),
        "pull_requests": pull_requests(hub, repo, record.head_sha),
    }


def annotation(hub: Hub, record: CheckRun, given: Mapping[str, Any]) -> Json:
    """An annotation of a check run."""
    repo = hub.state.repositories[record.repo_id]
    names = ("path", "start_line", "end_line", "start_column", "end_column",
             "annotation_level", "title", "message", "raw_details")  # fmt: skip
    place = f"{page_url(hub, repo)}/blob/{record.head_sha}/{given.get('path')}"
    return {**{name: given.get(name) for name in names}, "blob_href": place}


def _suite_core(hub: Hub, suite: CheckSuite) -> Json:
    repo = hub.state.repositories[suite.repo_id]
    status, conclusion = standing(hub.state.check_runs.where(suite=suite.id))
    return {
        "id": suite.id,
        "node_id": f"CS_{suite.id}",
        "head_branch": suite.head_branch,
        "head_sha": suite.head_sha,
        "status": status,
        "conclusion": conclusion,
        "url": f"{api_url(hub, repo)}/check-suites/{suite.id}",
        "before": suite.before,
        "after": suite.head_sha,
        "pull_requests": pull_requests(hub, repo, suite.head_sha),
        "app": app_by_id(hub, suite.app_id),
        "created_at": stamp(suite.created_at),
        "updated_at": stamp(suite.updated_at),
    }


async def check_suite(hub: Hub, suite: CheckSuite, *, with_repository: bool = True) -> Json:
    """A check suite; webhooks leave its repository out, which stands beside it."""
    repo = hub.state.repositories[suite.repo_id]
    core = _suite_core(hub, suite)
    place = {"repository": minimal(hub, repo)} if with_repository else {}
    commit = await hub.git(repo, Bare.commit, suite.head_sha)
    return {
        **core,
        "rerequestable": True,
        "runs_rerequestable": True,
        "latest_check_runs_count": len(latest(hub.state.check_runs.where(suite=suite.id))),
        "check_runs_url": f"{core['url']}/check-runs",
        "head_commit": simple_commit(commit),
        **place,
    }
