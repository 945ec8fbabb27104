from __future__ import annotations

from typing import Any

import pytest

from bot.runs.transitions import State
from tests.support.world import Repo, World


async def test_rollback_and_undo_restore_trees_exactly_as_new_commits(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW, run.reason
    pull = run.pull_request
    assert pull is not None
    writer = repo.person("writer")
    await writer.comment(pull, "/orchestrate another note")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    first, second = run.checkpoints

    assert await writer.says(pull, "/rollback base") == []
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    third = run.checkpoints[-1]
    assert third.tree == repo.git("rev-parse", "main^{tree}")
    assert repo.git("rev-parse", f"{third.sha}^") == second.sha

    await writer.comment(pull, "/undo")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 4 and not run.active)
    assert run.checkpoints[-1].tree == second.tree
    await writer.comment(pull, "/rollback 1")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 5 and not run.active)
    assert run.checkpoints[-1].tree == first.tree
    assert repo.git("rev-parse", run.branch) == run.head
    assert run.state is State.AWAITING_REVIEW


async def test_rolling_back_to_what_is_there_is_refused_in_a_sentence(repo: Repo) -> None:
    _, run = await repo.started()
    assert run.pull_request
    (answer,) = await repo.person("writer").says(run.pull_request, "/rollback 1")
    assert "already" in answer
    (answer,) = await repo.person("writer").says(run.pull_request, "/rollback 7")
    assert "There is no checkpoint `7`" in answer


WRITES = (
    "cat > /dev/null; echo more >> notes.txt; mkdir -p docs; date +%N > docs/a.md; echo b > b.txt"
)


async def test_only_what_the_globs_mean_goes_back(world: World) -> None:
    repo = await world.repository(
        {"agents": {"writer": {"command": WRITES}}}, {"docs/a.md": "as it was\n"}
    )
    issue, run = await repo.started()
    pull, writer = run.pull_request or 0, repo.person("writer")
    first = run.head

    assert await writer.says(pull, "/rollback base --paths docs/** '*.none'") == []
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW
    assert repo.git("diff", "--name-only", first, run.head) == "docs/a.md"
    assert repo.file(run.head, "docs/a.md") == "as it was"
    assert repo.git("log", "-1", "--format=%s", run.head) == "Roll back docs/**, *.none to the base"
    assert repo.git("rev-parse", f"{run.head}^") == first

    # Again, and by two options: what was added goes, and the rest is back already.
    assert await writer.says(pull, "/rollback base --paths=docs --paths=b.txt") == []
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    assert repo.git("diff", "--name-only", "main", run.head) == "notes.txt"
    await writer.comment(pull, "/rollback 1")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 4 and not run.active)
    assert repo.git("diff", first, run.head) == ""


async def test_globs_that_mean_nothing_or_are_none_are_refused_in_a_sentence(repo: Repo) -> None:
    issue, run = await repo.started()
    pull, writer = run.pull_request or 0, repo.person("writer")
    (answer,) = await writer.says(pull, "/rollback base --paths docs/**")
    assert "Nothing that `docs/**` means differs between the base and the head" in answer
    (answer,) = await writer.says(pull, "/rollback base --paths notes.txt 'a b '")
    assert "`a b `: A glob needs a name, without blanks around it" in answer
    (answer,) = await writer.says(pull, "/rollback base --paths")
    assert "`--paths` needs a value" in answer
    assert await repo.run(issue) == run


# -- of a turn that the rules refused


def refused(first: str) -> dict[str, Any]:
    """A configuration whose agent does what is refused in its first turn, and better after it."""
    act = f'if [ "$ORCHESTRATE_TURN" = 1 ]; then {first}; else echo better > better.txt; fi'
    return {
        "agents": {"writer": {"command": f"cat > /dev/null; {act}"}},
        "paths": {"protected": ["guarded/**"]},
        "limits": {"files": 9},
    }


BOTH = "echo more >> notes.txt; echo mine > guarded/a; mv guarded/b free.txt; chmod +x run.sh"
FILES = {"guarded/a": "theirs\n", "guarded/b": "theirs too\n", "run.sh": "#!/bin/sh\n"}


