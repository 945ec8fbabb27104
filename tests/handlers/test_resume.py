from __future__ import annotations

import pytest

from bot.runs import work
from bot.runs.transitions import State
from tests.support.world import Repo, World

ELSE = 'if [ "$ORCHESTRATE_TURN" != 1 ]; then echo good > good.txt; exit 0; fi; '


async def acting(world: World, first: str, **config: object) -> Repo:
    """Make a repository whose agent does `first` in its first turn, and good ones after that."""
    agents = {"writer": {"command": ELSE + first}}
    return await world.repository({"agents": agents, "checks": [], **config})


@pytest.mark.parametrize(
    ("first", "why", "checkpoints"),
    [
        ("true", "changed nothing", 0),
        ("echo no such model >&2; exit 3", "failed with exit code 3: no such model", 0),
        ("echo half > half.txt; exit 4", "failed with exit code 4", 1),
        ("nonsense-program", "The program nonsense-program was not found", 0),
    ],
)
async def test_a_turn_that_came_to_nothing_blocks_and_resume_gives_another(
    world: World, first: str, why: str, checkpoints: int
) -> None:
    repo = await acting(world, first)
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    assert why in run.reason
    assert len(run.checkpoints) == checkpoints
    (status,) = await repo.status_comments(issue)
    assert "**Blocked.**" in status
    assert "/resume" in status
    (call,) = await repo.calls(issue)
    assert "@writer" in call
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert repo.file(run.head, "good.txt") == "good"
    assert len(await repo.status_comments(issue)) == 1


async def test_a_turn_that_takes_too_long_is_stopped_and_what_it_did_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = await acting(world, "echo half > half.txt; sleep 60")
    monkeypatch.setattr(work, "MINUTE_SECONDS", 0.7)
    issue, run = await repo.started(minutes="1")
    assert run.state is State.BLOCKED
    assert "did not end within its" in run.reason
    assert [each.kind for each in run.checkpoints] == ["partial"]
    monkeypatch.undo()
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert repo.file(run.head, "half.txt") == "half"


@pytest.mark.parametrize(
    ("first", "path"),
    [
        (
            "mkdir -p .github/workflows; echo evil > .github/workflows/x.yml",
            ".github/workflows/x.yml",
        ),
        ("echo evil > CLAUDE.md", "CLAUDE.md"),
    ],
)
async def test_what_breaks_the_rules_is_never_pushed_and_the_run_says_why(
    world: World, first: str, path: str
) -> None:
    repo = await acting(world, f"echo fine > fine.txt; {first}")
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    assert run.checkpoints == ()
    (status,) = await repo.status_comments(issue)
    assert "The rules refused" in status
    assert path in status
    assert await repo.pulls() == []
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert repo.git("diff", "--name-only", "main", run.head) == "good.txt"
    assert not repo.contains(path)
    assert not repo.contains("fine.txt")


async def test_a_later_candidate_that_breaks_the_rules_leaves_the_head_as_it_was(
    world: World,
) -> None:
    bad = 'if [ "$ORCHESTRATE_TURN" = 2 ]; then echo evil > AGENTS.md; fi; echo more >> notes.txt'
    repo = await world.repository({"agents": {"writer": {"command": bad}}})
    issue, run = await repo.started()
    await repo.person("writer").comment(run.pull_request or 0, "/orchestrate more")
    run = await repo.until(issue, State.BLOCKED)
    assert len(run.checkpoints) == 1
    checks = await repo.check_runs(run.head)
    assert checks["orchestrate / refused candidate"] == "neutral"
    assert checks["orchestrate / notes"] == "success"
    await repo.person("writer").comment(run.pull_request or 0, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert len(run.checkpoints) == 2
    assert not repo.contains("AGENTS.md")


async def test_another_agent_may_resume_what_one_began(world: World) -> None:
    agents = {"lazy": {"command": "true"}, "keen": {"command": "echo done > done.txt"}}
    repo = await world.repository({"agents": agents, "agent": "lazy", "checks": []})
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    await repo.person("writer").comment(issue, "/resume --agent keen")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert "Orchestrate-Agent: keen" in repo.git("log", "-1", "--format=%B", run.head)
