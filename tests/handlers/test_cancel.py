from __future__ import annotations

from bot.runs.transitions import State
from tests.handlers.test_pause import at_work, slow_repository
from tests.support.world import Repo, World


async def test_a_cancel_stops_the_agent_and_ends_the_run(world: World) -> None:
    repo = await slow_repository(world)
    issue, _ = await at_work(repo)
    await repo.person("writer").comment(issue, "/cancel")
    run = await repo.until(issue, lambda run: run.state is State.CANCELLED and not run.active)
    assert await repo.pulls() == []
    (status,) = await repo.status_comments(issue)
    assert "Cancelled by" in status
    assert repo.git("merge-base", run.head, f"refs/orchestrate/{run.id}") == run.head
    (answer,) = await repo.person("writer").says(issue, "/resume")
    assert "is cancelled; `/orchestrate …` starts a new one" in answer


async def test_a_cancel_closes_the_pull_request_and_keeps_the_branch(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    await repo.person("writer").comment(run.pull_request, "/cancel")
    await repo.until(issue, State.CANCELLED)
    assert (await repo.pull(run.pull_request))["state"] == "closed"
    assert repo.git("rev-parse", run.branch) == run.head
    await repo.person("writer").comment(issue, "/orchestrate try again")
    again = await repo.until(issue, State.AWAITING_REVIEW)
    assert again.id != run.id
    assert len(await repo.status_comments(issue)) == 2


async def test_closing_the_pull_request_cancels_the_run(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    await repo.person("writer").close(run.pull_request)
    await repo.until(issue, State.CANCELLED)
    (status,) = await repo.status_comments(issue)
    assert "closed the pull request" in status


async def test_a_reader_cancels_nothing(repo: Repo) -> None:
    issue, _ = await repo.started()
    (answer,) = await repo.person("reader").says(issue, "/cancel")
    assert "@reader" in answer
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW
