"""Pushes of which no webhook told, and which the bot finds when it looks."""

from __future__ import annotations

from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import Repo, World


async def pushed_unheard(repo: Repo, issue: int, run: Run, login: str) -> str:
    """Push as somebody whose commits name another author, and have the bot find it by looking."""
    person = repo.person(login)
    author = {"name": "Someone Else", "email": "else@example.com"}
    body = {"message": "By hand", "tree": run.base_tree, "parents": [run.head], "author": author}
    theirs = str((await person.post("/git/commits", body))["sha"])
    repo.world.hub.faults.webhooks("drop", "push")
    await person.patch(f"/git/refs/heads/{run.branch}", {"sha": theirs})
    await repo.person("writer").comment(issue, "/retry")
    await repo.until(issue, lambda now: now.state is State.PAUSED and not now.active)
    await repo.person("writer").comment(issue, "/resume")
    await repo.until(issue, lambda now: now.head == theirs and not now.active)
    return theirs


async def test_whoever_pushed_unheard_does_not_approve_it(repo: Repo) -> None:
    issue, run = await repo.started()
    theirs = await pushed_unheard(repo, issue, run, "maintainer")
    assert (await repo.run(issue)).checkpoints[-1].by == ("maintainer",)
    (answer,) = await repo.person("maintainer").says(issue, f"/approve {theirs}")
    assert "is an author of this change" in answer
    assert await repo.person("admin").says(issue, f"/approve {theirs}") == []
    await repo.until(issue, State.DONE)


async def test_whoever_pushed_unheard_is_named_beside_who_was_heard(repo: Repo) -> None:
    issue, run = await repo.started()
    repo.world.hub.faults.webhooks("drop", "push")
    await repo.person("maintainer").write("mine.txt", "mine\n", branch=run.branch)
    theirs = await repo.person("writer").write("more.txt", "more\n", branch=run.branch)
    run = await repo.until(issue, lambda now: now.head == theirs and not now.active)
    assert run.checkpoints[-1].by == ("writer", "maintainer")
    (answer,) = await repo.person("maintainer").says(issue, f"/approve {theirs}")
    assert "is an author of this change" in answer


async def test_where_github_cannot_say_who_pushed_nobody_approves_as_one_without_a_part(
    repo: Repo,
) -> None:
    issue, run = await repo.started()
    faults = repo.world.hub.faults
    faults.fail("GET", "*/activity", status=404, times=None)
    theirs = await pushed_unheard(repo, issue, run, "maintainer")
    faults.clear()
    for login in ("maintainer", "admin"):
        (answer,) = await repo.person(login).says(issue, f"/approve {theirs}")
        assert f"{login} may have had a part in this change" in answer
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW


async def test_a_push_does_not_take_the_place_of_the_plan_s_approval(world: World) -> None:
    repo = await world.repository()
    writer = repo.person("writer")
    issue = await writer.issue("Mine")
    await writer.comment(issue, "/orchestrate add a note --plan")
    run = await repo.until(issue, State.AWAITING_APPROVAL)
    main = repo.git("rev-parse", "main")
    await writer.post("/git/refs", {"ref": f"refs/heads/{run.branch}", "sha": main})
    theirs = await writer.write("mine.txt", "mine\n", branch=run.branch)
    await repo.until(issue, lambda now: now.state is State.PAUSED and not now.active)
    await writer.comment(issue, "/resume")
    run = await repo.until(issue, lambda now: now.head == theirs and not now.active)
    assert (run.state, run.turns) == (State.AWAITING_APPROVAL, 0)

    await writer.comment(issue, "/take")
    await repo.until(issue, lambda now: now.state is State.PAUSED and not now.active)
    theirs = await writer.write("more.txt", "more\n", branch=run.branch)
    await writer.comment(issue, "/give")
    run = await repo.until(issue, lambda now: now.head == theirs and not now.active)
    assert (run.state, run.turns) == (State.AWAITING_APPROVAL, 0)

    assert await repo.person("maintainer").says(issue, "/approve") == []
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert (run.turns, [each.kind for each in run.checkpoints]) == (1, ["human", "human", "agent"])
