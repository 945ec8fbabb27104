"""The clock: the one place that knows APScheduler.

Every schedule of every repository is a job. When one fires, `fire(repository, schedule, time)` is
called with the time for which it was meant, in UTC, so that any number of clocks cause the same
run. Each clock reads the schedules from the store, where a push to the configuration puts them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from apscheduler.events import EVENT_JOB_SUBMITTED, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from bot.runs.model import Repository
from bot.runs.store import Store
from policies.config import Schedule
from policies.cron import parse_cron

log = structlog.get_logger()

SYNC_SECONDS = 15.0
"""How long a schedule that another process changed may take to reach a clock."""

GRACE_SECONDS = 3600
"""How late a job may still fire: a server that was busy or asleep for an hour catches up."""

Fire = Callable[[Repository, Schedule, datetime], Awaitable[None]]


class ScheduleClock:
    """Fires the schedules that the store knows."""

    def __init__(self, store: Store, fire: Fire) -> None:
        self._store = store
        self._fire = fire
        self._jobs: dict[str, tuple[Repository, Schedule]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._syncer: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._end_listening: Callable[[], None] = lambda: None
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={
                "misfire_grace_time": GRACE_SECONDS,
                # Each fire time is its own run, however many came due at once.
                "coalesce": False,
                "max_instances": 50,
            },
        )

    async def start(self) -> None:
        """Begin firing."""
        # The submission names the times for which a job was meant; the job itself runs at "now".
        self._scheduler.add_listener(self._submitted, EVENT_JOB_SUBMITTED)
        self._end_listening = self._store.listen_schedules(lambda _: self._changed.set())
        await self.sync()
        self._scheduler.start()
        self._syncer = asyncio.create_task(self._keep_in_step())

    async def stop(self) -> None:
        """Stop firing."""
        self._end_listening()
        if self._syncer:
            self._syncer.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        for task in self._tasks:
            task.cancel()

    async def sync(self) -> None:
        """Make the jobs what the store's schedules say now."""
        wanted = {
            f"{repository.id}:{schedule.name}": (repository, schedule)
            for repository, schedules, _ in await self._store.repositories()
            for schedule in map(Schedule.model_validate, schedules)
        }
        for job in self._jobs.keys() - wanted.keys():
            self._scheduler.remove_job(job)
        for job, (repository, schedule) in wanted.items():
            if self._jobs.get(job, (None, None))[1] != schedule:
                self._add(job, schedule)
            log.debug("scheduled", repository=repository.id, schedule=schedule.name)
        self._jobs = wanted

    def _add(self, job: str, schedule: Schedule) -> None:
        trigger = trigger_of(schedule)
        self._scheduler.add_job(_nothing, trigger, id=job, replace_existing=True)

    async def _keep_in_step(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SYNC_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            await self.sync()

    def _submitted(self, event: JobSubmissionEvent) -> None:
        known = self._jobs.get(event.job_id)
        if known is None:
            return
        for time in event.scheduled_run_times:
            task = asyncio.get_running_loop().create_task(self._safely(*known, time))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _safely(self, repository: Repository, schedule: Schedule, time: datetime) -> None:
        try:
            await self._fire(repository, schedule, time.astimezone(UTC))
        except Exception:
            # The boundary: one schedule that cannot start must not end the clock.
            log.exception("schedule failed", repository=repository.id, schedule=schedule.name)


def trigger_of(schedule: Schedule) -> Any:
    """Make the trigger of a schedule: five cron fields in a time zone."""
    cron = parse_cron(schedule.cron)
    return CronTrigger(
        minute=cron.minute,
        hour=cron.hour,
        day=cron.day,
        month=cron.month,
        day_of_week=cron.day_of_week,
        timezone=schedule.timezone,
    )


async def _nothing() -> None:
    """What a job does: firing is the listener's, which knows the time that was meant."""
