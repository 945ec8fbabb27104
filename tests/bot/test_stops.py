"""An operator's stop of everything, seen by who commented, who commands and who operates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.database import open_database
from bot.errors import UserError
from bot.runs.queue import Stop
from bot.runs.transitions import State
from bot.stops import sentence
from handlers.maintenance import fire
from policies.config import Schedule
from tests.handlers.test_pause import SLOW, at_work
from tests.support.world import PATIENCE_SECONDS, Repo, World, make_world


async def command(world: World, *words: str) -> dict[str, Any]:
    """What another process of this server's operator types."""
    environment = {"ORCHESTRATE_DATA_DIR": str(world.folder / "bot")}

    def call() -> str:
        done = CliRunner().invoke(app, [*words, "--json"], env=environment)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    found: dict[str, Any] = json.loads(await asyncio.to_thread(call))
    return found


async def until(
    look: Callable[[], Awaitable[list[str]]], holds: Callable[[list[str]], bool]
) -> list[str]:
    """Wait until what is seen on GitHub is as wanted, while runs have work and none works."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if (said := await look()) and holds(said):
                return said
            await asyncio.sleep(0.05)


async def shown(repo: Repo, issue: int, text: str) -> None:
    """Wait until the status comment says so."""
    await until(lambda: repo.status_comments(issue), lambda said: text in said[0])


async def test_an_operator_stops_everything_and_lets_it_go_on(tmp_path: Path) -> None:
    # A world of its own: everything is stopped in it.
    async with make_world(tmp_path, workers=1) as world:
        repo = await world.repository({"agents": {"writer": {"command": SLOW}}, "checks": []})
        writer, store = repo.person("writer"), world.server.bot.store
        issue, run = await at_work(repo)
        quick = await world.repository()
        queued = [await quick.person("writer").issue(title) for title in ("One more", "Another")]
        for number, place in zip(queued, ("First", "Second"), strict=True):
            await quick.person("writer").comment(number, "/orchestrate add more")
            await shown(quick, number, f"**{place} in the queue:** it begins as soon as")
        told = await command(world, "pause", "--all", "--why", "New disks.")
        assert (told["working"], told["waiting"]) == (1, 2)
        assert [each["reason"] for each in told["stops"]] == ["New disks."]
        for where, number in ((repo, issue), *((quick, each) for each in queued)):
            await shown(where, number, "**Stopped by the operator of this server** since")
        await until(store.queue.waiting, lambda runs: len(runs) == 3)
        run = await repo.run(issue)
        assert (run.state, [each.kind for each in run.checkpoints]) == (
            State.RUNNING,
            ["interrupted"],
        )
        assert repo.git("merge-base", run.head, f"refs/orchestrate/{run.id}") == run.head

        other = await writer.issue("Meanwhile")
        await writer.comment(other, "/orchestrate add more")
        answers = await until(lambda: repo.replies(other), lambda said: len(said) == 1)
        assert "has stopped all work. New disks. Your command is kept" in answers[0]
        await writer.comment(other, "/cancel")
        answers = await until(lambda: repo.replies(other), lambda said: len(said) == 2)
        assert "Your command was obeyed: the run is cancelled." in answers[1]
        await shown(repo, other, "**Cancelled.**")
        nightly = Schedule(name="nightly", cron="0 3 * * *", request="Tidy up")
        known = await store.repository(repo.id)
        assert known is not None
        await fire(world.server.desk, known, nightly, datetime(2026, 1, 1, 3, tzinfo=UTC))
        assert await store.scheduled(repo.id, 5) == []

        assert (await command(world, "resume", "--all"))["stops"] == []
        for number in queued:
            await quick.until(number, State.AWAITING_REVIEW)
        run = await repo.until(issue, State.AWAITING_REVIEW)
        assert [each.kind for each in run.checkpoints] == ["interrupted", "agent"]
        assert repo.file(run.head, "whole.txt") == "whole"


async def test_a_stop_is_there_after_a_restart_and_doctor_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await open_database(f"sqlite:///{tmp_path}/orchestrate.db")).close()
    monkeypatch.setenv("ORCHESTRATE_DATA_DIR", str(tmp_path))
    runner = CliRunner()
    done = await asyncio.to_thread(runner.invoke, app, ["pause", "--installation", "7"])
    assert "Stopped: installation 7." in done.output
    assert "`orchestrate resume --installation 7`" in done.output
    found = await asyncio.to_thread(runner.invoke, app, ["doctor", "--json"])
    listed = json.loads(found.stdout.splitlines()[-1])["findings"]
    (told,) = [each["sentence"] for each in listed if each["name"] == "stop"]
    assert told.startswith("Stopped by an operator: installation 7 since ")
    wrong = await asyncio.to_thread(runner.invoke, app, ["resume", "--installation", "8"])
    assert isinstance(wrong.exception, UserError)
    assert str(wrong.exception) == (
        "Installation 8 is not stopped by itself; stopped is installation 7."
    )
    ended = await asyncio.to_thread(runner.invoke, app, ["resume", "--all"])
    assert "Let go: everything." in ended.output
    again = await asyncio.to_thread(runner.invoke, app, ["resume", "--all"])
    assert "Nothing is stopped" in str(again.exception)


@pytest.mark.parametrize(
    "words",
    [["pause"], ["resume"], ["pause", "abc", "--all"], ["pause", "--all", "--installation", "1"]],
)
def test_what_is_stopped_must_be_clear(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UserError)
    assert "Name one of these" in str(done.exception)


def test_stops_are_told_in_a_sentence() -> None:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert sentence([]) == ""
    assert sentence([Stop(None, at, "New disks."), Stop(3, at, "")]) == (
        "Stopped by an operator: everything since 2026-01-02 03:04 UTC (New disks.), installation "
        "3 since 2026-01-02 03:04 UTC; `orchestrate resume --all` ends it."
    )
