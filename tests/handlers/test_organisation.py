"""What an organisation's `.github` repository says for all of them, as their people meet it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from bot.effective import effective
from bot.hub import add_repository
from bot.runs.transitions import State
from tests.support.world import CONFIG, Repo, World, make_world, settings_of, yaml_of

FILE = "orchestrate.yml"


@pytest.fixture(scope="module")
async def ours(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A hub and a bot of these tests' own: what an organisation says binds every repository."""
    async with make_world(tmp_path_factory.mktemp("acme")) as made:
        yield made


async def spoken(world: World) -> Repo:
    """Make the organisation's repository."""
    known = world.hub.repository("acme/.github")
    number = known.id if known else await add_repository(world.hub, ".github")
    return Repo(world, "acme/.github", number)


async def says(acme: Repo, said: object) -> str:
    """Let the organisation say something else; the commit that it stands in."""
    pushed = await acme.person("admin").write(FILE, json.dumps(said), branch="main")
    await acme.world.settled()
    return pushed


async def test_an_organisation_speaks_for_its_repositories(ours: World) -> None:
    repo = await ours.repository()
    started = "/orchestrate add a note"
    issue = await repo.person("writer").issue("Notes")
    acme = await spoken(ours)
    await says(acme, {"commands": {"who": {"orchestrate": "maintain"}}})
    (answer,) = await repo.person("writer").says(issue, started)
    assert "needs the maintain role" in answer

    # A repository's own word counts over it, but for the bounds.
    own = {"commands": {"who": {"orchestrate": "write"}}}
    await repo.person("admin").write(
        ".github/orchestrate.yml", yaml_of({**CONFIG, **own}), branch="main"
    )
    await says(acme, {"limits": {"turns": 7}, "bounds": {"approval": {"required": 2}}})
    await repo.person("writer").comment(issue, started)
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert (run.turn_limit, len(run.organisation)) == (7, 40)
    await repo.person("admin").comment(issue, f"/approve {run.head}")
    await ours.settled()
    assert "It needs 1 more approval" in (await repo.replies(issue))[-1]

    # What it says is part of what was approved.
    await says(acme, {"limits": {"turns": 8}, "bounds": {"approval": {"required": 2}}})
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await ours.settled()
    run = await repo.run(issue)
    assert run.state is State.AWAITING_REVIEW
    assert "It needs 1 more approval" in (await repo.replies(issue))[-1]


async def test_a_wrong_one_is_a_check_and_the_last_good_one_holds(ours: World) -> None:
    acme = await spoken(ours)
    await says(acme, {"limits": {"turns": 6}})
    repo = await ours.repository()
    pushed = await says(acme, {"limts": {}})
    (check,) = await acme.checks(pushed)
    assert (check["name"], check["conclusion"]) == ("orchestrate / organisation", "failure")
    assert "did you mean `limits`?" in check["output"]["summary"]
    assert "The last good one stays in force" in check["output"]["summary"]
    issue, run = await repo.started()
    assert run.turn_limit == 6
    (status,) = await repo.status_comments(issue)
    assert "acme/.github: orchestrate.yml, line 1: `limts` is not known here" in status

    # A bot that begins anew finds it as well, and the runs that began with it.
    known = await ours.server.bot.store.repository(repo.id)
    assert known
    settings = settings_of(ours.hub, ours.credentials, ours.folder / "bot")
    found = await effective(settings, {}, repo.name)
    told = {each.setting: each for each in found.settings}
    assert (told["limits.turns"].value, told["limits.turns"].told) == (6, "acme/.github")
    assert told["checks"].told == "line 7"
    assert any("The last good one holds." in line for line in found.read)
    await says(acme, {})
    assert await acme.checks(pushed) == [check]
    found = await effective(settings, {}, repo.name)
    assert {each.setting: each.told for each in found.settings}["limits.turns"] == "default"
