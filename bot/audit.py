"""Who decided what, on which evidence: the decisions of runs, read from their records in git."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from bot.errors import Refused
from bot.events import ORCHESTRATE, Event, Type
from bot.git import ledger
from bot.git.mirror import Mirror
from bot.local import ALL, find_run, list_runs
from bot.runs.model import Run
from bot.settings import Settings

EVIDENCE = {
    Type.REQUESTED: ("agent", "base", "issue", "trusted", "pull", "onto"),
    Type.CANDIDATE_REFUSED: ("reason",),
    Type.CHECKPOINTED: ("number", "kind", "sha", "tree"),
    Type.CHECKED: ("sha", "green"),
    Type.APPROVED: (
        "of",
        "sha",
        "tree",
        "plan",
        "policy",
        "under",
        "how",
        "reason",
        "missing",
        "lacks",
        "kept",
    ),
    Type.REJECTED: ("sha",),
    Type.OVERRIDDEN: ("check", "why", "sha", "tree"),
    Type.DELEGATED: ("to",),
    Type.UNDELEGATED: ("to",),
    Type.HELD: ("why",),
    Type.RELEASED: (),
    Type.UNCONFIRMED: ("said",),
    Type.RESUMED: ("agent", "turns", "usd", "tokens", "minutes"),
    Type.LIMITS_GIVEN: ("usd", "tokens"),
    Type.RETRIED: ("check",),
    Type.ROLLBACK_ASKED: ("kind", "title", "tree"),
    Type.UPDATE_ASKED: ("base_sha",),
    Type.HUMAN_PUSHED: ("before", "after"),
    Type.GIVEN: ("after", "from"),
    Type.MERGED: ("sha", "by_hand", "policy", "under"),
    Type.BLOCKED: ("reason",),
    Type.CANCELLED: ("reason",),
    Type.PAUSED: ("reason",),
    Type.TAKEN: (),
    Type.CHANGES_ASKED: (),
}
"""What is told of each decision: names and ids, not what people wrote at length."""


async def decisions(
    settings: Settings, run_id: str | None = None, since: datetime | None = None
) -> dict[str, Any]:
    """List what people and the rules decided, oldest first; of one run, or since a time.

    `unread` names runs whose record is not on this machine.
    """
    found = [await find_run(settings, run_id)] if run_id else await list_runs(settings, ALL)
    rows: list[dict[str, Any]] = []
    unread: list[str] = []
    for run, home in found:
        if since is not None and run.updated_at < since:
            continue
        try:
            record = ledger.read(Mirror(home / "mirrors" / f"{run.repository.id}.git"), run.id)
        except Refused:
            record = []
        if not record:
            unread.append(run.id)
        rows += _rows(run, [Event.model_validate(each) for each in record], since)
    rows.sort(key=lambda row: (row["at"], row["run"], row["seq"]))
    return {"decisions": rows, "unread": unread}


def _rows(run: Run, record: list[Event], since: datetime | None) -> Iterator[dict[str, Any]]:
    for event in record:
        if event.type not in EVIDENCE or (since is not None and event.at < since):
            continue
        keys = EVIDENCE[Type(event.type)]
        evidence = {key: event.data[key] for key in keys if event.data.get(key) not in (None, "")}
        yield {
            "at": event.model_dump(mode="json")["at"],
            "run": run.id,
            "seq": event.seq,
            "repository": run.repository.full_name,
            "actor": event.actor,
            "person": event.actor != ORCHESTRATE,
            "did": event.type,
            "evidence": evidence,
        }
