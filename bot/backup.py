"""A copy of a server's databases, made while it serves."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from bot.errors import OperatorError
from bot.places import engine_file
from bot.settings import Settings


async def backup(settings: Settings, folder: Path) -> dict[str, Any]:
    """Copy the databases into `folder`, which must not have them yet; say what was written.

    `OperatorError` where there is none, or where a copy is there already.
    """
    if not settings.database.startswith("sqlite"):
        raise OperatorError(
            "PostgreSQL is backed up by its own means, for example `pg_dump`; there `orchestrate "
            "backup` has nothing to copy."
        )
    # The engine's first: what it does not know is begun again, but what only it knows is no run.
    files = [engine_file(settings.database), Path(settings.database.partition("///")[2])]
    return await asyncio.to_thread(_copy_all, files, folder)


def _copy_all(files: list[Path], folder: Path) -> dict[str, Any]:
    for file in files:
        if not file.exists():
            raise OperatorError(f"There is no database at {file}; ORCHESTRATE_DATA_DIR says where.")
        if (folder / file.name).exists():
            raise OperatorError(f"{folder / file.name} is there already; name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        _copy(file, folder / file.name)
    return {
        "folder": str(folder),
        "files": {file.name: (folder / file.name).stat().st_size for file in files},
    }


def _copy(file: Path, to: Path) -> None:
    """Copy a SQLite file as it is at one moment, whoever writes to it meanwhile."""
    # A file of no other user: it holds what people wrote.
    to.touch(mode=0o600)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)
