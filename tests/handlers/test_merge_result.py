"""Before a merge the checks run on what would come of it, where the base has moved."""

from __future__ import annotations

from typing import Any

from bot.runs.transitions import State
from tests.support.world import World

# Green on either side alone: the run changes notes.txt, the base gets a limit for it.
BOTH = "test ! -e limit.txt || test $(wc -l < notes.txt) -le $(cat limit.txt)"
CONFIG: dict[str, Any] = {"checks": [{"name": "short", "run": BOTH}]}


async def test_a_merge_result_that_breaks_is_not_merged(world: World) -> None:
    repo = await world.repository(CONFIG)
    issue, run = await repo.started()
    writer, maintainer = repo.person("writer"), repo.person("maintainer")
    await writer.write("limit.txt", "1\n", branch="main")
    await maintainer.comment(issue, f"/approve {run.head}")
    run = await repo.until(issue, State.BLOCKED)
    (status,) = await repo.status_comments(issue)
    assert f"`short` fails on `{run.head[:7]}` merged into `main`" in status
    assert "`/update` brings the base in" in status
    assert (await repo.pull(run.pull_request or 0))["merged"] is False
    await maintainer.comment(issue, "/override short The limit goes next week")
    await repo.until(issue, State.DONE)


async def test_a_merge_result_that_passes_is_merged_with_the_head_that_was_approved(
    world: World,
) -> None:
    repo = await world.repository(CONFIG)
    issue, run = await repo.started()
    await repo.person("writer").write("limit.txt", "9\n", branch="main")
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    done = await repo.until(issue, State.DONE)
    assert repo.git("rev-parse", "main^2") == done.head == run.head
    store = repo.world.server.bot.store
    tried = repo.git("rev-parse", "main^{tree}")
    events = await store.events(run.id)
    assert [each.type for each in events].count("checked") == 1
    assert repo.git("log", "-1", "--format=%T", "main") == tried
    assert not repo.contains("trial")
