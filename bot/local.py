"""Runs on repositories of this machine, without GitHub: what the command line drives.

Each repository has a store of its own under the data folder, so that two of them do not wait for
one another. Whoever sits at the machine is an administrator of it, and decides alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bot.app import Bot, Output, compose, desk_of, environments_of, now, route, workspaces
from bot.commands import Misuse, read
from bot.database import Database, is_shared, open_database
from bot.errors import OperatorError, UserError
from bot.events import Event, Type
from bot.git.checkpoint import Identity
from bot.git.local import LocalForge, base_of, open_repository, person
from bot.git.remote import Remote
from bot.git.workbench import Workbench
from bot.library import Library
from bot.redact import Redactor
from bot.router import Conversation, Desk, Router, Spoken
from bot.runs.model import Repository, Run, Source
from bot.runs.store import Store
from bot.runs.texts import listed
from bot.runs.transitions import LIVE
from bot.runs.work import OWN_AGENT, own
from bot.settings import Settings
from bot.threads import Threads
from policies.config import Config
from policies.facts import Role

LOCAL = "local"
DATABASE = "orchestrate.db"

REACHING = frozenset({"pause", "cancel"})
"""Commands that reach a run while another process works on it; the others wait for that one."""

ALL = 2**31
"""More runs than a store holds."""

IDS_NAMED = 3
"""Runs named where a beginning means several."""

POLL_SECONDS = 0.3
"""How often it is looked whether that process is done."""

SETTLE_SECONDS = 20.0
"""How long the record's last lines are waited for: they are written in a moment, or the repository
is not there to take them, and then the next command tries again."""


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

    async def is_member(self, repository: Repository, team: str, login: str) -> bool:
        """There are no teams on a machine, and whoever is there stands for all of them."""
        return True


@dataclass(slots=True)
class Local:
    """A bot for one local repository; `working` says that it does the work of its runs."""

    bot: Bot
    router: Router
    forge: LocalForge
    repository: Repository
    person: Identity
    working: bool

    async def start_run(self, request: str, options: dict[str, Any]) -> Run:
        """Start a run; `options` are those of `orchestrate run`."""
        if not request.strip():
            raise UserError("Say what is to be done: the request is empty.")
        base = await base_of(self.repository, options.get("base") or "")
        data = {
            **options,
            "base": base,
            "request": request,
            "email": self.person.email,
            "source": Source(kind="cli", key=os.urandom(8).hex()).model_dump(),
            "agent": await self._agent(options),
        }
        event = Event(
            id="cli:request", at=now(), actor=self.person.name, type=Type.REQUESTED, data=data
        )
        run, _ = await self.bot.store.create(self.repository, event)
        return run

    async def _agent(self, options: dict[str, Any]) -> str:
        desk = self.router.desk
        config = await desk.repositories.policy(self.repository)
        named = OWN_AGENT if options.get("agent_command") else options.get("agent") or ""
        try:
            return desk.choose_agent(named, own(_shell(self.repository, options), config))
        except UserError as error:
            raise UserError(f"{str(error).rstrip('.')}, or give `--agent-command CMD`.") from error

    async def order(self, run: Run, verb: str, rest: str) -> str | None:
        """Give a command to a run, as a comment would; return what it answers.

        `run` is as the person saw it: what is decided about a head holds for no other.
        """
        if self.working and verb not in REACHING and await self._notice_merge(run):
            return None
        command = read(verb, rest, self.router.desk.usages)
        if isinstance(command, Misuse):
            raise UserError(command.sentence)
        spoken = Spoken(
            cause=f"cli:{os.urandom(8).hex()}",
            login=self.person.name,
            at=now(),
            how="cli",
            repository=self.repository,
            conversation=Conversation(0),
        )
        # The mirror is left to the process at work; what stops a run is not configured there.
        config = await self.router.policy(self.repository) if self.working else Config()
        return await self.router.obey(spoken, command, run, own(run, config))

    async def _notice_merge(self, run: Run) -> bool:
        """Let a run be done whose head the person merged by hand; no webhook tells of that."""
        if run.state not in LIVE or run.active or run.last is None:
            return False
        sha = await self.forge.landed(run)
        if sha is None:
            return False
        who = self.person.name
        event = Event(id=f"cli:{sha}", at=now(), actor=who, type=Type.MERGED, data={"sha": sha})
        await self.bot.store.append(run.id, lambda _: [event])
        return True

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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self.bot.reconciler.settled()
                await self.bot.engine.finished(run)
        return run

    async def rested_elsewhere(self, run_id: str, home: Path) -> bool:
        """Wait for the process at work on a run; False when it ended before the run rested."""
        while (await self.bot.store.load(run_id)).active:
            if not is_held(home):
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True


@contextlib.asynccontextmanager
async def open_local(
    settings: Settings, folder: Path, *, working: bool = True, on_output: Output | None = None
) -> AsyncIterator[Local]:
    """Open the repository that `folder` lies in.

    With `working` its runs are worked on, once no other process does so any more; without, they
    can be given commands that another process obeys.
    """
    repository = await open_repository(folder)
    identity = await person(folder)
    home = home_of(settings, repository)
    url = f"sqlite:///{home / DATABASE}"
    # Nothing is drawn on GitHub here, so there is nothing to gather.
    own = {"database_url": url, "tools": _tools(settings), "gather_seconds": 0.0}
    settings = settings.model_copy(update=own)
    database = await _open(home, url, working=working)
    try:
        bot, forge, desk = await _compose(settings, home, database, identity, on_output)
        if working:
            await bot.start()
    except BaseException:
        await database.close()
        raise
    try:
        yield Local(bot, route(desk), forge, repository, identity, working)
    finally:
        await (bot.stop() if working else database.close())


async def _open(home: Path, url: str, *, working: bool) -> Database:
    try:
        return await open_database(url, wait=True, lock=working)
    except OSError as error:
        raise OperatorError(
            f"{home} cannot be written ({error.strerror}); set ORCHESTRATE_DATA_DIR to a folder "
            "of your own."
        ) from error


async def _compose(
    settings: Settings,
    home: Path,
    database: Database,
    identity: Identity,
    on_output: Output | None,
) -> tuple[Bot, LocalForge, Desk]:
    async def address(repository: Repository) -> Remote:
        return Remote(repository.url)

    store = Store(database, Redactor(settings.secrets(os.environ)))
    made = await workspaces(settings, home)
    stored = environments_of(settings, home, made)
    workbench = Workbench(home, address, identity, made, environments=stored)
    forge = LocalForge(home, identity)
    bot = await compose(settings, store, database, workbench, forge, on_output=on_output)
    library = Library(store, workbench.read_default, workbench, bot.ports.bounds)
    people = _Alone()
    # No handler that the command line reaches asks GitHub for anything but people.
    desk = desk_of(bot, people, cast(Threads, people), library, login="orchestrate")
    return bot, forge, desk


def is_held(home: Path) -> bool:
    """Say whether another process works on the runs kept in `home`."""
    try:
        handle = os.open(home / f"{DATABASE}.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def home_of(settings: Settings, repository: Repository) -> Path:
    """Return the folder that holds what is kept of a local repository."""
    return settings.data_dir / LOCAL / f"{repository.name}-{repository.id:x}"


async def find_run(settings: Settings, run_id: str) -> tuple[Run, Path]:
    """Find a run by its id, or by the beginning of one, in every store of the data folder."""
    wanted = run_id.lower()
    found = [
        (run, home) for run, home in await list_runs(settings, ALL) if run.id.startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        ids = listed([f"`{run.id}`" for run, _ in found[:IDS_NAMED]])
        raise UserError(f"{len(found)} runs begin with `{run_id}`, for example {ids}; say which.")
    raise UserError(f"There is no run `{run_id}`; `orchestrate runs` lists those there are.")


async def list_runs(settings: Settings, limit: int = 100) -> list[tuple[Run, Path]]:
    """Return the newest runs of each store in the data folder, each with the store's folder."""
    homes = [settings.data_dir, *sorted((settings.data_dir / LOCAL).glob("*"))]
    found: list[tuple[Run, Path]] = []
    if is_shared(settings.database):
        async with reading(homes.pop(0), settings) as store:
            runs = await store.all(limit)
        found += [(run, worked_on(settings.data_dir, run)) for run in runs]
    for home in homes:
        if (home / DATABASE).exists():
            async with reading(home) as store:
                runs = await store.all(limit) if await store.is_made() else []
            found += [(run, home) for run in runs]
    return sorted(_once(found), key=lambda pair: pair[0].created_at, reverse=True)


def _once(found: Sequence[tuple[Run, Path]]) -> list[tuple[Run, Path]]:
    """Leave out what is kept of a repository's old place, after it was moved and rebuilt."""
    kept: dict[str, tuple[Run, Path]] = {}
    for run, home in found:
        known = kept.get(run.id)
        if known is None or not Path(known[0].repository.url).exists():
            kept[run.id] = (run, home)
    return list(kept.values())


@contextlib.asynccontextmanager
async def reading(home: Path, settings: Settings | None = None) -> AsyncIterator[Store]:
    """Open a store to look at it, whoever works on it meanwhile.

    With `settings` it is the shared database that they name, unless `home` is of a local
    repository.
    """
    url = f"sqlite:///{home / DATABASE}"
    if settings and is_shared(settings.database):
        url = url if home.is_relative_to(settings.data_dir / LOCAL) else settings.database
    database = await open_database(url, lock=False)
    try:
        yield Store(database)
    finally:
        await database.close()


def worked_on(data: Path, run: Run) -> Path:
    """Return the folder of the worker on this machine that had a run last."""
    found = sorted(data.glob(f"workers/*/runs/{run.id}"), key=lambda path: path.stat().st_mtime)
    return found[-1].parents[1] if found else data


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
