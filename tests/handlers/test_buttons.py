from __future__ import annotations

import pytest

from bot.runs.transitions import State
from tests.support.world import Repo, World


async def test_a_button_approves_the_commit_that_it_belongs_to(repo: Repo) -> None:
    issue, run = await repo.started()
    button = await repo.button(run.head, "approve")
    await repo.person("writer").press(button, "approve")
    await repo.world.settled()
    (answer,) = await repo.replies(run.pull_request or 0)
    assert "@writer" in answer
    assert "maintain" in answer
    await repo.person("maintainer").press(button, "approve")
    run = await repo.until(issue, State.DONE)
    assert [(each.by, each.how) for each in run.approvals] == [("maintainer", "button")]


async def test_a_button_of_an_older_commit_approves_nothing(repo: Repo) -> None:
    issue, run = await repo.started()
    old = run.head
    button = await repo.button(old, "approve")
    # The press is told late, when another head has been made.
    repo.world.hub.faults.webhooks("delay", "check_run", seconds=6.0)
    await repo.person("maintainer").press(button, "approve")
    await repo.person("writer").comment(run.pull_request or 0, "/orchestrate more")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    await repo.world.settled()
    (answer,) = await repo.replies(run.pull_request or 0)
    assert "is not the head" in answer
    with pytest.raises(AssertionError, match="offers approve"):
        await repo.button(old, "approve")
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW


async def test_a_button_undoes(repo: Repo) -> None:
    issue, run = await repo.started()
    await repo.person("writer").press(await repo.button(run.head, "undo"), "undo")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.tree == run.base_tree


async def test_the_same_button_may_be_pressed_again_and_its_delivery_twice(world: World) -> None:
    config = {"checks": [{"name": "no", "run": "false"}], "limits": {"turns": 1}}
    repo = await world.repository(config)
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    rules = next(e for e in await repo.checks(run.head) if e["name"] == "orchestrate / rules")
    for attempt in (1, 2):
        world.hub.faults.webhooks("duplicate", "check_run")
        await repo.person("writer").press(rules["id"], "retry")
        await world.settled()
        assert (await repo.run(issue)).attempt == attempt
    await repo.person("writer").press(rules["id"], "resume")
    run = await repo.until(issue, lambda run: run.turns == 2 and not run.active)
    assert await repo.replies(run.pull_request or 0) == []


async def test_re_run_is_a_retry_of_one_check_or_of_all(repo: Repo) -> None:
    issue, run = await repo.started()
    writer = repo.person("writer")
    checks = {each["name"]: each for each in await repo.checks(run.head)}
    one = checks["orchestrate / notes"]
    await writer.post(f"/check-runs/{one['id']}/rerequest", {})
    run = await repo.until(issue, lambda run: run.attempt == 1 and not run.active)
    assert run.state is State.AWAITING_REVIEW
    await writer.post(f"/check-suites/{one['check_suite']['id']}/rerequest", {})
    run = await repo.until(issue, lambda run: run.attempt == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW
    assert len(run.checkpoints) == 1
    found = await repo.checks(run.head, "all")
    assert len([each for each in found if each["name"] == "orchestrate / notes"]) == 3
