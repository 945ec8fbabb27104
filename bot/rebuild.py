"""Restores runs from the records in their repositories, after a database was lost.

Nothing is started by it: what was in flight comes back stopped. A run that the database has is left
alone, so that doing it again, or after it was killed, is harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bot.app import USAGES, address_by, now, reach
from bot.confirm import Witness, doubted
from bot.database import open_database
from bot.errors import OperatorError, OrchestrateError, Refused, UserError
from bot.events import Event
from bot.git.checkpoint import Identity
from bot.git.local import open_repository, person
from bot.git.records import Records
from bot.git.remote import Remote
from bot.github.client import GitHubApp
from bot.github.forge import GitHubForge
from bot.github.threads import GitHubThreads
from bot.leases import workers_of
from bot.local import DATABASE, home_of
from bot.places import engine_file
from bot.runs.model import Repository, Run
from bot.runs.ports import Clock
from bot.runs.restore import Restored, restored
from bot.runs.store import Store
from bot.runs.transitions import TERMINAL
from bot.settings import Settings

Tell = Callable[[str], None]

AT_ONCE = 4
"""Repositories looked at side by side: each is mostly waiting for its server."""

DRAWN_AGAIN = timedelta(days=1)
"""How long before a repository's newest event a run ended whose view is drawn again: the views of
those that ended earlier were drawn, and thousands of them would keep GitHub busy for hours."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What was passed over: a run, or a whole repository where `run` is empty, and why."""

    repository: str
    run: str
    reasons: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """What became of it: the runs restored, how many were in the database already, the rest.

    `unconfirmed` says by run which decisions of its record do not count.
    """

    runs: list[Run] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    unconfirmed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


async def rebuild(settings: Settings, folder: Path | None, tell: Tell) -> Outcome:
    """Restore the runs of the local repository at `folder`, or without one all on GitHub.

    `tell` hears of each step, in a line.
    """
    outcome = await (_github(settings, tell) if folder is None else _local(settings, folder, tell))
    outcome.runs.sort(key=lambda run: run.created_at, reverse=True)
    return outcome


async def _local(settings: Settings, folder: Path, tell: Tell) -> Outcome:
    repository = await open_repository(folder)
    home = home_of(settings, repository)

    async def address(_: Repository) -> Remote:
        return Remote(repository.url)

    async with _opened(f"sqlite:///{home / DATABASE}") as store:
        records = Records(home / "mirrors", address, await person(folder))
        work = Rebuild(store, records, now, tell)
        await work.all([repository])
    return work.outcome


async def _github(settings: Settings, tell: Tell) -> Outcome:
    github = reach(settings)
    try:
        async with _opened(settings.database) as store:
            address = address_by(GitHubForge(github, store))
            identity = Identity(await github.login(), await github.email())
            over = settings.blobless_megabytes * 1024
            folder = settings.data_dir / "mirrors"
            records = Records(folder, address, identity, blobless_over=over)
            work = Rebuild(store, records, now, tell, GitHubThreads(github))
            await work.all(await _repositories(github, work, tell))
    finally:
        await github.close()
    return work.outcome


async def _repositories(github: GitHubApp, work: Rebuild, tell: Tell) -> list[Repository]:
    """List the repositories of every account that the App is installed on."""
    threads, found = GitHubThreads(github), list[Repository]()
    for installation in await threads.installations():
        if installation.suspended:
            tell(f"{installation.account}: passed over, since the App is suspended there")
            continue
        try:
            found += await threads.installation_repositories(installation.id)
        except OrchestrateError as error:
            work.passed_over(installation.account, "", [str(error)])
    return found


@contextlib.asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Store]:
    """Open a database that nobody works on; an empty one has no work that the engine knew of."""
    database = await open_database(url)
    try:
        store = Store(database)
        if database.is_shared:
            if living := await workers_of(database):
                raise OperatorError(
                    f"{living[0]} works on this database: stop every worker and clock first."
                )
        elif not await store.all(1):
            for file in engine_file(url).parent.glob(engine_file(url).name + "*"):
                file.unlink()
        yield store
    finally:
        await database.close()


