"""A secret that an agent writes is refused before it is on GitHub, and is told nowhere."""

from __future__ import annotations

import shlex
from typing import Any

from bot.runs.transitions import State
from tests.policies.leaky import AWS, GITHUB
from tests.support.world import Repo, World


def writes(first: str, **more: Any) -> dict[str, Any]:
    """A configuration whose agent writes a secret in its first turn, and better after it."""
    act = f"printf %s {shlex.quote(first)} > leak.py; echo more >> notes.txt"
    command = f'cat > asked.txt; if [ "$ORCHESTRATE_TURN" = 1 ]; then {act}; fi'
    return {"agents": {"writer": {"command": command}}, **more}


async def refused(repo: Repo) -> tuple[int, str]:
    issue, run = await repo.started()
    assert run.state is State.BLOCKED, run.reason
    (status,) = await repo.status_comments(issue)
    return issue, status


async def test_a_secret_is_refused_and_neither_pushed_nor_told(world: World) -> None:
    repo = await world.repository(writes(f"import x\nkey = '{AWS}'\n"))
    issue, status = await refused(repo)
    assert "`leak.py`, line 2 (aws-access-token)" in status
    assert "read from the environment" in status
    assert not repo.contains("leak.py")
    run = await repo.run(issue)
    told = [event.model_dump_json() for event in await world.server.bot.store.events(run.id)]
    assert not [each for each in [status, *await repo.calls(issue), *told] if AWS in each]

    writer = repo.person("writer")
    await writer.comment(issue, "/rollback --only-violations")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    names = repo.git("diff", "--name-only", "main", run.head).split()
    assert names == ["asked.txt", "notes.txt"]


async def test_the_next_turn_is_told_what_was_refused(world: World) -> None:
    repo = await world.repository(writes(f"{GITHUB}\n"))
    issue, _ = await refused(repo)
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    asked = repo.file(run.head, "asked.txt")
    assert "the rules refused" in asked
    assert "line 1 (github-pat)" in asked


async def test_the_server_s_own_secret_is_refused_where_all_is_allowed(world: World) -> None:
    own = world.credentials.webhook_secret
    repo = await world.repository(writes(f"secret = {own!r}\n", secrets={"allowed": ["**"]}))
    _, status = await refused(repo)
    assert "A secret that this server keeps stands in `leak.py`, line 1" in status
    assert own not in status


async def test_what_the_repository_allows_is_committed(world: World) -> None:
    repo = await world.repository(writes(f"{AWS}\n", secrets={"allowed": ["leak.py"]}))
    _, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW, run.reason
    (rules,) = [c for c in await repo.checks(run.head) if c["name"] == "orchestrate / rules"]
    assert "The configuration allows 1 finding." in rules["output"]["text"]
