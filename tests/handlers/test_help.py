from __future__ import annotations

from handlers import FEATURES
from tests.support.world import Repo, World


async def test_help_lists_every_command_and_who_may_give_it(repo: Repo) -> None:
    issue = await repo.person("outsider").issue("How?")
    (answer,) = await repo.person("outsider").says(issue, "/orchestrate help")
    for feature in FEATURES:
        assert f"`{feature.usage.line.replace('|', chr(92) + '|')}`" in answer
    assert "| `/approve [SHA]` | maintain |" in answer


async def test_help_says_who_may_as_the_repository_configures_it(world: World) -> None:
    repo = await world.repository({"commands": {"who": {"approve": "admin"}}})
    issue = await repo.person("reader").issue("How?")
    (answer,) = await repo.person("reader").says(issue, "/orchestrate help")
    assert "| `/approve [SHA]` | admin |" in answer
