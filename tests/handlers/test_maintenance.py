from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from apscheduler.triggers.interval import IntervalTrigger

from bot import schedule as clock
from bot.runs.model import Run
from bot.runs.transitions import State
from handlers.maintenance import TITLE, fire
from policies.config import Schedule
from tests.support.world import CONFIG, Repo, World, yaml_of

NIGHT = datetime(2030, 1, 1, 3, 0, tzinfo=UTC)
TIDY = {"name": "tidy", "cron": "0 3 * * *", "request": "Tidy up."}


async def issues(repo: Repo) -> list[dict[str, Any]]:
    """The tracking issues of a repository."""
    found = await repo.person("reader").get("/issues?state=all")
    return [each for each in found if each["title"] == TITLE]


async def tracking(repo: Repo, text: str) -> dict[str, Any]:
    """Wait until the one tracking issue says something."""
    async with asyncio.timeout(20):
        while True:
            found = await issues(repo)
            if found and text in found[0]["body"]:
                assert len(found) == 1
                return found[0]
            await asyncio.sleep(0.02)


async def scheduled(world: World, command: str) -> Repo:
    """Make a repository, then push a schedule to its default branch."""
    config = {"agents": {"tidier": {"command": command}}, "checks": []}
    repo = await world.repository(config)
    text = yaml_of({**CONFIG, **config, "schedule": [TIDY]})
    await repo.person("admin").write(".github/orchestrate.yml", text, branch="main")
    await world.settled()
    return repo


async def rung(repo: Repo, clocks: int = 1, time: datetime = NIGHT) -> list[Run]:
    """Let the schedule fire, on several clocks at once; the runs that came of it."""
    server = repo.world.server
    known = await server.bot.store.repository(repo.id)
    assert known
    at = Schedule.model_validate(TIDY)
    await asyncio.gather(*(fire(server.desk, known, at, time) for _ in range(clocks)))
    await repo.world.settled()
    return await server.bot.store.scheduled(repo.id, 10)


async def test_a_schedule_is_learned_from_a_push_and_shown_in_the_tracking_issue(
    world: World,
) -> None:
    repo = await scheduled(world, "true")
    shown = await tracking(repo, "| tidy | `0 3 * * *` UTC | Tidy up. |")
    assert "Nothing yet." in shown["body"]
    known = {r.id: schedules for r, schedules, _ in await world.server.bot.store.repositories()}
    assert [each["name"] for each in known[repo.id]] == ["tidy"]
    text = yaml_of({**CONFIG, "schedule": []})
    await repo.person("admin").write(".github/orchestrate.yml", text, branch="main")


async def test_a_quiet_night_leaves_no_trace(world: World) -> None:
    repo = await scheduled(world, "true")
    before = await tracking(repo, "tidy")
    (run,) = await rung(repo)
    assert run.state is State.DONE
    assert await issues(repo) == [before]
    assert await repo.pulls() == []
    assert await repo.person("reader").comments(before["number"]) == []
    assert repo.git("for-each-ref", "refs/heads/orchestrate") == ""


async def test_a_fire_time_is_one_run_however_many_clocks_there_are(world: World) -> None:
    repo = await scheduled(world, "date +%N > tidy.txt")
    (run,) = await rung(repo, clocks=2)
    assert run.state is State.AWAITING_REVIEW
    assert [each.id for each in await rung(repo)] == [run.id]
    later = NIGHT.replace(day=2)
    assert [each.id for each in await rung(repo, time=later)] == [run.id]

    (pull,) = await repo.pulls()
    assert pull["title"] == "Tidy up."
    shown = await tracking(repo, f"tidy: awaiting review in #{pull['number']}")
    assert shown["state"] == "open"
    assert len(await repo.status_comments(pull["number"])) == 1
    await repo.person("writer").comment(pull["number"], "/undo")
    await world.settled()
    (run,) = await world.server.bot.store.scheduled(repo.id, 10)
    assert run.tree == run.base_tree
    await repo.person("maintainer").close(pull["number"])
    await tracking(repo, "tidy: cancelled")
    assert len(await rung(repo, time=later)) == 2


async def test_a_night_that_fails_is_listed_with_its_reason(world: World) -> None:
    repo = await scheduled(world, "echo no such linter >&2; exit 1")
    (run,) = await rung(repo)
    assert run.state is State.BLOCKED
    await tracking(repo, "tidy: blocked: The agent `tidier` failed with exit code 1: no such lint")


async def test_the_clock_fires_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "trigger_of", lambda _: IntervalTrigger(seconds=1))
    repo = await scheduled(world, "date +%N > tidy.txt")
    async with asyncio.timeout(20):
        while not (runs := await world.server.bot.store.scheduled(repo.id, 10)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert len(runs) == 1
    assert runs[0].source.key.startswith("tidy@")
    await repo.person("admin").write(".github/orchestrate.yml", yaml_of(CONFIG), branch="main")
    await world.settled()
    assert len(await world.server.bot.store.scheduled(repo.id, 10)) == 1
