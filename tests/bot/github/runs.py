"""Runs to be drawn, and GitHub's limits to hold them against."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.runs.model import Checkpoint, Plan, Repository, Run, Source, Task
from bot.runs.transitions import State

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HEAD = "abc1234def5678abc1234def5678abc1234def56"
BASE = "0" * 40

REPOSITORY = Repository(
    id=7, owner="acme", name="widgets", installation=3, url="https://git.example/acme/widgets.git"
)


def a_checkpoint(number: int = 1, **changed: Any) -> Checkpoint:
    values = {
        "number": number,
        "sha": HEAD,
        "tree": "1" * 40,
        "parent": BASE,
        "title": "Add rate limiting",
        "files": 3,
        "added": 10,
        "deleted": 2,
    }
    return Checkpoint(**values | changed)


def a_run(state: State = State.AWAITING_REVIEW, **changed: Any) -> Run:
    values: dict[str, Any] = {
        "id": "k3v7qbd2aa",
        "repository": REPOSITORY,
        "source": Source(kind="comment", key="1:1"),
        "requester": "writer",
        "request": "add rate limiting to the API",
        "title": "add rate limiting to the API",
        "issue": 1,
        "pull_request": 3,
        "agent": "ruff-fix",
        "base": "main",
        "created_at": AT,
        "updated_at": AT,
        "state": state,
        "branch": "orchestrate/1-add-rate-limiting-k3v7qbd2aa",
        "base_sha": BASE,
        "head": HEAD,
        "plan": Plan(tasks=(Task(id="1", title="Add rate limiting", done=True),)),
        "turns": 1,
        "turn_limit": 3,
        "checkpoints": (a_checkpoint(),),
        "segment": 1,
    }
    return Run(**values | changed)


def a_young_run(state: State, **changed: Any) -> Run:
    """A run before its first checkpoint."""
    values = {"checkpoints": (), "head": BASE, "pull_request": None, "turns": 0}
    return a_run(state, **values | changed)


def a_result(name: str = "pytest", conclusion: str = "success", **changed: Any) -> dict[str, Any]:
    values = {
        "name": name,
        "conclusion": conclusion,
        "summary": "3 passed",
        "text": "",
        "annotations": [],
        "seconds": 1.5,
        "attempt": 0,
    }
    return values | changed


def a_note(line: int, **changed: Any) -> dict[str, Any]:
    values = {
        "path": "src/widgets.py",
        "start_line": line,
        "end_line": line,
        "level": "failure",
        "message": f"line {line} is wrong",
        "title": "E501",
    }
    return values | changed
