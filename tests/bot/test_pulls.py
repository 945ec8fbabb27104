from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from bot.events import Type
from bot.runs.model import Run
from bot.runs.transitions import State
from tests.handlers.test_strangers import fork_of, strange
from tests.support.world import Repo, World

DRAWN_SECONDS = 4.0
"""Less than what the bot waits for an answer, and long enough for people to say something."""


@contextlib.asynccontextmanager
async def begun(world: World) -> AsyncIterator[tuple[Repo, int, int]]:
    """A run whose pull request GitHub has, while what is drawn after it takes its time."""
    repo = await world.repository()
    world.hub.faults.webhooks("drop", "pull_request")
    # The pull request is drawn first, and recorded once all is drawn.
    world.hub.faults.delay(DRAWN_SECONDS, "POST", f"/repos/{repo.name}/check-runs", times=1)
    writer = repo.person("writer")
    issue = await writer.issue("Notes")
    await writer.comment(issue, "/orchestrate add a note")
    await repo.until_seen(issue, lambda run: run.state is State.AWAITING_REVIEW)
    async with asyncio.timeout(30):
        while not (found := await repo.pulls()):  # noqa: ASYNC110  the hub tells nobody
            await asyncio.sleep(0.02)
    assert (await repo.run(issue)).pull_request is None, "the record does not know it yet"
    try:
        yield repo, issue, int(found[0]["number"])
    finally:
        world.hub.faults.clear()
    await world.settled()


async def opened(world: World, run: Run) -> list[int]:
    events = await world.server.bot.store.events(run.id)
    return [each.data["number"] for each in events if each.type == Type.PULL_REQUEST_OPENED]


async def test_a_pull_request_is_the_runs_before_the_record_knows_it(world: World) -> None:
    async with begun(world) as (repo, issue, pull):
        await repo.person("writer").comment(pull, "/orchestrate another note")
        run = await repo.until_seen(issue, lambda run: len(run.checkpoints) == 2)
        assert run.pull_request == pull
        assert await repo.replies(pull) == []
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert await opened(world, run) == [pull], "learned of twice, recorded once"
    assert len(await repo.pulls()) == 1


async def test_a_review_there_is_the_runs_too(world: World) -> None:
    async with begun(world) as (repo, issue, pull):
        await repo.person("maintainer").review(pull, "REQUEST_CHANGES", "Another note, please.")
        run = await repo.until_seen(issue, lambda run: len(run.checkpoints) == 2)
        assert run.pull_request == pull


async def test_closing_it_there_ends_the_run(world: World) -> None:
    async with begun(world) as (repo, issue, pull):
        await repo.person("writer").close(pull)
        run = await repo.until_seen(issue, lambda run: run.state is State.CANCELLED)
        assert run.pull_request == pull


@pytest.mark.parametrize("where", ["another branch", "a branch of the same name"])
async def test_anothers_pull_request_is_nobodys(world: World, where: str) -> None:
    async with begun(world) as (repo, issue, _):
        branch = "theirs" if where == "another branch" else (await repo.run(issue)).branch
        number, _ = await strange(repo, await fork_of(repo), branch=branch)
        await repo.person("writer").comment(number, "/orchestrate another note")
        async with asyncio.timeout(30):
            while not (said := await repo.replies(number)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert "belongs to no run" in said[0]
        assert (await repo.run(issue)).pull_request != number
