"""What a server keeps, and for how long: `orchestrate gc`, and the same every night by itself.

| what | limit | never |
|---|---|---|
| workflows | ended for `workflow_days` | one that is under way |
| deliveries | obeyed or set aside, and received `delivery_days` ago | one that waits |
| logs | written `log_days` ago | |
| workspaces | what is left of runs that ended `workspace_days` ago | of a run that may go on |
| mirrors | of repositories unused for `mirror_days` | one that a run may need, or that holds a \
record which its remote lacks |

Environments have limits of their own, and so have bases, which nothing uses for long.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from bot.deliveries import Inbox
from bot.errors import OrchestrateError
from bot.git.records import Address
from bot.git.removal import remove_or_leave
from bot.git.repository import Mirror
from bot.git.retire import retire
from bot.runs import logs
from bot.runs.model import Run
from bot.runs.store import Store
from bot.runs.transitions import TERMINAL
from bot.settings import Settings

log = structlog.get_logger()

NIGHT_HOUR = 3
"""The hour of the server's own night at which it is done: when the fewest wait for the disk."""

FIRST_SECONDS = 600.0
"""How long after the start it is done first: a laptop may never be on at night."""

ALL = 2**31
"""More runs than a store holds."""

_RUN = re.compile(r"[a-z2-7]{10}\Z")
_HOME, _LOGS, _OPEN = "home", "logs", ".layers"

Forget = Callable[[datetime, bool], Awaitable[int]]
"""Forgets the workflows that ended before then, or only counts them; returns how many."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What was older than its limit: how many of it, and the bytes of files."""

    what: str
    days: float
    count: int
    bytes: int = 0


class Retention:
    """Removes what is older than its limit, in each of `folders`.

    Without `address` mirrors are left alone.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        inbox: Inbox,
        forget: Forget,
        address: Address | None,
        *,
        folders: Callable[[], Sequence[Path]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._inbox = inbox
        self._forget = forget
        self._address = address
        self._folders = folders

    async def nightly(self) -> None:
        """Do it soon after the start, then every night, for ever."""
        await asyncio.sleep(FIRST_SECONDS)
        while True:
            try:
                found = await self.collect()
                counts = {each.what: each.count for each in found if each.count}
                log.info("old things removed", **counts)
            except (OrchestrateError, OSError) as error:
                log.warning("old things not removed", error=str(error))
            await asyncio.sleep(_until_night(datetime.now().astimezone()))

    async def collect(self, *, dry_run: bool = False) -> list[Swept]:
        """Remove what is older than its limit, or with `dry_run` only say what would be."""
        limits = self._settings
        runs = {run.id: run for run in await self._store.all(ALL)}
        workflows = await self._forget(_before(limits.workflow_days), dry_run)
        deliveries = await self._inbox.prune(_before(limits.delivery_days), dry_run=dry_run)
        old = homes = mirrors = _NOTHING
        for folder in self._folders():
            old = _sum(old, await asyncio.to_thread(self._logs, folder, dry_run))
            homes = _sum(homes, await asyncio.to_thread(self._workspaces, folder, runs, dry_run))
            mirrors = _sum(mirrors, await self._mirrors(folder, list(runs.values()), dry_run))
        return [
            Swept("workflows", limits.workflow_days, workflows),
            Swept("deliveries", limits.delivery_days, deliveries),
            Swept("logs", limits.log_days, *old),
            Swept("workspaces", limits.workspace_days, *homes),
            Swept("mirrors", limits.mirror_days, *mirrors),
        ]

    def _logs(self, folder: Path, dry_run: bool) -> tuple[int, int]:
        old = logs.old(folder / "runs", self._settings.log_days)
        size = sum(path.lstat().st_size for path in old)
        if not dry_run:
            for path in old:
                path.unlink(missing_ok=True)
        return len(old), size

    def _workspaces(self, place: Path, runs: dict[str, Run], dry_run: bool) -> tuple[int, int]:
        """Remove the agents' homes of runs that are over, and folders that have nothing left."""
        count = size = 0
        before = _before(self._settings.workspace_days)
        for folder in sorted((place / "runs").glob("*")):
            if not _RUN.match(folder.name) or (folder / _OPEN).exists():
                continue
            run = runs.get(folder.name)
            if _is_over(run, folder, before):
                home = folder / _HOME
                if home.exists():
                    count, size = count + 1, size + _size(home)
                if not dry_run:
                    remove_or_leave(home)
                    if not any((folder / _LOGS).glob("*")):
                        remove_or_leave(folder)
        return count, size

    async def _mirrors(self, folder: Path, runs: Sequence[Run], dry_run: bool) -> tuple[int, int]:
        before = _before(self._settings.mirror_days)
        count = size = 0
        if self._address is None:
            return 0, 0
        for repository, _, _ in await self._store.repositories():
            mirror = Mirror(folder / "mirrors" / f"{repository.id}.git")
            theirs = [run for run in runs if run.repository.id == repository.id]
            if not await asyncio.to_thread(_is_idle, mirror, theirs, before):
                continue
            taken = await asyncio.to_thread(_size, mirror.path)
            try:
                gone = await retire(mirror, await self._address(repository), dry_run=dry_run)
            except OrchestrateError as error:
                log.warning("mirror not removed", mirror=mirror.path.name, error=str(error))
                continue
            count, size = count + gone, size + taken * gone
        return count, size


_NOTHING = (0, 0)


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _before(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def _is_over(run: Run | None, folder: Path, before: datetime) -> bool:
    """Say whether a run can never go on; one that nobody knows is as old as its folder."""
    if run is None:
        return folder.stat().st_mtime < before.timestamp()
    return run.state in TERMINAL and not run.active and run.updated_at < before


def _is_idle(mirror: Mirror, runs: Sequence[Run], before: datetime) -> bool:
    """Say whether no run may need a mirror, and none has for long."""
    marks = [mirror.path / name for name in ("HEAD", "FETCH_HEAD", "packed-refs", "refs")]
    touched = [path.stat().st_mtime for path in marks if path.exists()]
    if not touched or max(touched) >= before.timestamp():
        return False
    return all(run.state in TERMINAL and run.updated_at < before for run in runs)


def _size(folder: Path) -> int:
    """Add up the files below a folder; one that goes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def _until_night(now: datetime) -> float:
    night = now.replace(hour=NIGHT_HOUR, minute=0, second=0, microsecond=0)
    return (night - now).total_seconds() % timedelta(days=1).total_seconds() or 86_400.0
