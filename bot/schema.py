"""The tables of a database, and how they are brought to this version: where Alembic is known."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from bot.database import (
    CONNECT_SECONDS,
    SCHEMA,
    driver_url,
    file_of,
    is_shared,
    metadata,
    open_database,
    shown,
    version_of,
)
from bot.errors import OperatorError
from bot.runs.engine import lacks_tables, make_tables

FOLDER = Path(__file__).with_name("migrations")

ALONE = 20_261_127
"""The advisory lock under which one process at a time migrates; any number that is always it."""

WAIT_SECONDS = 0.2
"""How often whoever waits for another's upgrade looks whether it is over."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a database stands: its version, the one wanted, and what is missing, a sentence each."""

    database: str
    version: str | None
    wanted: str
    missing: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether this version of the program works with it."""
        return not self.missing


async def check(url: str) -> Standing:
    """Say what a database lacks; `OperatorError` where it cannot be opened."""
    return await asyncio.to_thread(_check, url)


async def upgrade(url: str, *, engine: bool = True) -> Standing:
    """Bring a database to this version's tables, with the engine's own; done already is done.

    One process at a time does it; a second one waits. A SQLite file must be nobody's meanwhile.
    """
    if not is_shared(url):
        await (await open_database(url)).close()
    else:
        await asyncio.to_thread(_upgrade, url, engine=engine)
    return await check(url)


def _check(url: str) -> Standing:
    if not is_shared(url) and not file_of(url).exists():
        absent = "There is no database yet; `orchestrate serve` makes it as well. "
        absent += "ORCHESTRATE_DATA_DIR or ORCHESTRATE_DATABASE_URL says where it is."
        return Standing(shown(url), None, SCHEMA, (absent,))
    with _connected(url) as connection:
        now = version_of(connection)
        missing: list[str] = []
        if now is None:
            missing.append("It has no tables of ours.")
        elif now < SCHEMA:
            missing.append(f"Its tables are of version {now}; this program needs {SCHEMA}.")
        elif now == SCHEMA:
            missing += [f"It lacks {each}." for each in differences(connection)]
    if is_shared(url) and lacks_tables(driver_url(url)):
        missing.append("The engine of the runs lacks tables of its own.")
    return Standing(shown(url), now, SCHEMA, tuple(missing))


def _upgrade(url: str, *, engine: bool) -> None:
    with _connected(url) as connection:
        # Held by the session, so that the engine's own steps are under it, too. Asked for again and
        # again: the engine makes indexes concurrently, and those wait for who waits in a query.
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ALONE}):
            connection.commit()
            time.sleep(WAIT_SECONDS)
        connection.commit()
        upgrade_with(connection)
        connection.commit()
        if engine:
            make_tables(driver_url(url))


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Connection]:
    if is_shared(url):
        engine = create_engine(driver_url(url), connect_args={"connect_timeout": CONNECT_SECONDS})
    else:
        engine = create_engine(url)
    try:
        try:
            connection = engine.connect()
        except DBAPIError as error:
            reason = str(error.orig or error).strip().splitlines()[0]
            raise OperatorError(
                f"{shown(url)} cannot be opened: {reason.rstrip('.')}. See that it is running and "
                "there (`createdb` makes one), and that ORCHESTRATE_DATABASE_URL names it."
            ) from error
        with connection:
            yield connection
    finally:
        engine.dispose()


def upgrade_with(connection: Connection) -> None:
    """Take every step that a database has not taken yet, in the transaction of `connection`."""
    config = config_of(connection)
    now = version_of(connection)
    if now == "0001" and not MigrationContext.configure(connection).get_current_revision():
        command.stamp(config, now)
    command.upgrade(config, "head")


def config_of(connection: Connection | None = None) -> Config:
    """Return what Alembic is called with; `connection` is the one that it works on."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


def differences(connection: Connection) -> list[str]:
    """Name what the tables here have and the database lacks."""
    context = MigrationContext.configure(connection, opts={"include_name": _is_ours})
    return [_named(each) for each in compare_metadata(context, metadata)]


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name in metadata.tables


def _named(difference: Any) -> str:
    if isinstance(difference, list):
        difference = difference[0]
    kind, *rest = difference
    thing = rest[-1] if not kind.startswith("modify") else rest[2]
    return f"{kind.removeprefix('add_').replace('_', ' ')} {getattr(thing, 'name', thing)}"
