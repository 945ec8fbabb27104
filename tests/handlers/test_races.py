"""A push against an approval, and against a merge: whoever comes first, nothing slips in.

Two of each here; `ORCHESTRATE_TEST_LONG=all` runs a thousand of each, which takes hours.
"""

from __future__ import annotations

import asyncio
import os
import random

from bot.runs.transitions import State
from tests.support.world import Repo, World

ROUNDS = 1_000 if os.environ.get("ORCHESTRATE_TEST_LONG") == "all" else 2

PUSH_SECONDS = 0.4
"""How long a push is held up at the most: in that time an approval is obeyed and merged, or not."""

MERGE_SECONDS = 0.2
"""How long GitHub may think about a merge while somebody pushes."""


async def test_a_push_and_an_approval_at_once(world: World) -> None:
    repo = await world.repository()
    chance = random.Random(6)
    for number in range(ROUNDS):
        issue, run = await repo.started()
        file = f"mine-{number}.txt"
        # In turn: one comes first for certain, and then it is up to chance.
        late = chance.uniform(0.0, PUSH_SECONDS) * (number % 2)
        world.hub.faults.delay(late, "PUT", f"*/contents/{file}", times=1)
        theirs, _ = await asyncio.gather(
            repo.person("writer").write(file, "mine\n", branch=run.branch),
            repo.person("maintainer").comment(issue, f"/approve {run.head}"),
        )
        await world.settled()
        await nothing_slipped_in(repo, issue, run.head, theirs, file)


async def test_a_push_while_it_is_merged(world: World) -> None:
    repo = await world.repository()
    chance = random.Random(6)
    for number in range(ROUNDS):
        issue, run = await repo.started()
        file = f"mine-{number}.txt"
        world.hub.faults.delay(chance.uniform(0.0, MERGE_SECONDS), "PUT", "*/merge", times=1)
        await repo.person("maintainer").comment(issue, f"/approve {run.head}")
        async with asyncio.timeout(60):
            while (await repo.run(issue)).state not in (State.MERGING, State.DONE):
                await world.moved()
        theirs = await repo.person("writer").write(file, "mine\n", branch=run.branch)
        await world.settled()
        await nothing_slipped_in(repo, issue, run.head, theirs, file)
        world.hub.faults.clear()


async def nothing_slipped_in(repo: Repo, issue: int, seen: str, theirs: str, file: str) -> None:
    """Either what was seen is merged, and it alone, or nothing; and the push is where it was put.

    The person's commit is on the branch and on nothing else, and nobody has approved it.
    """
    run = await repo.run(issue)
    on_main = repo.git("ls-tree", "--name-only", "main").splitlines()
    assert file not in on_main
    assert repo.git("rev-parse", run.branch) == theirs
    pull = await repo.pull(run.pull_request or 0)
    assert pull["merged"] is (run.state is State.DONE)
    if run.state is State.DONE:
        assert repo.git("rev-parse", f"{run.merge_sha}^2") == seen
        return
    assert run.state in (State.AWAITING_REVIEW, State.PAUSED, State.BLOCKED), run.state
    assert run.approved_head() is None or run.head == seen
