"""`serve --poll`: learns by asking what webhooks would have told, for who has no public address.

Every repository of the App is asked with one conditional request, which costs nothing of GitHub's
hourly limit while nothing moved. What did move (comments, reviews, comments on lines, pushes,
closings) becomes the delivery that GitHub would have sent, under a GUID that names its cause, and
goes the same way: into the record first, then to the dispatcher. So a look that is made twice, or a
webhook that comes as well, does nothing twice, and how far it was looked is only then remembered.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from bot.errors import OrchestrateError, TransientError, UserError
from bot.events import GHOST
from bot.found import REVIEWS, is_unedited
from bot.router import Desk
from bot.runs.model import Repository, Run
from bot.runs.transitions import TERMINAL
from bot.threads import Changes, Comment, Issue, Pull, Review, ReviewComment
from bot.watch import look_after_merges
from policies.config import PATH

log = structlog.get_logger()

FIRST_LOOK = timedelta(minutes=10)
"""How far back a repository is looked at that was never seen: what was said since the App came."""

LIST_SECONDS = 600.0
"""How often the repositories are listed anew, and looked at for a new configuration: neither is in
a hurry, and listing may take many requests."""

BACK_OFF_SECONDS = 60.0
"""How long a repository is left alone that GitHub does not show now; it may name a longer time."""

PAGE = 100
"""Entries that GitHub gives for one request."""

_INTERVAL = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|)\Z")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}

Json = dict[str, Any]


class Keeper(Protocol):
    """Where deliveries are kept."""

    async def store(self, guid: str, event: str, body: bytes) -> bool:
        """Keep a delivery durably; say whether it is new."""


def read_interval(text: str) -> float:
    """Read `15s`, `2m` or `1h` as seconds; `UserError` for anything else."""
    found = _INTERVAL.match(text.strip().lower())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise UserError(f"`--poll {text}` is no time; write `--poll 15s` or `--poll 2m`.")
    return seconds


class Allowance:
    """Spreads requests over the hour: of each that was made, its share of it is waited out."""

    def __init__(self, an_hour: int, now: Callable[[], float] = time.monotonic) -> None:
        self._share = 3600.0 / an_hour
        self._now = now
        self._free_at = 0.0

    def spend(self, requests: int) -> None:
        """Note that so many were made."""
        self._free_at = max(self._free_at, self._now()) + requests * self._share

    @property
    def wait(self) -> float:
        """Seconds until there may be another."""
        return max(0.0, self._free_at - self._now())


class Poll:
    """Looks at every repository every `every` seconds, with `an_hour` requests at the most."""

    def __init__(self, desk: Desk, inbox: Keeper, *, every: float, an_hour: int) -> None:
        self._desk = desk
        self._inbox = inbox
        self._every = every
        self._allowance = Allowance(an_hour)
        self._repositories: list[Repository] = []
        self._listed_at = -math.inf
        self._not_before: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look, until `stop`."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more; what was not seen yet is seen after the next start."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            await self.look()
            await asyncio.sleep(max(0.0, began + self._every - time.monotonic()))

    async def look(self) -> None:
        """Look at every repository once."""
        await look_after_merges(self._desk)
        configurations = time.monotonic() - self._listed_at >= LIST_SECONDS
        if configurations:
            await self._list()
        for repository in tuple(self._repositories):
            if time.monotonic() >= self._not_before.get(repository.id, 0.0):
                await asyncio.sleep(self._allowance.wait)
                await self._safely(repository, configurations=configurations)

    async def _list(self) -> None:
        """Learn which repositories there are, and tell of those that came since."""
        known = {each.id for each in self._repositories}
        found: list[Repository] = []
        try:
            for installation in await self._desk.threads.installations():
                if installation.suspended:
                    continue
                there = await self._desk.threads.installation_repositories(installation.id)
                self._allowance.spend(1 + len(there) // PAGE)
                if known and (came := [each for each in there if each.id not in known]):
                    await self._came(installation.id, installation.account, came)
                found += there
        except OrchestrateError as error:
            log.warning("repositories not listed", error=str(error))
            return
        for each in found:
            await self._desk.store.save_repository(each)
        self._repositories, self._listed_at = found, time.monotonic()

    async def _came(self, number: int, account: str, came: Sequence[Repository]) -> None:
        for each in came:
            short = {"id": each.id, "name": each.name, "full_name": each.full_name}
            payload = {
                "action": "added",
                "installation": {"id": number, "account": {"login": account}},
                "repositories_added": [short],
            }
            await self._keep(f"poll-came-{number}-{each.id}", "installation_repositories", payload)

    async def _safely(self, repository: Repository, *, configurations: bool) -> None:
        try:
            seen = await self._desk.store.seen(repository.id)
            await self._moved(repository, seen)
            if configurations:
                await self._configuration(repository, seen)
            await self._desk.store.keep_seen(repository.id, seen)
        except OrchestrateError as error:
            asked = error.retry_after if isinstance(error, TransientError) else None
            log.warning("not looked at", repository=repository.id, error=str(error))
            self._leave(repository, max(asked or 0.0, BACK_OFF_SECONDS))

    def _leave(self, repository: Repository, seconds: float) -> None:
        self._not_before[repository.id] = time.monotonic() + seconds

    async def _moved(self, repository: Repository, seen: dict[str, str]) -> None:
        """Keep a delivery of all that moved; then `seen` says so."""
        at = seen.get("at")
        since = datetime.fromisoformat(at) if at else datetime.now(UTC) - FIRST_LOOK
        # GitHub tells whole seconds: what happened later in this one must not look like earlier.
        since = since.replace(microsecond=0)
        self._allowance.spend(1)
        changes = await self._desk.threads.changed_since(
            repository, seen.get("etag") or None, since
        )
        if changes.poll_seconds:
            self._leave(repository, changes.poll_seconds)
        if changes.changed:
            await self._told(repository, changes, since)
        seen |= {"at": changes.seen.isoformat(), "etag": changes.etag or ""}

    async def _told(self, repository: Repository, changes: Changes, since: datetime) -> None:
        self._allowance.spend(1 + len(changes.comments) // PAGE)
        issues = {each.number: each for each in changes.issues}
        for comment in changes.comments:
            # What was changed before it was seen is not what anybody commanded.
            if is_unedited(comment) and not comment.author_is_bot:
                issue = issues.get(comment.number) or await self._issue(repository, comment.number)
                await self._comment(repository, issue, comment)
        for number in changes.threads:
            touched = issues.get(number)
            if touched is not None and not touched.is_pull:
                continue
            for run in await self._desk.runs_of_pull(repository, number):
                if run.pull_request == number and run.state not in TERMINAL:
                    await self._pull(repository, run, number, since)

    async def _issue(self, repository: Repository, number: int) -> Issue:
        self._allowance.spend(1)
        return await self._desk.threads.issue(repository, number)

    async def _comment(self, repository: Repository, issue: Issue, comment: Comment) -> None:
        payload = {
            "action": "created",
            "issue": _issue(issue),
            "comment": {
                "id": comment.id,
                "body": comment.body,
                "user": _user(comment.author),
                "created_at": comment.created_at.isoformat(),
                "html_url": comment.url,
            },
            "sender": _user(comment.author),
            **_where(repository),
        }
        await self._keep(f"poll-comment-{comment.id}", "issue_comment", payload)

    async def _pull(self, repository: Repository, run: Run, number: int, since: datetime) -> None:
        """Tell what happened to a run's pull request."""
        threads = self._desk.threads
        pull = await threads.pull(repository, number)
        lines = await threads.line_comments(repository, number)
        reviews = await threads.reviews(repository, number)
        self._allowance.spend(3 + len(lines) // PAGE + len(reviews) // PAGE)
        for line in lines:
            if line.created_at and line.created_at >= since and line.created_at == line.updated_at:
                await self._line(repository, pull, line)
        for review in reviews:
            if review.submitted_at >= since and review.state in REVIEWS:
                await self._review(repository, pull, review)
        if pull.state == "closed":
            payload = {"action": "closed", "pull_request": _pull(pull), **_where(repository)}
            await self._keep(f"poll-closed-{run.id}-{run.seq}", "pull_request", payload)
        elif pull.head_sha != run.head:
            await self._push(repository, pull.head_ref, run.head, pull.head_sha, run.seq)

    async def _line(self, repository: Repository, pull: Pull, line: ReviewComment) -> None:
        if line.author_is_bot or line.created_at is None:
            return
        payload = {
            "action": "created",
            "pull_request": _pull(pull),
            "comment": {
                "id": line.id,
                "path": line.path,
                "line": line.line,
                "body": line.body,
                "commit_id": line.commit_sha,
                "user": _user(line.author),
                "created_at": line.created_at.isoformat(),
                "html_url": line.url,
            },
            "sender": _user(line.author),
            **_where(repository),
        }
        await self._keep(f"poll-line-{line.id}", "pull_request_review_comment", payload)

    async def _review(self, repository: Repository, pull: Pull, review: Review) -> None:
        if review.author_is_bot:
            return
        payload = {
            "action": "submitted",
            "pull_request": _pull(pull),
            "review": {
                "id": review.id,
                "state": review.state,
                "body": review.body,
                "commit_id": review.commit_sha,
                "user": _user(review.author),
                "submitted_at": review.submitted_at.isoformat(),
                "html_url": review.url,
            },
            "sender": _user(review.author),
            **_where(repository),
        }
        await self._keep(f"poll-review-{review.id}", "pull_request_review", payload)

    async def _push(
        self,
        repository: Repository,
        branch: str,
        before: str,
        after: str,
        mark: int,
        paths: Sequence[str] = (),
    ) -> None:
        """Tell of a push; `mark` tells two pushes of the same commit apart."""
        payload = {
            "ref": f"refs/heads/{branch}",
            "before": before,
            "after": after,
            "commits": [{"id": after, "modified": list(paths)}],
            **_where(repository),
        }
        await self._keep(f"poll-push-{after}-{mark}", "push", payload)

    async def _configuration(self, repository: Repository, seen: dict[str, str]) -> None:
        """Tell of a push that changed the configuration on the default branch."""
        self._allowance.spend(1)
        found = await self._desk.threads.last_change(repository, PATH, seen.get("config"))
        if found.sha:
            branch = repository.default_branch
            await self._push(repository, branch, found.sha, found.sha, 0, [PATH])
        if found.etag:
            seen["config"] = found.etag

    async def _keep(self, guid: str, event: str, payload: Json) -> None:
        await self._inbox.store(guid, event, json.dumps(payload).encode())


def _user(login: str) -> Json:
    return {"login": login or GHOST, "type": "User"}


def _issue(issue: Issue) -> Json:
    return {
        "number": issue.number,
        "title": issue.title,
        "body": issue.body,
        "user": {**_user(issue.author), "type": "Bot" if issue.author_is_bot else "User"},
        "labels": [{"name": name} for name in issue.labels],
        **({"pull_request": {}} if issue.is_pull else {}),
    }


def _pull(pull: Pull) -> Json:
    head = {"sha": pull.head_sha, "ref": pull.head_ref}
    return {
        "number": pull.number,
        "user": _user(pull.author),
        "head": {**head, "repo": {"id": pull.head_repository} if pull.head_repository else None},
        "base": {"ref": pull.base_ref},
        "merged": pull.merged,
        "merge_commit_sha": pull.merge_sha or None,
    }


def _where(repository: Repository) -> Json:
    return {
        "repository": {
            "id": repository.id,
            "name": repository.name,
            "full_name": repository.full_name,
            "owner": {"login": repository.owner},
            "default_branch": repository.default_branch,
            "clone_url": repository.url,
            "size": repository.size,
        },
        "installation": {"id": repository.installation},
    }
