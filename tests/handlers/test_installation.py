from __future__ import annotations

import httpx

from bot.runs.transitions import State
from tests.support.world import Repo, World


async def installation(repo: Repo, action: str) -> None:
    hub = repo.world.hub
    headers = {"Authorization": "Bearer user:admin"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        path = f"/_hub/installations/{repo.world.credentials.installation_id}/{action}"
        (await client.post(hub.url + path)).raise_for_status()


async def test_nothing_breaks_while_the_app_is_suspended_and_nothing_is_lost(repo: Repo) -> None:
    issue, run = await repo.started()
    watch = repo.world.server.watch
    await installation(repo, "suspend")
    try:
        await repo.person("writer").comment(run.pull_request or 0, "/orchestrate more")
        await watch.look()
        await repo.world.hub.settled()
        assert (await repo.run(issue)).state is State.AWAITING_REVIEW
    finally:
        await installation(repo, "unsuspend")
    await watch.look()
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW


async def test_the_schedules_of_a_repository_that_came_are_learned(world: World) -> None:
    night = {"name": "tidy", "cron": "0 3 * * *", "request": "Tidy up."}
    repo = await world.repository({"schedule": [night]})
    await world.settled()
    known = {each.id: listed for each, listed, _ in await world.server.bot.store.repositories()}
    assert [each["name"] for each in known[repo.id]] == ["tidy"]
