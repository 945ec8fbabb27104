"""The repository's own checks on GitHub: a merge waits for them by name, and asks again."""

from __future__ import annotations

from typing import Any

import pytest

from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import Repo, World

CONFIG: dict[str, Any] = {"merge": {"checks": ["ci / build"]}}


@pytest.fixture
async def waiting(world: World) -> tuple[Repo, int, Run]:
    """A run that is approved, and whose head no CI has reported on."""
    repo = await world.repository(CONFIG)
    issue, run = await repo.started()
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    return repo, issue, await repo.until(issue, lambda run: run.waits_to_merge)


async def say(repo: Repo, run: Run, state: str, context: str = "ci / build") -> None:
    body = {"state": state, "context": context}
    await repo.person("writer").post(f"/statuses/{run.head}", body)


async def test_a_merge_waits_for_the_checks_that_are_named(
    waiting: tuple[Repo, int, Run],
) -> None:
    repo, issue, run = waiting
    (status,) = await repo.status_comments(issue)
    assert "**Waiting to merge" in status
    assert "`ci / build` has not reported on this head" in status
    await say(repo, run, "success", "ci / lint")
    await say(repo, run, "pending")
    await repo.world.settled()
    run = await repo.run(issue)
    assert run.waits_to_merge
    assert "`ci / build` is in progress" in (await repo.status_comments(issue))[0]
    await say(repo, run, "success")
    run = await repo.until(issue, State.DONE)
    assert (await repo.pull(run.pull_request or 0))["merged"] is True


async def test_a_red_one_stops_the_merge_until_it_is_set_aside(
    waiting: tuple[Repo, int, Run],
) -> None:
    repo, issue, run = waiting
    await say(repo, run, "failure")
    await repo.until(issue, State.BLOCKED)
    (status,) = await repo.status_comments(issue)
    assert "`ci / build` is red on this head" in status
    assert "`/override ci / build WHY` sets it aside" in status
    maintainer = repo.person("maintainer")
    (answer,) = await maintainer.says(issue, "/override ci / other Never mind")
    assert "Name a red check" in answer
    assert "`ci / build`" in answer
    await maintainer.comment(issue, "/override ci / build The runner is broken today")
    run = await repo.until(issue, State.DONE)
    assert run.overrides[-1].why == "The runner is broken today"


async def test_what_is_missing_can_be_set_aside_while_it_is_waited_for(
    waiting: tuple[Repo, int, Run],
) -> None:
    repo, issue, _ = waiting
    await repo.person("maintainer").comment(issue, "/override ci / build It does not run here")
    await repo.until(issue, State.DONE)


async def test_what_a_webhook_lost_is_found_by_asking_again(
    waiting: tuple[Repo, int, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, issue, run = waiting
    repo.world.hub.faults.webhooks("drop", "status")
    await say(repo, run, "success")
    await repo.world.settled()
    assert (await repo.run(issue)).waits_to_merge
    monkeypatch.setattr("bot.runs.waking.AGAIN", run.updated_at - run.updated_at)
    await repo.world.server.watch.look()
    await repo.until(issue, State.DONE)


async def test_a_push_by_hand_while_it_waits_is_not_merged(
    waiting: tuple[Repo, int, Run],
) -> None:
    repo, issue, run = waiting
    await repo.person("writer").write("mine.txt", "mine\n", branch=run.branch)
    await repo.until(issue, State.PAUSED)
    await say(repo, run, "success")
    await repo.world.settled()
    assert (await repo.pull(run.pull_request or 0))["merged"] is False


async def test_checks_that_the_rules_of_the_base_ask_for_are_waited_for_unnamed(
    world: World,
) -> None:
    repo = await world.repository()
    checks = {
        "required_status_checks": [{"context": "build"}],
        "strict_required_status_checks_policy": False,
    }
    await repo.rules({"type": "required_status_checks", "parameters": checks})
    issue, run = await repo.started()
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    run = await repo.until(issue, lambda run: run.waits_to_merge)
    assert "`build`" in run.awaits
    await say(repo, run, "success", "build")
    await repo.until(issue, State.DONE)
