"""What a server keeps goes after its time, and nothing that a live run needs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.app import build
from bot.backup import backup
from bot.database import open_database
from bot.deliveries import Inbox
from bot.erasure import erase
from bot.errors import OperatorError, UserError
from bot.git import leases
from bot.git.repository import Mirror
from bot.retention import Retention, _until_night
from bot.runs.model import Run
from bot.runs.transitions import State
from bot.serve import listen
from bot.settings import Settings
from tests.support.world import Repo, World, make_world, served

NOTHING_IS_KEPT = {
    "workflow_days": 0.0,
    "delivery_days": 0.0,
    "log_days": 0,
    "workspace_days": 0.0,
    "mirror_days": 0.0,
}


def retention(world: World, **limits: Any) -> Retention:
    """The server's own, with other limits."""
    found = world.server.retention
    changed = found._settings.model_copy(update=limits)
    given = (changed, found._store, found._inbox, found._forget, found._address)
    return Retention(*given, folders=found._folders)


async def collected(kept: Retention, *, dry_run: bool = False) -> dict[str, int]:
    return {each.what: each.count for each in await kept.collect(dry_run=dry_run)}


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def where_said(folder: Path, *words: str) -> list[Path]:
    """The files that hold any of these words, or are named so."""
    return [
        path
        for path in files(folder)
        if any(word in str(path) or word.encode() in path.read_bytes() for word in words)
    ]


async def over(repo: Repo) -> Run:
    """A run that was cancelled."""
    issue, _ = await repo.started("add a note about zebras")
    await repo.person("writer").comment(issue, "/cancel")
    return await repo.until(issue, State.CANCELLED)


async def test_what_is_over_goes_and_what_is_live_goes_on(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        live, idle = await world.repository(), await world.repository()
        ended = await over(idle)
        issue, run = await live.started()
        data = tmp_path / "bot"
        assert (await collected(world.server.retention)) == dict.fromkeys(
            ("workflows", "deliveries", "logs", "workspaces", "mirrors"), 0
        )

        everything = retention(world, **NOTHING_IS_KEPT)
        would = await collected(everything, dry_run=True)
        assert would["workspaces"] == would["mirrors"] == 1
        assert would["workflows"] >= 2
        assert would["deliveries"] >= 3
        assert would["logs"] >= 4
        assert await collected(everything, dry_run=True) == would
        assert await collected(everything) == would
        assert set((await collected(everything)).values()) == {0}

        assert not (data / "runs" / ended.id).exists()
        assert (data / "runs" / run.id / "home").exists()
        assert [each.stem for each in (data / "mirrors").glob("*.git")] == [str(live.id)]
        await live.person("writer").comment(run.pull_request or 0, "/orchestrate more")
        await live.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
        again, _ = await idle.started("once more")
        assert (await idle.run(again)).state is State.AWAITING_REVIEW


async def test_a_mirror_stays_while_it_holds_what_its_remote_lacks_or_a_run_holds_it(
    tmp_path: Path,
) -> None:
    async with make_world(tmp_path) as world:
        repo = await world.repository()
        run = await over(repo)
        everything = retention(world, **NOTHING_IS_KEPT)
        mirror = Mirror(tmp_path / "bot" / "mirrors" / f"{repo.id}.git")

        leases.take(mirror, "abcdefghij", [run.head])
        assert (await collected(everything))["mirrors"] == 0
        leases.drop(mirror, "abcdefghij")

        record = repo.git("rev-parse", f"refs/orchestrate/{run.id}")
        repo.git("update-ref", "-d", f"refs/orchestrate/{run.id}")
        assert (await collected(everything))["mirrors"] == 0
        repo.git("update-ref", f"refs/orchestrate/{run.id}", record)
        assert (await collected(everything))["mirrors"] == 1
        assert not mirror.path.exists()


async def test_a_copy_made_while_it_serves_goes_on_where_the_server_was(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        repo = await world.repository()
        issue, run = await repo.started()
        settings, copies = world.server.settings, tmp_path / "copies"
        writing = asyncio.create_task(_noise(world))
        await backup(settings, copies)
        writing.cancel()
        with pytest.raises(OperatorError, match="is there already"):
            await backup(settings, copies)
        lost = tmp_path / "lost"
        lost.mkdir()
        for copy in copies.iterdir():
            shutil.copy(copy, lost)
        restored = settings.model_copy(update={"data_dir": lost})
        # Of the old machine nothing is left: neither mirrors nor workspaces, and it stands still.
        world.hub.faults.webhooks("drop", times=None)
        server = await build(restored, wait_max=0.2)
        async with served(server, listen("127.0.0.1", 0)):
            theirs = Repo(
                World(world.hub, world.credentials, server, tmp_path, world.client),
                repo.name,
                repo.id,
            )
            await world.server.dispatcher.stop()
            await theirs.person("writer").comment(run.pull_request or 0, "/orchestrate more")
            await server.watch.look()
            run = await theirs.until(issue, lambda run: len(run.checkpoints) == 2)
            assert run.state is State.AWAITING_REVIEW
            assert len(await theirs.status_comments(issue)) == 1


async def _noise(world: World) -> None:
    """Write all the while, so that the copy is made of a file that changes."""
    for number in range(10_000):
        await world.server.inbox.store(f"noise-{number}", "star", b"{}")


async def test_an_installation_is_erased_and_nothing_of_it_is_found_again(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        repo = await world.repository()
        run = await over(repo)
        settings, number = world.server.settings, world.credentials.installation_id
        with pytest.raises(OperatorError, match="stop it first"):
            await erase(settings, number)
        record = repo.git("rev-parse", f"refs/orchestrate/{run.id}")
        other = b'{"installation": {"id": 77}, "repository": {"id": 1}}'
        await world.server.inbox.store("of-another", "push", other)
        await world.settled()
    data = tmp_path / "bot"
    words = ("zebras", repo.name, run.id)
    assert where_said(data, *words)
    found = await erase(settings, number, dry_run=True)
    assert not found["erased"]
    assert where_said(data, *words)

    outcome = await erase(settings, number)
    assert outcome["erased"]
    assert outcome["left"] == {"rows": {}, "workflows": 0, "paths": []}
    assert {"runs", "events", "deliveries", "repositories"} <= outcome["found"]["rows"].keys()
    assert outcome["found"]["workflows"] > 0
    assert where_said(data, *words) == []
    assert repo.git("rev-parse", f"refs/orchestrate/{run.id}") == record
    database = await open_database(settings.database)
    assert await Inbox(database).known(["of-another"]) == {"of-another"}
    await database.close()


@pytest.mark.parametrize("number", [0, -1])
async def test_what_is_no_installation_is_not_erased(number: int, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        await erase(Settings(data_dir=tmp_path), number)


@pytest.mark.parametrize(
    ("now", "hours"), [("2026-01-02T01:00", 2), ("2026-01-02T03:00", 24), ("2026-01-02T04:00", 23)]
)
def test_the_next_night_comes(now: str, hours: int) -> None:
    assert _until_night(datetime.fromisoformat(now)) == timedelta(hours=hours).total_seconds()
