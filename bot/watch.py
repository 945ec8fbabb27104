"""Compares repositories with live runs to GitHub's present state, for what no webhook told.

One conditional request a repository when nothing changed there. What did change is brought to the
router as if its webhook had come, and the same cause is obeyed once.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from bot.errors import OrchestrateError
from bot.events import GHOST
from bot.found import REVIEWS, comment_on, is_unedited, review_of, where
from bot.payloads import CommentCreated, PullChanged, Pushed
from bot.router import Desk, Router
from bot.runs.model import Repository, Run
from bot.runs.transitions import TERMINAL, State
from bot.runs.waking import is_due, wake
from bot.threads import Changes, Comment, Pull

log = structlog.get_logger()


class Watch:
    """Looks every `every` seconds, and at the start."""

    def __init__(self, router: Router, *, every: float) -> None:
        self._router = router
        self._every = every
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """Stop looking."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Compare every repository that has live runs."""
        store = self._router.desk.store
        await look_after_merges(self._router.desk)
        for repository, _, seen in await store.repositories():
            runs = [r for r in await store.of_repository(repository.id) if r.state not in TERMINAL]
            if runs and repository.installation:
                await self._safely(repository, runs, seen)

    async def _safely(self, repository: Repository, runs: list[Run], seen: dict[str, str]) -> None:
        try:
            await self._compare(repository, runs, seen)
        except OrchestrateError as error:
            log.warning("not compared", repository=repository.id, error=str(error))

    async def _compare(self, repository: Repository, runs: list[Run], seen: dict[str, str]) -> None:
        threads = self._router.desk.threads
        since = datetime.fromisoformat(seen["at"]) if seen.get("at") else _oldest(runs)
        # GitHub tells whole seconds: what happened later in this one must not look like earlier.
        since = since.replace(microsecond=0)
        changes = await threads.changed_since(repository, seen.get("etag"), since)
        if changes.changed:
            await self._take(repository, runs, changes, since)
        await self._router.desk.store.keep_seen(
            repository.id, {"etag": changes.etag, "at": changes.seen.isoformat()}
        )

    async def _take(
        self, repository: Repository, runs: list[Run], changes: Changes, since: datetime
    ) -> None:
        for comment in changes.comments:
            # An edited comment may say what nobody commanded when it was written.
            if is_unedited(comment):
                await self._router.take(await self._comment(repository, comment))
        for run in runs:
            if run.pull_request in changes.threads and run.pull_request is not None:
                pull = await self._router.desk.threads.pull(repository, run.pull_request)
                await self._reviews(repository, pull, since)
                await self._pull(repository, run, pull)

    async def _comment(self, repository: Repository, comment: Comment) -> CommentCreated:
        issue = await self._router.desk.threads.issue(repository, comment.number)
        return comment_on(repository, issue, comment)

    async def _reviews(self, repository: Repository, pull: Pull, since: datetime) -> None:
        head = pull.head_sha, pull.head_ref
        for review in await self._router.desk.threads.reviews(repository, pull.number):
            if review.submitted_at >= since and review.state in REVIEWS:
                await self._router.take(review_of(repository, pull.number, head, review))

    async def _pull(self, repository: Repository, run: Run, pull: Pull) -> None:
        here = where(repository)
        if pull.state == "closed":
            closed = PullChanged(
                where=here,
                sender=GHOST,
                number=pull.number,
                head_sha=pull.head_sha,
                head_ref=pull.head_ref,
                action="closed",
                base_ref=pull.base_ref,
                merged=pull.merged,
                merge_sha=pull.merge_sha,
            )
            await self._router.take(closed)
        elif pull.head_sha != run.head:
            pushed = Pushed(
                where=here,
                sender=GHOST,
                ref=f"refs/heads/{pull.head_ref}",
                before=run.head,
                after=pull.head_sha,
            )
            await self._router.take(pushed)


async def look_after_merges(desk: Desk) -> None:
    """Let merges that wait ask GitHub again, for news that no webhook brought."""
    now = desk.clock()
    for run in await desk.store.in_state(State.MERGING):
        if is_due(run, now):
            await wake(desk.store, run, f"look:{run.seq}", now)


def _oldest(runs: list[Run]) -> datetime:
    return min((run.created_at for run in runs), default=datetime.now(UTC))
