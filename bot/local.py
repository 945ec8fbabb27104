"""Runs on repositories of this machine, without GitHub: what the command line drives.

Each repository has a store of its own under the data folder, so that two of them do not wait for
one another. Whoever sits at the machine is an administrator of it, and decides alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bot.app import Bot, Output, compose, desk_of, now, route
from bot.commands import Misuse, read
from bot.database import open_database
from bot.errors import UserError
from bot.events import Event, Type
from bot.git.local import LocalForge, open_repository, person
from bot.git.remote import Remote
from bot.git.workbench import Workbench
from bot.library import Library
from bot.router import Conversation, Desk, Router, Spoken
from bot.runs.model import Repository, Run, Source
from bot.runs.store import Store
from bot.runs.work import OWN_AGENT, own
from bot.settings import Settings
from bot.threads import Threads
from policies.facts import Role

LOCAL = "local"
DATABASE = "orchestrate.db"


class _Alone:
    """The people of a machine: one, who may do everything."""

    async def role(self, repository: Repository, login: str) -> Role | None:
        """Whoever may read the files here may do what they like with them."""
        return Role.ADMIN

    async def others_with(
        self, repository: Repository, role: Role, excluding: Collection[str]
    ) -> bool:
        """There is nobody else, so the person decides alone."""
        return False


@dataclass(slots=True)
class Local:
    """A bot at work on one local repository."""

    bot: Bot
    router: Router
    workbench: Workbench
    repository: Repository
    login: str
    email: str

    async def start_run(self, request: str, options: dict[str, Any]) -> Run:
        """Start a run; `options` are those of `orchestrate run`."""
        desk = self.router.desk
        config = own(
            _shell(self.repository, options), await desk.repositories.policy(self.repository)
        )
        named = OWN_AGENT if options.get("agent_command") else options.get("agent") or ""
        data = {
            **options,
            "request": request,
            "email": self.email,
            "source": Source(kind="cli", key=os.urandom(8).hex()).model_dump(),
            "agent": desk.choose_agent(named, config),
        }
        event = Event(id="cli:request", at=now(), actor=self.login, type=Type.REQUESTED, data=data)
        run, _ = await self.bot.store.create(self.repository, event)
        return run

    async def order(self, run: Run, verb: str, rest: str) -> str | None:
        """Give a command to a run, as a comment would; return what it answers."""
        command = read(verb, rest, self.router.desk.usages)
        if isinstance(command, Misuse):
            raise UserError(command.sentence)
        spoken = Spoken(
            cause=f"cli:{os.urandom(8).hex()}",
            login=self.login,
            at=now(),
            how="cli",
            repository=self.repository,
            conversation=Conversation(0),
        )
        config = (await self.router.policy(self.repository)).model_copy()
        return await self.router.obey(spoken, command, run, own(run, config))

    async def rested(self, run_id: str) -> Run:
        """Wait until a run waits for a decision or has ended, and its record is written."""
        changed = asyncio.Event()
        end = self.bot.store.listen(lambda run: changed.set() if run.id == run_id else None)
        try:
            while (run := await self.bot.store.load(run_id)).active:
                await changed.wait()
                changed.clear()
        finally:
            end()
        await self.bot.reconciler.settled()
        return run


@contextlib.asynccontextmanager
async def open_local(
    settings: Settings, folder: Path, *, on_output: Output | None = None
) -> AsyncIterator[Local]:
    """Put a bot to work on the repository that `folder` lies in, waiting for one that is there."""
    repository = await open_repository(folder)
    identity = await person(folder)
    home = home_of(settings, repository)
    url = f"sqlite:///{home / DATABASE}"
    settings = settings.model_copy(update={"database_url": url, "tools": _tools(settings)})
    database = await open_database(url, wait=True)
    store = Store(database)

    async def address(_: Repository) -> Remote:
        return Remote(repository.url)

    workbench = Workbench(home, address, identity)
    forge = LocalForge(home, identity)
    bot = await compose(settings, store, database, workbench, forge, on_output=on_output)
    library = Library(store, workbench.read_default, workbench.compare)
    people = _Alone()
    # No handler that the command line reaches asks GitHub for anything but people.
    desk: Desk = desk_of(bot, people, cast(Threads, people), library, login="orchestrate")
    await bot.start()
    try:
        yield Local(bot, route(desk), workbench, repository, identity.name, identity.email)
    finally:
        await bot.stop()


def home_of(settings: Settings, repository: Repository) -> Path:
    """Return the folder that holds what is kept of a local repository."""
    return settings.data_dir / LOCAL / f"{repository.name}-{repository.id:x}"


async def find_run(settings: Settings, run_id: str) -> tuple[Run, Path]:
    """Find a run by its id, or by the beginning of one, in every store of the data folder."""
    found = [(run, home) for run, home in await list_runs(settings) if run.id.startswith(run_id)]
    if len(found) != 1:
        several = f"{len(found)} runs begin with" if found else "There is no run"
        raise UserError(f"{several} `{run_id}`; `orchestrate runs` lists those there are.")
    return found[0]


async def list_runs(settings: Settings) -> list[tuple[Run, Path]]:
    """Return every run in the data folder, the newest first, with the folder of its store."""
    homes = [settings.data_dir, *sorted((settings.data_dir / LOCAL).glob("*"))]
    found: list[tuple[Run, Path]] = []
    for home in homes:
        if (home / DATABASE).exists():
            async with reading(home) as store:
                found += [(run, home) for run in await store.all()]
    return sorted(found, key=lambda pair: pair[0].created_at, reverse=True)


@contextlib.asynccontextmanager
async def reading(home: Path) -> AsyncIterator[Store]:
    """Open a store to look at it, whoever works on it meanwhile."""
    database = await open_database(f"sqlite:///{home / DATABASE}", lock=False)
    try:
        yield Store(database)
    finally:
        await database.close()


def _tools(settings: Settings) -> tuple[Path, ...]:
    """Add the person's active virtual environment, unless it is the bot's own."""
    active = os.environ.get("VIRTUAL_ENV")
    if not active or Path(active).resolve() == Path(sys.prefix).resolve():
        return settings.tools
    return (Path(active), *settings.tools)


def _shell(repository: Repository, options: dict[str, Any]) -> Run:
    """Make a run that is only asked for what was given with its request."""
    return Run(
        id="new",
        repository=repository,
        source=Source(kind="cli", key="new"),
        requester="",
        request="",
        own_agent=options.get("agent_command") or "",
        own_checks=tuple(options.get("checks") or ()),
        created_at=now(),
        updated_at=now(),
    )
