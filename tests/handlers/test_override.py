from __future__ import annotations

import pytest

from bot.events import Type
from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import Repo, World

RED = {
    "limits": {"turns": 1},
    "checks": [
        {"name": "notes", "run": "test -s notes.txt"},
        {"name": "lint", "run": "exit 1"},
        {"name": "lint all", "run": "exit 1"},
    ],
}


async def blocked(world: World) -> tuple[Repo, int, Run]:
    repo = await world.repository(RED)
    issue, run = await repo.started()
    assert run.state is State.BLOCKED, run.reason
    return repo, issue, run


async def test_red_checks_are_set_aside_with_a_reason_that_stands_on_them(world: World) -> None:
    repo, issue, run = await blocked(world)
    maintainer = repo.person("maintainer")
    assert await maintainer.says(issue, "/override lint all The whole of it is @old code") == []
    assert (await repo.run(issue)).state is State.BLOCKED
    assert await maintainer.says(issue, "/override lint That rule is wrong here") == []
    run = await repo.until(issue, State.AWAITING_REVIEW)

    checks = {each["name"]: each for each in await repo.checks(run.head)}
    assert checks["orchestrate / notes"]["conclusion"] == "success"
    lint = checks["orchestrate / lint"]
    assert lint["conclusion"] == "neutral"
    assert "Set aside by maintainer: That rule is wrong here" in lint["output"]["summary"]
    assert "Set aside by maintainer" in lint["output"]["title"]
    (status,) = await repo.status_comments(issue)
    assert "set aside by `maintainer`" in status

    told = [
        (event.actor, event.data["check"], event.data["why"], event.data["sha"])
        for event in await world.server.bot.store.events(run.id)
        if event.type == Type.OVERRIDDEN
    ]
    assert told[1] == ("maintainer", "lint", "That rule is wrong here", run.head)
    await repo.person("admin").comment(issue, f"/approve {run.head}")
    await repo.until(issue, State.DONE)


async def test_an_override_holds_for_one_head_and_until_the_check_runs_again(
    world: World,
) -> None:
    repo, issue, run = await blocked(world)
    maintainer, writer = repo.person("maintainer"), repo.person("writer")
    await maintainer.says(issue, "/override lint all wrong")
    await maintainer.says(issue, "/override lint wrong")
    await repo.until(issue, State.AWAITING_REVIEW)
    await writer.comment(run.pull_request or issue, "/orchestrate another note")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.state is State.BLOCKED
    assert (await repo.check_runs(run.head))["orchestrate / lint"] == "failure"


@pytest.mark.parametrize(
    ("login", "said", "answer"),
    [
        ("writer", "/override lint why", "needs the maintain role"),
        ("maintainer", "/override lint", "Say why `lint` does not count"),
        ("maintainer", "/override lint <!-- hidden -->", "Say why `lint` does not count"),
        ("maintainer", "/override rules they are wrong", "Name a red check"),
        ("maintainer", "/override notes it is green", "red on the head: `lint`, `lint all`"),
        ("maintainer", "/override lintel why", "Name a red check"),
        ("maintainer", f"/override lint {'long ' * 120}", "at most 500 characters"),
    ],
)
async def test_what_is_no_override_is_refused_in_a_sentence(
    red: tuple[Repo, int, Run], login: str, said: str, answer: str
) -> None:
    repo, issue, _ = red
    (told,) = await repo.person(login).says(issue, said)
    assert answer in told
    assert (await repo.run(issue)).overrides == ()


@pytest.fixture(scope="module")
async def red(world: World) -> tuple[Repo, int, Run]:
    return await blocked(world)


async def test_where_no_check_is_red_there_is_nothing_to_override(repo: Repo) -> None:
    issue, _ = await repo.started()
    (told,) = await repo.person("maintainer").says(issue, "/override notes why")
    assert "No check is red on the head" in told