async def test_what_passes_of_a_refused_turn_becomes_the_checkpoint(world: World) -> None:
    repo = await world.repository(refused(BOTH), FILES)
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    (status,) = await repo.status_comments(issue)
    assert "`/rollback --only-violations` keeps what passes the rules" in status

    writer = repo.person("writer")
    (answer,) = await writer.says(issue, "/rollback --only-violations")
    assert "stays as it is at the head: `free.txt`, `guarded/a` and `guarded/b`." in answer
    run = await repo.until(issue, State.AWAITING_REVIEW)
    (made,) = run.checkpoints
    assert (made.kind, made.title) == ("kept", "Add a note (what passes the rules)")
    raw = repo.git("diff", "--raw", "--abbrev=1", "main", run.head).splitlines()
    assert [line.split("\t")[1] for line in raw] == ["notes.txt", "run.sh"]
    assert raw[1].startswith(":100644 100755 ")
    body = repo.git("log", "-1", "--format=%B", run.head)
    assert "Orchestrate-Agent: writer" in body
    assert "Orchestrate-Checkpoint: 1" in body
    assert not repo.contains("free.txt")
    checks = await repo.check_runs(run.head)
    assert checks == {"orchestrate / rules": "success", "orchestrate / notes": "success"}

    (answer,) = await writer.says(issue, "/rollback --only-violations")
    assert "No candidate was refused since the last checkpoint" in answer
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await repo.until(issue, State.DONE)
    assert repo.file("main", "guarded/a") == "theirs"


async def test_a_part_of_a_later_turn_is_kept_and_can_be_undone(world: World) -> None:
    late = 'if [ "$ORCHESTRATE_TURN" = 2 ]; then echo evil > AGENTS.md; fi; echo more >> notes.txt'
    repo = await world.repository({"agents": {"writer": {"command": late}}})
    issue, run = await repo.started()
    pull, writer = run.pull_request or 0, repo.person("writer")
    await writer.comment(pull, "/orchestrate more")
    await repo.until(issue, State.BLOCKED)
    await writer.comment(pull, "/rollback --only-violations")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert [each.kind for each in run.checkpoints] == ["agent", "kept"]
    assert repo.file(run.head, "notes.txt") == "first\nmore\nmore"
    assert run.instructions == ()
    await writer.comment(pull, "/undo")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    assert run.tree == run.checkpoints[0].tree
    assert not repo.contains("AGENTS.md")


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("echo mine > guarded/a", "All that the turn changed breaks a rule"),
        (
            'for n in $(seq 10); do echo "$n" > "f$n"; done',
            "No path can be left out so that the rest passes: 10 files changed",
        ),
        (
            'echo mine > guarded/a; for n in $(seq 10); do echo "$n" > "f$n"; done',
            "What would be left breaks a rule too: 10 files changed",
        ),
        (
            'echo more >> notes.txt; for n in $(seq 101); do mkfifo "p$n"; done',
            "The turn left 100 entries or more that cannot be committed",
        ),
    ],
)
async def test_where_nothing_can_be_kept_it_is_said_why(world: World, does: str, says: str) -> None:
    repo = await world.repository(refused(does), FILES)
    issue, run = await repo.started()
    assert run.state is State.BLOCKED
    (answer,) = await repo.person("writer").says(issue, "/rollback --only-violations")
    assert says in answer
    assert "`/resume` gives the agent another turn" in answer
    assert await repo.run(issue) == run
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert run.quarantine == {}


async def test_keeping_what_passes_takes_nothing_else(world: World) -> None:
    repo = await world.repository(refused(BOTH), FILES)
    issue, run = await repo.started()
    for rest in ("1 --only-violations", "--only-violations --paths docs"):
        (answer,) = await repo.person("writer").says(issue, f"/rollback {rest}")
        assert "stands alone" in answer
    (answer,) = await repo.person("reader").says(issue, "/rollback --only-violations")
    assert "write" in answer
    assert await repo.run(issue) == run
