"""What is read of GitHub, and asked of it, in our own words.

Handlers and recovery are given a `Threads`; `bot/github/threads.py` fulfils it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bot.runs.model import Repository
from policies.facts import Role


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue, or the conversation of a pull request. `state` is open or closed.

    `updated_at` is when anything about it last changed.
    """

    number: int
    title: str
    body: str
    author: str
    author_is_bot: bool
    is_pull: bool
    state: str
    labels: tuple[str, ...]
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request.

    `head_repository` is None when the fork was deleted; `merge_sha` is empty until it is merged.
    """

    number: int
    head_sha: str
    head_ref: str
    head_repository: int | None
    base_ref: str
    state: str
    merged: bool
    merge_sha: str
    draft: bool
    author: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment in a conversation; `number` is that of its issue or pull request."""

    id: int
    body: str
    author: str
    created_at: datetime
    updated_at: datetime
    author_is_bot: bool = False
    number: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True)
class ReviewComment:
    """A comment on a line of a pull request; `line` is None where it is outdated or on a file."""

    id: int
    path: str
    line: int | None
    body: str
    author: str
    in_reply_to: int | None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    author_is_bot: bool = False
    commit_sha: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """A submitted review; `state` in GitHub's words: approved, changes_requested, commented …"""

    id: int
    state: str
    body: str
    commit_sha: str
    author: str
    author_is_bot: bool
    submitted_at: datetime
    url: str = ""


@dataclass(frozen=True, slots=True)
class Push:
    """A branch moved to `after`; `by` is None where that was us, empty where nobody knows."""

    by: str | None
    after: str


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    """One try of GitHub to deliver a webhook; a redelivery has the same `guid`."""

    id: int
    guid: str
    event: str
    status_code: int
    delivered_at: datetime
    redelivery: bool


@dataclass(frozen=True, slots=True)
class Installation:
    """The App on an account."""

    id: int
    account: str
    suspended: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What moved in a repository since it was last looked at.

    `etag` and `seen` are what the next look is given. `threads` are the numbers of the issues and
    pull requests that were touched, `issues` what they are; `comments` those written or edited
    since, the oldest first. `poll_seconds` is how long GitHub asks to be left alone, if it does.
    """

    changed: bool
    etag: str | None
    seen: datetime
    threads: tuple[int, ...] = ()
    comments: tuple[Comment, ...] = ()
    issues: tuple[Issue, ...] = ()
    poll_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LastChange:
    """The commit that last changed a file; `sha` is empty where none did since `etag`."""

    sha: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class FileCheck:
    """A check of one file on a commit: `remarks` are what is wrong, by line and column.

    Without remarks it passes. `name` tells it from others on the same commit.
    """

    name: str
    head: str
    path: str
    title: str
    summary: str
    remarks: tuple[tuple[int, int, str], ...] = ()


class People(Protocol):
    """Who may do what. Every call may raise `TransientError` or `Refused`."""

    async def role(self, repository: Repository, login: str) -> Role | None:
        """Say what a person may do there; `TransientError` when GitHub does not say."""

    async def others_with(
        self, repository: Repository, role: Role, excluding: Collection[str]
    ) -> bool:
        """Say whether any person but those of `excluding` has at least that role."""

    async def is_member(self, repository: Repository, team: str, login: str) -> bool:
        """Say whether a person is in a team, `organisation/team`; `UserError` where not told."""


class Threads(People, Protocol):
    """What people write and see on GitHub. Every call may raise `TransientError` or `Refused`."""

    async def file(self, repository: Repository, path: str, at: str = "") -> bytes | None:
        """Read a file of the default branch, or of the commit `at`; None when there is none."""

    async def changes(self, repository: Repository, pull: int, path: str) -> bool:
        """Say whether a pull request changes a file."""

    async def show_check(self, repository: Repository, check: FileCheck) -> None:
        """Let a check stand on a commit; the same one again changes nothing."""

    async def react(
        self,
        repository: Repository,
        *,
        comment: int | None = None,
        review_comment: int | None = None,
        issue: int | None = None,
        content: str = "eyes",
    ) -> None:
        """React to one comment or issue; again does nothing more."""

    async def reply(
        self, repository: Repository, number: int, marker: str, text: str, *, since: datetime
    ) -> None:
        """Comment once for each `marker`; `since` bounds where an earlier one is looked for."""

    async def replied(
        self, repository: Repository, number: int, marker: str, *, since: datetime
    ) -> bool:
        """Say whether `reply` was called for `marker` there."""

    async def answer(
        self, repository: Repository, pull: int, review_comment: int, marker: str, text: str
    ) -> None:
        """Answer in a review's thread, once for each `marker`."""

    async def issue(self, repository: Repository, number: int) -> Issue:
        """Read an issue or a pull request's conversation."""

    async def pull(self, repository: Repository, number: int) -> Pull:
        """Read a pull request."""

    async def comment(self, repository: Repository, id: int) -> Comment | None:
        """Read a comment as it is now; None when it was deleted."""

    async def reviews(self, repository: Repository, pull: int) -> list[Review]:
        """Read the reviews of a pull request, the oldest first."""

    async def review_comments(
        self, repository: Repository, pull: int, review: int
    ) -> list[ReviewComment]:
        """Read the line comments of one review."""

    async def comments(self, repository: Repository, number: int) -> list[Comment]:
        """Read the comments of a conversation, the oldest first."""

    async def comments_since(
        self, repository: Repository, number: int, since: datetime
    ) -> list[Comment]:
        """Read the comments of a conversation that were written since then, the oldest first."""

    async def line_comments(self, repository: Repository, pull: int) -> list[ReviewComment]:
        """Read the comments on lines of a pull request, the oldest first."""

    async def tip(self, repository: Repository, branch: str) -> str | None:
        """Say which commit a branch is at now; None when there is no such branch."""

    async def repository(self, id: int, installation: int) -> Repository:
        """Read a repository by its number: its present name, default branch and address."""

    async def repository_named(self, owner: str, name: str, installation: int) -> Repository:
        """Read a repository by its name."""

    async def find_issue(self, repository: Repository, marker: str) -> int | None:
        """Find the issue that we opened with `marker`."""

    async def open_issue(self, repository: Repository, title: str, body: str, marker: str) -> int:
        """Open the issue of `marker`, or return the one that is there."""

    async def edit_issue(
        self, repository: Repository, number: int, *, title: str | None = None, body: str
    ) -> None:
        """Change an issue of ours; the body keeps its marker when it is given with it."""

    async def installations(self) -> list[Installation]:
        """List where the App is installed."""

    async def installation_repositories(self, installation: int) -> list[Repository]:
        """List the repositories that an installation may see."""

    async def deliveries(self, since: datetime) -> list[DeliverySummary]:
        """List GitHub's tries to deliver webhooks since then, the newest first."""

    async def redeliver(self, id: int) -> None:
        """Ask GitHub to deliver once more."""

    async def changed_since(
        self, repository: Repository, etag: str | None, since: datetime
    ) -> Changes:
        """Say what moved in a repository: one conditional request when nothing did."""

    async def last_change(self, repository: Repository, path: str, etag: str | None) -> LastChange:
        """Say which commit of the default branch last changed a file: a conditional request."""
