"""Where things are kept, by the settings."""

from __future__ import annotations

from pathlib import Path

from bot.database import driver_url, is_shared
from bot.settings import Settings


def engine_file(database_url: str) -> Path:
    """Return the engine's own file, beside the database."""
    path = Path(database_url.partition("///")[2])
    return path.with_name(path.stem + "-engine.db")


def journal_file(database_url: str) -> Path:
    """Return the file of deliveries that are on their way into a SQLite database."""
    path = Path(database_url.partition("///")[2])
    return path.with_name(path.stem + "-deliveries.log")


def engine_at(database_url: str) -> Path | str:
    """Return where the engine keeps its own: its file, or the address of the shared database."""
    return driver_url(database_url) if is_shared(database_url) else engine_file(database_url)


def folders_of(settings: Settings) -> list[Path]:
    """Return where the processes on this machine have their mirrors and workspaces."""
    if not is_shared(settings.database):
        return [settings.data_dir]
    return sorted((settings.data_dir / "workers").glob("[0-9]*"))
