"""GitHub misbehaves: what stands there in the end is the same, and nothing stands there twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from bot.github import breaker, pacing
from bot.hub.faults import Faults
from bot.runs import segments
from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import AGENT, PATIENCE_SECONDS, Repo, World

WRITES = [
    ("POST", "/repos/*/issues/comments/*/reactions"),
    ("POST", "/repos/*/issues/*/comments"),
    ("PATCH", "/repos/*/issues/comments/*"),
    ("POST", "/repos/*/pulls"),
    ("PATCH", "/repos/*/pulls/*"),
    ("POST", "/repos/*/pulls/*/requested_reviewers"),
    ("POST", "/repos/*/check-runs"),
    ("PATCH", "/repos/*/check-runs/*"),
    ("PUT", "/repos/*/pulls/*/merge"),
]
"""Every write that a run makes on its way."""


async def goes_well(repo: Repo, misbehave: Callable[[Faults], None]) -> None:
    """Carry a run out, from the comment to the merge, and look at what stands there."""
    faults, writer = repo.world.hub.faults, repo.person("writer")
    issue = await writer.issue("Faults")
    # The bot is to meet the faults, and not the person who comments.
    faults.webhooks("delay", "issue_comment", seconds=0.1)
    await writer.comment(issue, "/orchestrate add a note")
    misbehave(faults)
    run = await repo.until(issue, lambda run: not run.active)
    assert run.state is State.AWAITING_REVIEW, run.reason
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    run = await repo.until(issue, State.DONE)
    assert len(await repo.status_comments(issue)) == 1
    (pull,) = await repo.pulls()
    assert pull["head"]["sha"] == run.checkpoints[-1].sha
    assert repo.git("rev-list", "--count", "main") == "3"
    checks = await repo.checks(run.checkpoints[-1].sha, "all")
    assert sorted(each["name"] for each in checks) == ["orchestrate / notes", "orchestrate / rules"]
    assert {each["conclusion"] for each in checks} == {"success"}
    assert await repo.replies(issue) + await repo.calls(issue) == []
    assert await repo.replies(pull["number"]) + await repo.calls(pull["number"]) == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_server_errors_before_or_after_the_effect(repo: Repo, after: bool) -> None:
    def misbehave(faults: Faults) -> None:
        for method, path in WRITES:
            faults.fail(method, path, after=after)
        faults.fail("POST", "*/git-receive-pack", after=after)

    await goes_well(repo, misbehave)


async def test_a_secondary_limit_that_says_how_long_to_wait(repo: Repo) -> None:
    await goes_well(repo, lambda faults: faults.limit("POST", "/repos/*/check-runs", retry_after=1))


async def test_a_secondary_limit_that_does_not_say_how_long_to_wait(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "SECONDARY_SECONDS", 0.1)

    def misbehave(faults: Faults) -> None:
        for method, path in WRITES:
            faults.limit(method, path, retry_after=None)

    await goes_well(repo, misbehave)


async def test_a_comment_that_was_deleted_is_written_again(repo: Repo) -> None:
    issue, run = await repo.started()
    comments = await repo.person("admin").comments(issue)
    status = next(each for each in comments if each["user"]["login"] == "orchestrate[bot]")
    await repo.person("admin").request("DELETE", f"/issues/comments/{status['id']}")
    await repo.person("writer").comment(run.pull_request or 0, "/undo")
    await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert len(await repo.status_comments(issue)) == 1


async def test_what_happened_while_github_was_down_is_shown_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(breaker, "LONGEST_SECONDS", 0.1)
    repo = await world.repository({"agents": {"writer": {"command": f"sleep 1; {AGENT}"}}})
    issue = await repo.person("writer").issue("Down")
    await repo.person("writer").comment(issue, "/orchestrate add a note")

    async def at(holds: Callable[[Run], bool]) -> None:
        """Wait for a run that nobody can look at on GitHub."""
        store = world.server.bot.store
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(map(holds, await store.of_thread(repo.id, issue))):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    await at(lambda run: run.turn_open)
    world.hub.faults.fail(path="/repos/*", times=None)
    await at(lambda run: run.state is State.AWAITING_REVIEW)
    assert (await repo.run(issue)).pull_request is None
    world.hub.faults.clear()
    run = await repo.until(issue, State.AWAITING_REVIEW)
    (pull,) = await repo.pulls()
    assert (pull["number"], pull["head"]["sha"]) == (run.pull_request, run.head)
    assert len(await repo.status_comments(issue)) == 1


async def test_a_run_outlasts_an_outage_of_hours_and_says_that_it_waits(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "TRIES", 2)
    world = repo.world
    store, queue = world.server.bot.store, world.server.bot.store.queue
    issue = await repo.person("writer").issue("Outage")
    world.hub.faults.fail(path=f"/{repo.name}.git/*", times=None)
    await repo.person("writer").comment(issue, "/orchestrate add a note")

    async def shown(text: str) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                for status in await repo.status_comments(issue):
                    if text in status:
                        return status
                await asyncio.sleep(0.05)

    status = await shown("Waiting for what is out of reach")
    assert "could not reach" in status
    run = await repo.run(issue)
    assert (run.state, run.active) == (State.QUEUED, True)
    # The clock jumps: two hours and a half of it are over, and then it is back.
    monkeypatch.setattr(queue, "clock", lambda: time.time() + 2.5 * 3600)
    world.server.bot.engine._look.set()
    since = await queue.waits_since(run.id)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await queue.rounds())[run.id] < 2:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.02)
    assert await queue.waits_since(run.id) == since
    assert (await repo.run(issue)).state is State.QUEUED
    world.hub.faults.clear()
    monkeypatch.setattr(queue, "clock", lambda: time.time() + 2.9 * 3600)
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert not await store.queue.waiting()
    (status,) = await repo.status_comments(issue)
    assert "Ready for review" in status


async def test_an_outage_that_outlasts_the_operators_patience_fails_the_run(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "TRIES", 1)
    queue = repo.world.server.bot.store.queue
    issue = await repo.person("writer").issue("Outage")
    repo.world.hub.faults.fail(path=f"/{repo.name}.git/*", times=None)
    await repo.person("writer").comment(issue, "/orchestrate add a note")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any((await queue.rounds()).values()):  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.02)
    monkeypatch.setattr(queue, "clock", lambda: time.time() + 4 * 3600)
    run = await repo.until(issue, State.FAILED)
    assert run.reason.startswith("This was tried for 3 hours while starting the run: git ")
    monkeypatch.undo()
    repo.world.hub.faults.clear()
    await repo.person("writer").comment(issue, "/resume")
    await repo.until(issue, State.AWAITING_REVIEW)
