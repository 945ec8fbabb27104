"""Databases of every age, brought to this version: what was in them is still there, and works."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from typer.testing import CliRunner

from bot import schema
from bot.cli import app
from bot.database import SCHEMA, driver_url, metadata, open_database, version_of
from bot.deliveries import Inbox
from bot.errors import OperatorError
from bot.events import Type
from bot.runs.fold import evolve, new_run
from bot.runs.store import Store
from tests.bot.runs.test_store import REPOSITORY, STARTED, event, requested
from tests.support.cluster import Cluster, needs_postgresql


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "postgresql":
        made: str = request.getfixturevalue("postgresql").database()
        return made
    return f"sqlite:///{tmp_path}/o.db"


@contextlib.contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """A connection in a transaction that is committed at the end."""
    engine = sa.create_engine(url if url.startswith("sqlite") else driver_url(url))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def of_the_first_version(url: str) -> None:
    """The tables of the first version, with a run under way and a delivery that waits.

    Its SQLite files have no note of the version; there was no PostgreSQL.
    """
    with connected(url) as connection:
        command.upgrade(schema.config_of(connection), "0001")
        repository = REPOSITORY.model_dump(mode="json")
        run = evolve(new_run(requested(), REPOSITORY), requested())
        rows: dict[str, dict[str, Any]] = {
            "repositories": {
                "id": 7,
                "installation": 3,
                "owner": "acme",
                "name": "widgets",
                "body": repository,
                "schedules": [],
                "seen": {},
            },
            "runs": {
                "id": run.id,
                "repository": 7,
                "installation": 3,
                "issue": 4,
                "state": "queued",
                "active": True,
                "seq": 1,
                "touched": 1,
                "drawn": 0,
                "created_at": run.created_at.isoformat(),
                "body": run.model_dump(mode="json"),
            },
            "events": {
                "run": run.id,
                "seq": 1,
                "id": "comment:1:1",
                "body": requested().model_copy(update={"seq": 1}).model_dump(mode="json"),
            },
            "deliveries": {
                "guid": "one",
                "event": "push",
                "received_at": "2026-01-01T00:00:00.000000Z",
                "body": b"{}",
                "state": "waiting",
                "attempts": 0,
                "due": 0.0,
                "error": "",
            },
        }
        for name, row in rows.items():
            connection.execute(metadata.tables[name].insert().values(**row))
        if connection.dialect.name == "sqlite":
            connection.execute(sa.text("DROP TABLE alembic_version"))


async def test_an_empty_database_gets_every_table(url: str) -> None:
    before = await schema.check(url)
    assert not before.ok
    assert before.version is None
    found = await schema.upgrade(url)
    assert (found.version, found.missing) == (SCHEMA, ())
    assert await schema.upgrade(url) == found


async def test_what_the_first_version_kept_is_still_there_and_goes_on(url: str) -> None:
    of_the_first_version(url)
    before = await schema.check(url)
    assert (before.version, before.ok) == ("0001", False)
    found = await schema.upgrade(url)
    assert (found.version, found.missing) == (SCHEMA, ())
    database = await open_database(url)
    try:
        store, [waiting] = Store(database), await Inbox(database).waiting()
        [run] = await store.active()
        assert (waiting.guid, run.issue, run.repository) == ("one", 4, REPOSITORY)
        run = await store.append(run.id, lambda _: [event("s", Type.STARTED, **STARTED)])
        await store.keep_turn(run.id, 1, {"summary": "done"})
        assert [e.seq for e in await store.events(run.id)] == [1, 2]
        assert await store.turn(run.id, 1) == {"summary": "done"}
    finally:
        await database.close()


async def test_the_steps_lead_to_the_tables_that_the_program_has(url: str) -> None:
    """A table or column that is added needs a step that adds it, and `SCHEMA` its number."""
    with connected(url) as connection:
        command.upgrade(schema.config_of(connection), "head")
    with connected(url) as connection:
        assert schema.differences(connection) == []
        assert version_of(connection) == SCHEMA


@needs_postgresql
async def test_a_process_refuses_tables_that_are_older_and_takes_newer_ones(
    postgresql: Cluster,
) -> None:
    url = postgresql.database()
    with connected(url) as connection:
        command.upgrade(schema.config_of(connection), "0002")
    with pytest.raises(OperatorError, match=r"of version 0002; `orchestrate db upgrade`"):
        await open_database(url)
    await schema.upgrade(url)
    with connected(url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    await (await open_database(url)).close()
    assert (await schema.check(url)).ok


@needs_postgresql
async def test_several_who_upgrade_at_once_do_it_once(postgresql: Cluster) -> None:
    url = postgresql.database()
    found = await asyncio.gather(*(schema.upgrade(url) for _ in range(3)))
    assert all(each.ok for each in found)


@pytest.mark.parametrize("verb", ["check", "upgrade"])
def test_the_command_says_how_a_database_stands(
    url: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATE_DATABASE_URL", url)
    done = CliRunner().invoke(app, ["db", verb, "--json"])
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ok"] is (verb == "upgrade")
    assert done.exit_code == (0 if told["ok"] else 1)
    assert told["wanted"] == SCHEMA
    said = CliRunner().invoke(app, ["db", "check"]).stdout
    assert ("`orchestrate db upgrade` makes what" in said) is not told["ok"]


@pytest.mark.parametrize("role", ["web", "worker", "clock"])
def test_with_sqlite_there_is_one_process(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("ORCHESTRATE_DATABASE_URL", raising=False)
    done = CliRunner().invoke(app, [role, "--port", "0"])
    assert isinstance(done.exception, OperatorError)
    assert "With SQLite, `orchestrate serve` does everything in one." in str(done.exception)


async def test_where_there_is_no_file_it_is_said_what_makes_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/not/here.db"
    found = await schema.check(url)
    assert not found.ok
    assert found.missing[0].startswith("There is no database yet; `orchestrate serve` makes it")
    assert not (tmp_path / "not").exists()
    with pytest.raises(OperatorError, match="`createdb` makes one"):
        await schema.check(f"postgresql://nobody@/none?host={tmp_path}")
