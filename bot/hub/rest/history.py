"""Who did what before: the labels of an issue, and the pushes of a repository."""

from __future__ import annotations

from bot.hub.actions import issues
from bot.hub.clock import stamp
from bot.hub.records import Activity, Labelling
from bot.hub.render import Json
from bot.hub.render.repos import api_url
from bot.hub.render.users import user_by_id
from bot.hub.repositories import ZERO, Bare
from bot.hub.rest.door import Call, Reply, Table


async def list_events(call: Call) -> Reply:
    """Who set or took away an issue's labels, the oldest first; of other events none is kept."""
    call.reads(issues.EITHER)
    issue = issues.find(call.hub, call.repo, call.params["number"])
    found = call.hub.state.labellings.where(number=(issue.repo_id, issue.number))
    return call.page(found, lambda each: _event(call, each))


def _event(call: Call, record: Labelling) -> Json:
    label = call.hub.state.labels.one(name=(record.repo_id, record.name.lower()))
    return {
        "id": record.id,
        "node_id": f"LE_{record.id}",
        "url": f"{api_url(call.hub, call.repo)}/issues/events/{record.id}",
        "actor": user_by_id(call.hub, record.actor_id),
        "event": "labeled" if record.is_set else "unlabeled",
        "commit_id": None,
        "commit_url": None,
        "created_at": stamp(record.created_at),
        "performed_via_github_app": None,
        "label": {"name": record.name, "color": label.color if label else issues.DEFAULT_COLOR},
    }


async def list_activities(call: Call) -> Reply:
    """Who moved which branch, the newest first; of one branch where `ref` names it."""
    repo, ref = call.reads("contents"), call.query.get("ref")
    found = call.hub.state.activities.where(repo=repo.id)[::-1]
    # GitHub takes a branch by either of its names.
    names = (ref, f"refs/heads/{ref}")
    kept = [each for each in found if ref is None or each.ref in names]
    forced = await call.hub.git(repo, _forced, kept)
    return call.page(kept, lambda each: _activity(call, each, forced))


def _forced(bare: Bare, records: list[Activity]) -> frozenset[int]:
    pushes = [each for each in records if ZERO not in (each.before, each.after)]
    return frozenset(each.id for each in pushes if not bare.contains(each.after, each.before))


def _activity(call: Call, record: Activity, forced: frozenset[int]) -> Json:
    kind = "force_push" if record.id in forced else "push"
    if record.is_merge:
        kind = "pr_merge"
    elif record.before == ZERO:
        kind = "branch_creation"
    elif record.after == ZERO:
        kind = "branch_deletion"
    return {
        "id": record.id,
        "node_id": f"PSH_{record.id}",
        "before": record.before,
        "after": record.after,
        "ref": record.ref,
        "timestamp": stamp(record.created_at),
        "activity_type": kind,
        "actor": user_by_id(call.hub, record.actor_id),
    }


R = "/repos/{owner}/{repo}"

TABLE: Table = [
    ("GET", R + "/issues/{number:int}/events", list_events),
    ("GET", R + "/activity", list_activities),
]
