"""Whatever made the last checkpoint is taken back by a new commit, and comes back by another."""

from __future__ import annotations

from bot.runs.model import Run
from tests.handlers.test_rollback import BOTH, FILES, refused
from tests.support.world import Repo, World


async def both_ways(repo: Repo, issue: int, before: str) -> list[str]:
    """Undo the last checkpoint, and that; return what was answered. `before` is the tree it had."""
    run = await repo.run(issue)
    count, here, answers = len(run.checkpoints), run.pull_request or issue, []
    for number, tree in ((1, before), (2, run.tree)):
        head = run.head
        answers += await repo.person("writer").says(here, "/undo")
        run = await after(repo, issue, count + number)
        assert run.last is not None
        assert (run.last.kind, run.tree) == ("undo", tree)
        assert repo.git("rev-parse", f"{run.head}^") == head
        assert repo.git("rev-parse", f"{run.head}^{{tree}}") == tree
        assert repo.git("rev-parse", run.branch) == run.head
    return answers


async def after(repo: Repo, issue: int, count: int) -> Run:
    return await repo.until(issue, lambda run: len(run.checkpoints) == count and not run.active)


async def test_a_turn_of_the_agent_and_commits_of_people(repo: Repo) -> None:
    issue, run = await repo.started()
    assert await both_ways(repo, issue, run.base_tree) == []
    theirs = await repo.person("maintainer").write("mine.txt", "mine\n", branch=run.branch)
    run = await after(repo, issue, 4)
    before = run.checkpoints[-2].tree
    assert await both_ways(repo, issue, before) == []
    # Their commit stays in the history, whatever was done to its files.
    run = await repo.run(issue)
    assert repo.git("merge-base", theirs, run.branch) == theirs
    assert [each.kind for each in run.checkpoints] == [
        "agent",
        *["undo"] * 2,
        "human",
        *["undo"] * 2,
    ]


async def test_a_rollback_whole_and_in_part(repo: Repo) -> None:
    issue, run = await repo.started()
    pull, writer, tree = run.pull_request or 0, repo.person("writer"), run.tree
    await writer.comment(pull, "/rollback base --paths notes.txt")
    await after(repo, issue, 2)
    assert await both_ways(repo, issue, tree) == []
    await writer.comment(pull, "/rollback 1")
    await after(repo, issue, 5)
    run = await repo.run(issue)
    assert await both_ways(repo, issue, run.checkpoints[-2].tree) == []


async def test_what_was_kept_of_a_refused_turn(world: World) -> None:
    repo = await world.repository(refused(BOTH), FILES)
    issue, run = await repo.started()
    await repo.person("writer").comment(issue, "/rollback --only-violations")
    await after(repo, issue, 1)
    assert await both_ways(repo, issue, run.base_tree) == []


async def test_an_update_is_taken_back_with_a_word_of_what_that_means(repo: Repo) -> None:
    issue, run = await repo.started()
    tree = run.tree
    await repo.person("maintainer").write("new.txt", "new\n", branch="main")
    await repo.person("writer").comment(run.pull_request or 0, "/update")
    run = await after(repo, issue, 2)
    assert repo.file(run.head, "new.txt") == "new"
    (said,) = await both_ways(repo, issue, tree)
    assert "goes back to before checkpoint 2 brought `main` in" in said
    assert "`/undo` gives it back" in said
    (said,) = await repo.person("writer").says(run.pull_request or 0, "/rollback 1")
    assert "goes back to before checkpoint 2" in said
    run = await after(repo, issue, 5)
    # The base is the one that was brought in, and what the run would take out of it is shown.
    (shown,) = await repo.person("reader").says(run.pull_request or 0, "/diff")
    assert "`new.txt` deleted" in shown


async def test_nothing_to_undo_is_said(world: World) -> None:
    repo = await world.repository({"agents": {"writer": {"command": "true"}}, "checks": []})
    issue, _ = await repo.started()
    (answer,) = await repo.person("writer").says(issue, "/undo")
    assert "no checkpoint yet" in answer
