from __future__ import annotations

from bot.runs.transitions import State
from tests.handlers.test_pause import at_work, slow_repository
from tests.support.world import Repo, World


async def test_a_branch_taken_in_mid_turn_has_what_the_agent_did_and_is_given_back(
    world: World,
) -> None:
    repo = await slow_repository(world)
    writer = repo.person("writer")
    issue, _ = await at_work(repo)
    await writer.comment(issue, "/take")
    run = await repo.until(issue, lambda run: run.state is State.PAUSED and not run.active)
    assert [each.kind for each in run.checkpoints] == ["interrupted"]
    assert repo.git("rev-parse", run.branch) == run.head
    (status,) = await repo.status_comments(issue)
    assert f"writer has the branch `{run.branch}`" in status.replace("@", "").replace("\u200b", "")
    assert "`/give` gives it back: what you pushed becomes a checkpoint" in status

    (answer,) = await writer.says(issue, "/resume")
    assert "`/give` gives it back to the agent" in answer
    (answer,) = await repo.person("maintainer").says(issue, "/take")
    assert "has the branch already" in answer

    theirs = await writer.write("mine.txt", "mine\n", branch=run.branch)
    await repo.world.settled()
    (status,) = await repo.status_comments(issue)
    assert "`/give` takes these commits in" in status

    await writer.comment(issue, "/give")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert [each.kind for each in run.checkpoints] == ["interrupted", "human", "agent"]
    assert run.checkpoints[1].by == ("writer",)
    assert run.taken == ""
    for path, content in (("half.txt", "half"), ("mine.txt", "mine"), ("whole.txt", "whole")):
        assert repo.file(run.head, path) == content
    assert repo.git("merge-base", theirs, run.head) == theirs
    assert repo.git("rev-parse", run.branch) == run.head


async def test_a_branch_given_back_as_it_was_leaves_the_run_where_it_was(repo: Repo) -> None:
    issue, before = await repo.started()
    writer = repo.person("writer")
    assert before.pull_request
    (answer,) = await writer.says(before.pull_request, "/give")
    assert "Nobody took the branch" in answer
    await writer.comment(before.pull_request, "/take")
    await repo.until(issue, lambda run: run.state is State.PAUSED and not run.active)
    (answer,) = await repo.person("maintainer").says(issue, f"/approve {before.head}")
    assert "paused" in answer
    (answer,) = await repo.person("reader").says(issue, "/give")
    assert "needs the write role" in answer
    await repo.person("maintainer").comment(issue, "/give")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert run.checkpoints == before.checkpoints


async def test_work_that_was_not_pushed_yet_is_on_the_branch_once_it_is_taken(
    world: World,
) -> None:
    fails = {"writer": {"command": "cat > /dev/null; echo part > part.txt; exit 1"}}
    repo = await world.repository({"agents": fails})
    issue, run = await repo.started()
    assert (run.state, [each.kind for each in run.checkpoints]) == (State.BLOCKED, ["partial"])
    assert not repo.git("branch", "--list", run.branch)
    writer = repo.person("writer")
    await writer.comment(issue, "/take")
    await repo.until(issue, lambda run: run.state is State.PAUSED and not run.active)
    assert repo.file(run.branch, "part.txt") == "part"
    theirs = await writer.write("part.txt", "whole\n", branch=run.branch)
    await writer.comment(issue, "/give")
    run = await repo.until(issue, lambda run: len(run.checkpoints) > 1 and not run.active)
    assert run.checkpoints[1].sha == theirs
    assert run.checkpoints[1].by == ("writer",)


async def test_an_agent_that_finds_nothing_left_to_do_ends_the_plan(world: World) -> None:
    does = 'if [ "$ORCHESTRATE_TURN" = 1 ]; then echo a > a.txt; exit 1; fi'
    repo = await world.repository({"agents": {"writer": {"command": f"cat > /dev/null; {does}"}}})
    issue, run = await repo.started()
    writer = repo.person("writer")
    await writer.comment(issue, "/take")
    await repo.until(issue, lambda run: run.state is State.PAUSED and not run.active)
    await writer.write("a.txt", "b\n", branch=run.branch)
    await writer.comment(issue, "/give")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert (run.turns, [each.kind for each in run.checkpoints]) == (2, ["partial", "human"])
