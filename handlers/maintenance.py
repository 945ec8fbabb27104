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

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from bot.errors import OrchestrateError
from bot.events import ORCHESTRATE, Event, Type
from bot.router import Desk
from bot.runs.model import Repository, Run, Source
from bot.runs.transitions import State
from policies.config import Schedule

log = structlog.get_logger()

RETRY_SECONDS = 60.0
"""How long after a failure the tracking issue is drawn again."""

MARKER = "maintenance"
TITLE = "Maintenance by Orchestrate"
CELL = 200
"""Characters of a line in the tracking issue: the file, or the pull request, has all of it."""

LISTED_RUNS = 30
"""Past runs in the tracking issue: a month of nights."""


async def fire(desk: Desk, repository: Repository, schedule: Schedule, time: datetime) -> None:
    """Start the run of a schedule for one fire time; the same time is the same run.

    While an operator has stopped the work there is none, and none is made up for.
    """
    if await desk.store.queue.stop_of(repository.installation):
        log.info("schedule passed over", repository=repository.id, schedule=schedule.name)
        return
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


class Maintenance:
    """Keeps the tracking issue of each repository in step with its scheduled runs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._dirty: asyncio.Queue[int] = asyncio.Queue()
        self._shown: dict[int, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._end_listening: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Begin: with every repository, then with each whose schedules or their runs change."""
        self._end_listening = [
            self._desk.store.listen(
                lambda run: self.touch(run.repository.id) if run.source.kind == "schedule" else None
            ),
            self._desk.store.listen_elsewhere(
                lambda change: self.touch(change.repository) if change.scheduled else None
            ),
            self._desk.store.listen_schedules(self.touch),
        ]
        self._task = asyncio.create_task(self._show_all())

    async def stop(self) -> None:
        """Stop."""
        for end in self._end_listening:
            end()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def touch(self, repository: int) -> None:
        """Say that a repository's schedules or scheduled runs changed."""
        self._dirty.put_nowait(repository)

    async def _show_all(self) -> None:
        for repository, schedules, _ in await self._desk.store.repositories():
            if schedules:
                self.touch(repository.id)
        while True:
            number = await self._dirty.get()
            try:
                await self.show(number)
            except OrchestrateError as error:
                log.warning("tracking issue not drawn", repository=number, error=str(error))
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self.touch, number)

    async def show(self, number: int) -> None:
        """Bring one tracking issue up to date; without anything to list there is none."""
        store, threads = self._desk.store, self._desk.threads
        for repository, listed, _ in await store.repositories():
            if repository.id != number:
                continue
            schedules = [Schedule.model_validate(each) for each in listed]
            runs = await store.scheduled(number, LISTED_RUNS)
            past = [run for run in runs if not is_quiet(run)]
            text = body(schedules, past)
            if self._shown.get(number) == text or not (schedules or past):
                return
            issue = await threads.find_issue(repository, MARKER)
            if issue is None:
                await threads.open_issue(repository, TITLE, text, MARKER)
            else:
                await threads.edit_issue(repository, issue, body=text)
            self._shown[number] = text


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
    line = line if len(line) <= CELL else f"{line[: CELL - 1].rstrip()}…"
    for sign in "@<":
        line = line.replace(sign, f"{sign}\u200b")
    return line.replace("|", "\\|")
