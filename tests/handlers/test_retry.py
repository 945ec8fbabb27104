from __future__ import annotations

import pytest

from bot.runs.transitions import State
from tests.support.world import Repo, World

ONCE = """
echo $ORCHESTRATE_TURN > turn.txt; cat > prompt.txt
"""


async def test_red_checks_are_the_next_turn_which_is_told_what_failed(world: World) -> None:
    config = {
        "agents": {"writer": {"command": ONCE}},
        "checks": [
            {"name": "second", "run": "echo the first is not enough; grep -q 2 turn.txt"},
            {"name": "fine", "run": "true"},
        ],
    }
    repo = await world.repository(config)
    issue, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW
    first, second = run.checkpoints
    prompt = repo.file(second.sha, "prompt.txt")
    assert "The check `second` failed" in prompt
    assert "the first is not enough" in prompt
    assert "`fine`" not in prompt
    assert (await repo.check_runs(first.sha))["orchestrate / second"] == "failure"
    assert set((await repo.check_runs(second.sha)).values()) == {"success"}
    assert len(await repo.status_comments(issue)) == 1


async def test_a_run_that_does_not_get_green_is_blocked_after_its_turns(world: World) -> None:
    config = {"checks": [{"name": "never", "run": "false"}], "limits": {"turns": 2}}
    repo = await world.repository(config)
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    assert len(run.checkpoints) == 2
    assert "`never` fails on" in run.reason
    (status,) = await repo.status_comments(issue)
    assert "/retry" in status
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, lambda run: run.turns == 4 and not run.active)
    assert run.state is State.BLOCKED


async def test_retry_runs_the_checks_again_all_or_one(world: World) -> None:
    repo = await world.repository(
        {"checks": [{"name": "one", "run": "true"}, {"name": "two", "run": "true"}]}
    )
    issue, run = await repo.started()
    writer = repo.person("writer")
    before = {each["name"]: each["id"] for each in await repo.checks(run.head)}
    await writer.comment(run.pull_request or 0, "/retry two")
    run = await repo.until(issue, lambda run: run.attempt == 1 and not run.active)
    after = {each["name"]: each["id"] for each in await repo.checks(run.head)}
    assert after["orchestrate / one"] == before["orchestrate / one"]
    assert after["orchestrate / two"] != before["orchestrate / two"]
    await writer.comment(run.pull_request or 0, "/retry")
    run = await repo.until(issue, lambda run: run.attempt == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW
    assert len(run.checkpoints) == 1
    (answer,) = await writer.says(run.pull_request or 0, "/retry three")
    assert "There is no check `three`; the checks are: `one`, `two`." in answer


@pytest.mark.parametrize("mended", [True, False])
async def test_retry_lets_a_blocked_run_go_on_when_the_checks_pass_now(
    world: World, mended: bool
) -> None:
    """The check reads the clock of the test: a file outside the repository is not to be had."""
    config = {"checks": [{"name": "late", "run": "test $(date +%s%N) -gt $(cat until.txt)"}]}
    repo = await world.repository({**config, "limits": {"turns": 1}}, files={"until.txt": "9" * 19})
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    if mended:
        await repo.person("writer").write("until.txt", "0", branch=run.branch)
    await repo.until(issue, lambda run: not run.active)
    await repo.person("writer").comment(issue, "/resume" if mended else "/retry")
    run = await repo.until(issue, lambda run: run.attempt > 0 and not run.active)
    assert run.state is (State.AWAITING_REVIEW if mended else State.BLOCKED)


async def test_there_is_nothing_to_retry_before_the_first_checkpoint(world: World) -> None:
    repo: Repo = await world.repository({"agents": {"writer": {"command": "true"}}})
    issue, _ = await repo.started()
    (answer,) = await repo.person("writer").says(issue, "/retry")
    assert "no checkpoint to check yet" in answer
