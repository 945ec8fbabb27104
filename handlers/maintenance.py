"""Scheduled runs: `schedule:` in the configuration keeps a repository in shape at night.

    schedule:
      - name: tidy
        cron: "0 3 * * *"
        timezone: Europe/Berlin
        request: Fix what the linter finds.
        agent: ruff

A run that finds nothing to do leaves no trace. One issue lists the schedules and what became of
their runs. A schedule whose last run still waits for a decision starts no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.events import ORCHESTRATE, Event, Type
from bot.router import Desk
from bot.runs.model import Repository, Run, Source
from bot.runs.transitions import State
from policies.config import Schedule

MARKER = "maintenance"
TITLE = "Maintenance by Orchestrate"
LISTED_RUNS = 30
"""Past runs in the tracking issue: a month of nights."""


async def fire(desk: Desk, repository: Repository, schedule: Schedule, time: datetime) -> None:
    """Start the run of a schedule for one fire time; the same time is the same run."""
    config = await desk.repositories.policy(repository)
    for run in await desk.store.of_repository(repository.id):
        if _name(run) == schedule.name:
            return
    source = Source(kind="schedule", key=f"{schedule.name}@{time.isoformat()}")
    data = {
        "request": schedule.request,
        "title": schedule.request.splitlines()[0],
        "source": source.model_dump(),
        "agent": desk.choose_agent(schedule.agent or "", config),
    }
    event = Event(
        id=f"schedule:{source.key}",
        at=desk.clock(),
        actor=ORCHESTRATE,
        type=Type.REQUESTED,
        data=data,
    )
    await desk.store.create(repository, event)


async def show(desk: Desk, repository: Repository, schedules: Sequence[Schedule]) -> None:
    """Bring the tracking issue up to date; without schedules and runs there is none."""
    everything = await desk.store.scheduled(repository.id, LISTED_RUNS)
    past = [run for run in everything if not is_quiet(run)]
    number = await desk.threads.find_issue(repository, MARKER)
    if number is None and (schedules or past):
        await desk.threads.open_issue(repository, TITLE, body(schedules, past), MARKER)
    elif number is not None:
        await desk.threads.edit_issue(repository, number, body=body(schedules, past))


def is_quiet(run: Run) -> bool:
    """Say whether a scheduled run has nothing to show: it is at work, or found nothing to do."""
    if run.checkpoints:
        return False
    return run.state in (State.QUEUED, State.RUNNING, State.VALIDATING, State.DONE)


def body(schedules: Sequence[Schedule], past: Sequence[Run]) -> str:
    """Write the tracking issue."""
    lines = [
        "Runs that start by themselves, as `.github/orchestrate.yml` says. "
        "A night without anything to do leaves no line here.",
        "",
        "### Upcoming",
        "",
    ]
    if schedules:
        lines += ["| schedule | when | request |", "|---|---|---|"]
        lines += [f"| {s.name} | `{s.cron}` {s.timezone} | {_cell(s.request)} |" for s in schedules]
    else:
        lines.append("Nothing is scheduled.")
    lines += ["", "### Past", ""]
    lines += [f"- {_line(run)}" for run in past] or ["Nothing yet."]
    return "\n".join(lines)


def _line(run: Run) -> str:
    state = run.state.value.replace("_", " ")
    where = f" in #{run.pull_request}" if run.pull_request else ""
    why = f": {_cell(run.reason)}" if run.reason else ""
    return f"{run.created_at:%Y-%m-%d} {_name(run)}: {state}{where}{why}"


def _name(run: Run) -> str:
    return run.source.key.partition("@")[0] if run.source.kind == "schedule" else ""


def _cell(text: str) -> str:
    line = " ".join(text.split())
    return line.replace("|", "\\|").replace("@", "@\u200b")[:200]
