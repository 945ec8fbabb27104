"""All that a server keeps of one installation, removed; and the proof that nothing is left.

What is in the customer's repositories (branches, records, comments, checks) is theirs, and stays.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.database import Database, deliveries, metadata, open_database, repositories, runs
from bot.deliveries import Inbox
from bot.errors import OperatorError, UserError
from bot.git.removal import remove
from bot.git.retire import remains
from bot.journal import take_in
from bot.leases import workers_of
from bot.payloads import decode
from bot.places import engine_at, engine_file, folders_of, journal_file
from bot.runs.engine import workflows_of
from bot.settings import Settings

PAGE = 200
"""Deliveries read at once: each is some kilobytes, and GitHub sends none above 25 MB."""


@dataclass(slots=True)
class Kept:
    """What is kept of an installation: rows by their table, workflows, and paths."""

    rows: dict[str, int] = field(default_factory=dict)
    workflows: int = 0
    paths: list[Path] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Return it as JSON; what there is none of is left out."""
        return {
            "rows": {name: count for name, count in self.rows.items() if count},
            "workflows": self.workflows,
            "paths": [str(path) for path in self.paths],
        }

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is kept."""
        return not (any(self.rows.values()) or self.workflows or self.paths)


@dataclass(frozen=True, slots=True)
class Theirs:
    """By what an installation's data is known; read before anything of it goes."""

    installation: int
    repositories: tuple[int, ...]
    names: tuple[str, ...]
    runs: tuple[str, ...]
    deliveries: tuple[str, ...]


async def look(settings: Settings, database: Database, theirs: Theirs) -> Kept:
    """Say what is kept of an installation now."""
    async with database.read() as connection:
        rows = {
            table.name: await _count(connection, table, theirs) for table in metadata.sorted_tables
        }
    engine = engine_at(settings.database)
    workflows = await asyncio.to_thread(workflows_of, engine, theirs.runs)
    paths = await asyncio.to_thread(_paths, folders_of(settings), theirs)
    return Kept(rows, workflows, paths)


async def erase(settings: Settings, installation: int, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove an installation's data; `left` is what is found of it afterwards: nothing.

    With `dry_run` it only says what there is. `OperatorError` while a server works on the database.
    """
    if installation <= 0:
        raise UserError("An installation's number is above 0; `orchestrate runs` shows no other.")
    database = await open_database(settings.database)
    try:
        if database.is_shared and not dry_run:
            await _nobody_works(database)
        if not database.is_shared:
            await take_in(journal_file(settings.database), Inbox(database))
        theirs = await _theirs(database, installation)
        kept = await look(settings, database, theirs)
        if not dry_run:
            await _erase(settings, database, theirs, kept.paths)
        left = await look(settings, database, await _again(database, theirs))
    finally:
        await database.close()
    if not dry_run and not database.is_shared:
        for file in (Path(settings.database.partition("///")[2]), engine_file(settings.database)):
            await asyncio.to_thread(_wipe, file)
    return {
        "installation": installation,
        "repositories": list(theirs.names),
        "found": kept.told(),
        "left": left.told() if not dry_run else None,
        "erased": not dry_run and left.is_nothing,
    }


async def _nobody_works(database: Database) -> None:
    living = await workers_of(database)
    if living:
        raise OperatorError(
            f"{len(living)} of the server's processes work on this database; stop them first, so "
            "that nothing is written while it is erased."
        )


async def _theirs(database: Database, installation: int) -> Theirs:
    async with database.read() as connection:
        named = select(repositories).where(repositories.c.installation == installation)
        found = (await connection.execute(named)).all()
        ids = tuple(row.id for row in found)
        # A repository may have come from another installation, with its runs.
        ours = runs.c.installation == installation
        query = select(runs.c.id).where(ours | runs.c.repository.in_(ids))
        of_runs = tuple(row.id for row in await connection.execute(query))
    names = tuple(f"{row.owner}/{row.name}" for row in found)
    return Theirs(installation, ids, names, of_runs, await _deliveries(database, installation))


async def _again(database: Database, theirs: Theirs) -> Theirs:
    """Look for what would be theirs now, beside what was."""
    now = await _theirs(database, theirs.installation)
    return Theirs(
        theirs.installation,
        tuple({*theirs.repositories, *now.repositories}),
        theirs.names,
        tuple({*theirs.runs, *now.runs}),
        tuple({*theirs.deliveries, *now.deliveries}),
    )


async def _deliveries(database: Database, installation: int) -> tuple[str, ...]:
    """Find the deliveries that came through an installation: their payloads name it."""
    found, after = list[str](), ""
    while True:
        query = select(deliveries.c.guid, deliveries.c.body).where(deliveries.c.guid > after)
        async with database.read() as connection:
            rows = (await connection.execute(query.order_by(deliveries.c.guid).limit(PAGE))).all()
        if not rows:
            return tuple(found)
        found += [row.guid for row in rows if _installation(row.body) == installation]
        after = rows[-1].guid


def _installation(body: bytes) -> int | None:
    try:
        payload = decode(body)
    except ValueError:
        return None
    value = payload.get("installation")
    number = value.get("id") if isinstance(value, dict) else None
    return number if isinstance(number, int) else None


def _where(table: Table, theirs: Theirs) -> list[Any]:
    """Say which rows of a table are theirs, in parts of a size that every database takes."""
    columns = table.c
    if table is deliveries:
        return [columns.guid.in_(part) for part in _parts(theirs.deliveries)]
    if table is runs:
        return [columns.id.in_(part) for part in _parts(theirs.runs)]
    if table is repositories:
        return [columns.id.in_(part) for part in _parts(theirs.repositories)]
    if "run" in columns:
        return [columns.run.in_(part) for part in _parts(theirs.runs)]
    if "repository" in columns:
        return [columns.repository.in_(part) for part in _parts(theirs.repositories)]
    return [columns.installation == theirs.installation] if "installation" in columns else []


def _parts(values: Collection[Any]) -> list[list[Any]]:
    listed = list(values)
    return [listed[start : start + PAGE] for start in range(0, len(listed), PAGE)]


async def _count(connection: AsyncConnection, table: Table, theirs: Theirs) -> int:
    total = 0
    for where in _where(table, theirs):
        counted = await connection.execute(select(func.count()).select_from(table).where(where))
        total += counted.scalar_one()
    return total


async def _erase(
    settings: Settings, database: Database, theirs: Theirs, paths: Collection[Path]
) -> None:
    # Files first: while the rows are there, an erasure that was killed finds them again.
    for path in paths:
        await asyncio.to_thread(_remove, path)
    engine = engine_at(settings.database)
    await asyncio.to_thread(workflows_of, engine, theirs.runs, delete=True)
    async with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            for where in _where(table, theirs):
                await connection.execute(delete(table).where(where))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove(path)
    else:
        path.unlink(missing_ok=True)


def _paths(folders: Collection[Path], theirs: Theirs) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        found += [folder / "runs" / run for run in theirs.runs]
        for number in theirs.repositories:
            found += remains(folder / "mirrors", number)
            for shared in ("bases", "environments"):
                found += [folder / shared / f"{number}", *(folder / shared).glob(f"{number}.*")]
    return [path for path in found if path.exists() or path.is_symlink()]


def _wipe(file: Path) -> None:
    """Write a SQLite file anew: what was deleted stands in its free pages until then."""
    if file.exists():
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