class Rebuild:
    """Restores the runs of repositories into a store.

    `witness` confirms what people decided; without one all are believed, as on one's own machine.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        clock: Clock,
        tell: Tell,
        witness: Witness | None = None,
    ) -> None:
        self._witness = witness
        self._store = store
        self._records = records
        self._clock = clock
        self._tell = tell
        self.outcome = Outcome()

    async def all(self, repositories: Iterable[Repository]) -> None:
        """Restore what every one of these repositories has."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(repository: Repository) -> None:
            async with turn:
                await self.one(repository)

        async with asyncio.TaskGroup() as group:
            for repository in repositories:
                group.create_task(one(repository))

    async def one(self, repository: Repository) -> None:
        """Restore the runs of one repository."""
        try:
            ids = await self._records.bring_in(repository)
        except OrchestrateError as error:
            self.passed_over(repository.full_name, "", [str(error)])
            return
        if not ids:
            return
        self._tell(f"{repository.full_name}: {len(ids)} record{'s' if len(ids) > 1 else ''}")
        is_new = await self._store.repository(repository.id) is None
        made = [new for each in ids if (new := await self._run(repository, each))]
        if made:
            await self._settle(repository, made, is_new=is_new)

    def passed_over(self, repository: str, run: str, reasons: Sequence[str]) -> None:
        """Take down what could not be restored."""
        self._tell(f"  {run or repository}: passed over. {reasons[0]}")
        self.outcome.problems.append(Problem(repository, run, tuple(reasons)))

    async def _run(self, repository: Repository, id: str) -> Restored | None:
        if await self._has(id):
            self.outcome.known.append(id)
            return None
        try:
            found = await self._records.restore(repository, id)
            if found.problems:
                self.passed_over(repository.full_name, id, found.problems)
                return None
            at = self._clock()
            made = made_of(found.events, repository, id, at)
            if self._witness and made.run.state not in TERMINAL:
                record = _events(found.events)
                doubts = await doubted(self._witness, USAGES, made.run, record)
                made = made_of(found.events, repository, id, at, doubts)
        except OrchestrateError as error:
            self.passed_over(repository.full_name, id, [str(error)])
            return None
        if not await self._store.restore(made.run, made.record, made.results):
            return None
        self._take_down(made)
        return replace(made, record=())  # Of thousands of runs, what is not needed any more.

    def _take_down(self, made: Restored) -> None:
        self.outcome.runs.append(made.run)
        if made.stopped:
            self.outcome.stopped.add(made.run.id)
        self._tell(f"  {made.run.id}: {made.run.state.value.replace('_', ' ')}")
        if made.run.unconfirmed:
            told = tuple(each.said for each in made.run.unconfirmed)
            self.outcome.unconfirmed[made.run.id] = told
        for each in made.run.unconfirmed:
            self._tell(f"    {each.said.replace('`', '')}")

    async def _has(self, id: str) -> bool:
        try:
            await self._store.load(id)
        except UserError:
            return False
        return True

    async def _settle(
        self, repository: Repository, made: Sequence[Restored], *, is_new: bool
    ) -> None:
        """Say what need not be drawn, and from when on the conversations are to be read."""
        newest = max(each.until for each in made)
        for each in made:
            if each.run.state in TERMINAL and each.until < newest - DRAWN_AGAIN:
                _, mark = await self._store.to_draw(each.run.id)
                await self._store.drawn(each.run.id, mark)
        if is_new:
            # What people wrote before that was obeyed, or refused, by the server that was lost.
            await self._store.keep_seen(repository.id, {"etag": None, "at": newest.isoformat()})


def made_of(
    events: Sequence[Mapping[str, Any]],
    repository: Repository,
    id: str,
    at: datetime,
    doubts: Mapping[str, str] | None = None,
) -> Restored:
    """Make the run `id` of its events; raises Refused where they are not of this run.

    `doubts` are the decisions that do not count, as `restored` takes them.
    """
    made = restored(_events(events), repository, at, doubts)
    begun = made.record[0].data.get("repository", {})
    is_moved = repository.installation == 0 == begun.get("installation")
    if made.run.id != id or (begun.get("id", repository.id) != repository.id and not is_moved):
        where = "/".join(str(begun.get(key) or "?") for key in ("owner", "name"))
        raise Refused(
            f"The record is of a run of another repository ({where}), so it was copied here."
        )
    return made


def _events(events: Sequence[Mapping[str, Any]]) -> list[Event]:
    return [Event.model_validate(each) for each in events]
