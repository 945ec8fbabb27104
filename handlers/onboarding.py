"""A first configuration: proposed where the App is newly installed and none is there.

The pull request brings `.github/orchestrate.yml`, fitted to the repository's files and checks.
Nothing of it holds until somebody merges it. It is opened once: who closes it is not asked again.
A large installation is proposed to at a polite pace, one repository at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from bot.errors import OrchestrateError
from bot.router import Repositories
from bot.runs.model import Repository
from bot.runs.store import Store
from policies.proposal import Proposal, Site, propose

log = structlog.get_logger()

WRITES = 60
"""Proposals are so many times further apart than single writes: one a minute. A proposal is three
writes, and its reviewers' attention is scarcer than GitHub's."""

RETRY_SECONDS = 300.0
"""How long after a failure a repository is looked at again: long enough for an outage to pass."""


class Sites(Protocol):
    """Repositories to be proposed to. Every call may raise `TransientError` or `Refused`."""

    async def site(self, repository: Repository) -> Site | None:
        """Look at a repository; None where nothing is to be proposed.

        So it is with one that is empty, archived or a fork, or was proposed to before.
        """

    async def read(self, repository: Repository, path: str) -> bytes | None:
        """Read a file of its default branch."""

    async def propose(self, repository: Repository, proposal: Proposal) -> int:
        """Open the pull request, unless that was done; return its number."""


Detect = Callable[[Sequence[str], Callable[[str], bytes | None]], Sequence[tuple[str, str]]]
"""Finds the checks of a repository, each a name and a command, from its paths and files."""


class Onboarding:
    """Proposes a configuration to every repository that wants one, `spacing` seconds apart.

    Which ones do is kept in the store, so that a restart forgets none; GitHub knows which were
    proposed to. `reads` are the files that `detect` may want.
    """

    def __init__(
        self,
        store: Store,
        repositories: Repositories,
        sites: Sites,
        detect: Detect,
        reads: frozenset[str],
        *,
        spacing: float,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._sites = sites
        self._detect = detect
        self._reads = reads
        self._spacing = spacing
        self._waiting: asyncio.Queue[Repository] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, with those that wanted one before."""
        for repository in await self._store.wanting():
            self._waiting.put_nowait(repository)
        self._task = asyncio.create_task(self._go_on())

    async def stop(self) -> None:
        """Stop."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def invite(self, repositories: Sequence[Repository]) -> None:
        """Take in repositories that the App came to."""
        for repository in repositories:
            await self._store.want(repository.id, wanting=True)
            self._waiting.put_nowait(repository)

    async def settled(self) -> None:
        """Return once nobody waits any more."""
        await self._waiting.join()

    async def _go_on(self) -> None:
        while True:
            repository = await self._waiting.get()
            try:
                number = await self.look(repository)
            except OrchestrateError as error:
                log.warning("nothing proposed", repository=repository.id, error=str(error))
                later = asyncio.get_running_loop().call_later
                later(RETRY_SECONDS, self._waiting.put_nowait, repository)
                number = None
            finally:
                self._waiting.task_done()
            if number:
                log.info("configuration proposed", repository=repository.id, pull=number)
            # A look is a few reads, a proposal as many writes, which people have to read.
            await asyncio.sleep(self._spacing if number else self._spacing / WRITES)

    async def look(self, repository: Repository) -> int | None:
        """Propose to a repository where one is wanted; return the pull request's number."""
        number = None
        if not await self._repositories.is_configured(repository):
            site = await self._sites.site(repository)
            if site is not None:
                number = await self._sites.propose(repository, await self._fitted(repository, site))
        await self._store.want(repository.id, wanting=False)
        return number

    async def _fitted(self, repository: Repository, site: Site) -> Proposal:
        wanted = sorted(self._reads & set(site.paths))
        files = {path: await self._sites.read(repository, path) for path in wanted}
        return propose(site, self._detect(sorted(site.paths), files.get))
