"""A push against an approval, and against a merge: whoever comes first, nothing slips in.

Two of each here; `ORCHESTRATE_TEST_LONG=all` runs a thousand of each, which takes most of an hour.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import Repo, World

LONG = os.environ.get("ORCHESTRATE_TEST_LONG") == "all"

ROUNDS = 1_000 if LONG else 2

LANES = 4 if LONG else 2
"""Rounds at once, each in a repository of its own: most of a round is waiting."""

MERGE_SECONDS = 0.2
"""How long GitHub may think about a merge while somebody pushes."""

AIMED = 20
"""Rounds after which the aim is good enough that both sides win some."""


@dataclass(slots=True)
class Aim:
    """When to push, so that it meets the merge: earlier after that won, later after it lost."""

    seconds: float = 0.3
    chance: random.Random = field(default_factory=lambda: random.Random(6))
    won: Counter[State] = field(default_factory=Counter)

    def late(self, number: int) -> float:
        """How long the push of a round is held up; the first one's not at all."""
        return self.seconds * self.chance.uniform(0.5, 1.5) if number else 0.0

    def learn(self, state: State) -> None:
        """Take in how a round ended."""
        self.won[state] += 1
        self.seconds *= 0.9 if state is State.DONE else 1.1


Race = Callable[[Repo, int, Run, str, float], Awaitable[str]]


async def test_a_push_and_an_approval_at_once(world: World) -> None:
    async def race(repo: Repo, issue: int, run: Run, file: str, late: float) -> str:
        world.hub.faults.delay(late, "PUT", f"*/contents/{file}", times=1)
        theirs, _ = await asyncio.gather(
            repo.person("writer").write(file, "mine\n", branch=run.branch),
            repo.person("maintainer").comment(issue, f"/approve {run.head}"),
        )
        return theirs

    await raced(world, race, Aim())


async def test_a_push_while_it_is_merged(world: World) -> None:
    aim = Aim(seconds=0.1)

    async def race(repo: Repo, issue: int, run: Run, file: str, late: float) -> str:
        thinks = aim.chance.uniform(0.0, MERGE_SECONDS)
        world.hub.faults.delay(thinks, "PUT", f"*/{repo.name}/pulls/*/merge", times=1)
        world.hub.faults.delay(late, "PUT", f"*/contents/{file}", times=1)
        await repo.person("maintainer").comment(issue, f"/approve {run.head}")
        await repo.until_seen(issue, lambda run: run.state in (State.MERGING, State.DONE))
        return await repo.person("writer").write(file, "mine\n", branch=run.branch)

    await raced(world, race, aim)


async def raced(world: World, race: Race, aim: Aim) -> None:
    """Run all rounds of a race, some at once, and look after each whether anything slipped in."""
    if LONG:  # Else a test that takes ten minutes is taken for one that hangs.
        faulthandler.cancel_dump_traceback_later()
    repos = [await world.repository() for _ in range(LANES)]
    issues: dict[int, int] = {}
    for numbers in batches():
        lanes = repos[: len(numbers)]
        begun = await asyncio.gather(*(to_review(repo, issues.get(repo.id)) for repo in lanes))
        issues = {repo.id: issue for repo, (issue, _) in zip(lanes, begun, strict=True)}
        files = [f"mine-{number}.txt" for number in numbers]
        pushed = await asyncio.gather(
            *(
                race(repo, issue, run, file, aim.late(number))
                for repo, (issue, run), file, number in zip(
                    lanes, begun, files, numbers, strict=True
                )
            )
        )
        await world.settled()
        for repo, (issue, run), file, theirs in zip(lanes, begun, files, pushed, strict=True):
            aim.learn(await nothing_slipped_in(repo, issue, run.head, theirs, file))
        world.hub.faults.clear()
        print(f"{numbers[-1] + 1} rounds: {dict(aim.won)}", flush=True)
    if ROUNDS > AIMED:
        assert 0 < aim.won[State.DONE] < ROUNDS, aim.won


async def to_review(repo: Repo, issue: int | None) -> tuple[int, Run]:
    """Bring the run of an issue to its review again, or start one where there is none to go on."""
    run = await repo.run(issue) if issue else None
    if issue is None or run is None or run.state not in (State.PAUSED, State.AWAITING_REVIEW):
        return await repo.started()
    if run.state is State.PAUSED:
        await repo.person("writer").comment(issue, "/resume")
    return issue, await repo.until(issue, State.AWAITING_REVIEW)


def batches() -> Iterator[range]:
    """Number the rounds, as many at a time as there are lanes."""
    for first in range(0, ROUNDS, LANES):
        yield range(first, min(first + LANES, ROUNDS))


async def nothing_slipped_in(repo: Repo, issue: int, seen: str, theirs: str, file: str) -> State:
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
        return run.state
    assert run.state in (State.AWAITING_REVIEW, State.PAUSED, State.BLOCKED), run.state
    assert run.approved_head() is None or run.head == seen
    return run.state
