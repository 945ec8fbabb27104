"""A first configuration, as those who install the App meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.hub import add_repository
from tests.support.world import Repo, World, make_world

PATH = ".github/orchestrate.yml"
FILES = {
    "tool.py": "print(1)\n",
    "tests/test_tool.py": "def test_a():\n    pass\n",
    "deploy/run.sh": "true\n",
    "LICENSE": "free\n",
}


@pytest.fixture(scope="module")
async def inviting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A bot that proposes, as bots do unless they are told otherwise."""
    async with make_world(tmp_path_factory.mktemp("inviting"), onboarding=True) as made:
        yield made


async def installed(world: World, name: str, files: dict[str, str]) -> Repo:
    """Let the App come to a repository."""
    repo = Repo(world, f"acme/{name}", await add_repository(world.hub, name, files=files))
    await settled(world)
    return repo


async def settled(world: World) -> None:
    await world.settled()
    await world.server.onboarding.settled()
    await world.settled()


async def proposals(repo: Repo) -> list[dict[str, Any]]:
    return [each for each in await repo.pulls() if each["head"]["ref"] == "orchestrate/configure"]


async def test_a_repository_without_one_is_proposed_one_once(inviting: World) -> None:
    repo = await installed(inviting, "fresh", FILES)
    (pull,) = await proposals(repo)
    assert (pull["title"], pull["user"]["login"]) == (
        "Configure Orchestrate",
        "orchestrate[bot]",
    )
    assert "- languages: Python, Shell\n- checks: `pytest`" in pull["body"]
    text = repo.file("orchestrate/configure", PATH)
    assert "extends: [open-source]" in text
    assert text.endswith("    - /deploy/")
    checks = await repo.check_runs(pull["head"]["sha"])
    assert checks == {"orchestrate / configuration": "success"}

    # Nothing of it holds until it is merged.
    holds = await inviting.server.desk.repositories.policy(await known(repo))
    assert holds.extends == ()

    # Once closed it stays closed, whoever comes again.
    await repo.person("admin").close(pull["number"])
    for _ in range(2):
        await inviting.server.onboarding.invite([await known(repo)])
        await settled(inviting)
    assert [each["state"] for each in await proposals(repo)] == ["closed"]


async def known(repo: Repo) -> Any:
    found = await repo.world.server.bot.store.repository(repo.id)
    assert found
    return found


async def test_a_try_that_died_half_way_is_gone_on_with(inviting: World) -> None:
    hub = inviting.hub
    hub.faults.fail("POST", "/repos/acme/half/pulls")
    try:
        repo = await installed(inviting, "half", FILES)
    finally:
        hub.faults.clear()
    assert await proposals(repo) == []
    onboarding, store = inviting.server.onboarding, inviting.server.bot.store
    assert [each.id for each in await store.wanting()] == [repo.id]
    # As after a restart.
    assert await onboarding.look(await known(repo))
    assert len(await proposals(repo)) == 1
    assert await store.wanting() == []
    assert repo.git("rev-list", "--count", "main..orchestrate/configure") == "1"


async def test_who_has_one_or_has_nothing_is_left_alone(inviting: World) -> None:
    configured = await installed(inviting, "configured", {PATH: "limits: {turns: 2}\n"})
    assert await configured.pulls() == []
    assert await inviting.server.bot.store.wanting() == []
