from __future__ import annotations

from bot.runs.transitions import State
from tests.support.world import Repo


async def test_rollback_and_undo_restore_trees_exactly_as_new_commits(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW, run.reason
    pull = run.pull_request
    assert pull is not None
    writer = repo.person("writer")
    await writer.comment(pull, "/orchestrate another note")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    first, second = run.checkpoints

    assert await writer.says(pull, "/rollback base") == []
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    third = run.checkpoints[-1]
    assert third.tree == repo.git("rev-parse", "main^{tree}")
    assert repo.git("rev-parse", f"{third.sha}^") == second.sha

    await writer.comment(pull, "/undo")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 4 and not run.active)
    assert run.checkpoints[-1].tree == second.tree
    await writer.comment(pull, "/rollback 1")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 5 and not run.active)
    assert run.checkpoints[-1].tree == first.tree
    assert repo.git("rev-parse", run.branch) == run.head
    assert run.state is State.AWAITING_REVIEW


async def test_rolling_back_to_what_is_there_is_refused_in_a_sentence(repo: Repo) -> None:
    _, run = await repo.started()
    assert run.pull_request
    (answer,) = await repo.person("writer").says(run.pull_request, "/rollback 1")
    assert "already" in answer
    (answer,) = await repo.person("writer").says(run.pull_request, "/rollback 7")
    assert "There is no checkpoint `7`" in answer
