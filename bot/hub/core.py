"""The hub itself: its state, its repositories on disk, and what everything else needs at hand."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import httpx

from bot.hub.clock import Clock
from bot.hub.faults import Faults
from bot.hub.records import Repository, User
from bot.hub.repositories import Bare, Signature
from bot.hub.state import State
from bot.hub.webhooks import Webhooks

P = ParamSpec("P")
T = TypeVar("T")


class Hub:
    """A GitHub that fits in a folder.

    `url` is the address that its answers name (set when it is served on a free port). `durable`
    asks for fsyncs. `webhook_transport` delivers webhooks elsewhere than over the network.
    `hourly_limit` is the primary rate limit. Use `start` and `stop` around its work, on the loop
    that serves it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        url: str = "http://127.0.0.1",
        durable: bool = False,
        webhook_transport: httpx.AsyncBaseTransport | None = None,
        hourly_limit: int = 5_000,
    ) -> None:
        self.folder = folder
        self.url = url.rstrip("/")
        self.durable = durable
        self.clock = Clock()
        self.faults = Faults()
        self.state = State(folder, durable=durable)
        self.webhooks = Webhooks(self.state, self.clock, self.faults, webhook_transport)
        # Who asked: when their hour began (seconds since 1970) and how often they asked in it.
        self.requests_used: dict[str, tuple[int, int]] = {}
        self.hourly_limit = hourly_limit
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Answers of git that follow from (repository, base sha, head sha) and never change.
        self.mergeable: dict[tuple[int, str, str], bool] = {}
        self.pull_counts: dict[tuple[int, str, str], tuple[int, int, int, int]] = {}

    @property
    def api_url(self) -> str:
        """Where the REST begins."""
        return f"{self.url}/api/v3"

    async def start(self) -> None:
        """Begin to send webhooks."""
        self.webhooks.start()

    async def stop(self) -> None:
        """Stop sending, write and close everything."""
        await self.webhooks.stop()
        self.state.close()

    async def settled(self) -> None:
        """Wait until every webhook that was caused so far has been delivered."""
        await self.webhooks.settled()

    # -- finding ----------------------------------------------------------------------------

    def user(self, login: str) -> User | None:
        """The user, bot or organisation of this login."""
        return self.state.users.one(login=login.lower())

    def repository(self, full_name: str) -> Repository | None:
        """The repository called `owner/name`."""
        owner, _, name = full_name.partition("/")
        account = self.user(owner)
        if account is None:
            return None
        return self.state.repositories.one(name=(account.id, name.lower()))

    def owner(self, repo: Repository) -> User:
        """Who the repository belongs to."""
        return self.state.users[repo.owner_id]

    def full_name(self, repo: Repository) -> str:
        """`owner/name`."""
        return f"{self.owner(repo).login}/{repo.name}"

    def signature(self, user: User) -> Signature:
        """How commits name this user, now."""
        return Signature(user.name, user.email, self.clock.now())

    # -- git --------------------------------------------------------------------------------

    def bare(self, repo: Repository) -> Bare:
        """The repository on disk."""
        return Bare(self.folder / "repositories" / f"{repo.id}.git")

    async def git(
        self,
        repo: Repository,
        method: Callable[Concatenate[Bare, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a method of the repository on disk in a thread."""
        return await asyncio.to_thread(method, self.bare(repo), *args, **kwargs)

    def lock(self, repo: Repository) -> asyncio.Lock:
        """What whoever moves refs of this repository holds meanwhile."""
        return self._locks[repo.id]
