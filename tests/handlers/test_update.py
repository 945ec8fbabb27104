"""The base is brought in by a merge that is checked, or nothing is changed and it is said why."""

from __future__ import annotations

import pytest

from bot.runs.transitions import State
from tests.support.world import Repo, World


async def test_the_base_is_merged_in_and_checked(repo: Repo) -> None:
    issue, run = await repo.started()
    pull, first, old_base = run.pull_request or 0, run.head, run.base_sha
    maintainer, writer = repo.person("maintainer"), repo.person("writer")
    # Workflows are closed to agents, and not to people.
    await maintainer.write(".github/workflows/ci.yml", "on: push\n", branch="main")
    tip = await maintainer.write("new.txt", "new\n", branch="main")

    assert await writer.says(pull, "/update") == []
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW, run.reason
    made = run.checkpoints[-1]
    assert (made.kind, made.title) == ("update", f"Bring in main at {tip[:7]}")
    assert made.files == 2
    assert repo.git("log", "-1", "--format=%P", run.head) == f"{first} {tip}"
    assert "Orchestrate-Checkpoint: 2" in repo.git("log", "-1", "--format=%B", run.head)
    assert repo.git("rev-parse", run.branch) == run.head
    assert repo.git("diff", "--name-only", "main", run.head) == "notes.txt"
    checks = await repo.check_runs(run.head)
    assert checks == {"orchestrate / rules": "success", "orchestrate / notes": "success"}

    assert (run.base_sha, run.base_tree) == (tip, repo.git("rev-parse", f"{tip}^{{tree}}"))
    assert run.base_sha != old_base
    (shown,) = await repo.person("reader").says(pull, "/diff")
    assert "changes 1 file" in shown
    (shown,) = await repo.person("reader").says(pull, "/diff 1..2")
    assert "`new.txt` added" in shown

    (answer,) = await writer.says(pull, "/update")
    assert answer.endswith("`main` has nothing that this run does not have; nothing was changed.")
    assert (await repo.run(issue)) == run
    await maintainer.comment(pull, f"/approve {run.head}")
    run = await repo.until(issue, State.DONE)
    assert repo.file("main", "new.txt") == "new"
    assert repo.git("merge-base", first, "main") == first


async def test_the_new_base_is_what_a_rollback_to_the_base_means(repo: Repo) -> None:
    issue, run = await repo.started()
    pull, writer = run.pull_request or 0, repo.person("writer")
    tip = await repo.person("maintainer").write("new.txt", "new\n", branch="main")
    await writer.comment(pull, "/update")
    await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert await writer.says(pull, "/rollback base") == []
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    assert run.tree == repo.git("rev-parse", f"{tip}^{{tree}}")


async def test_a_conflict_changes_nothing_and_is_told_by_file_and_line(repo: Repo) -> None:
    issue, run = await repo.started()
    pull = run.pull_request or 0
    maintainer = repo.person("maintainer")
    await maintainer.write("notes.txt", "first\nand `theirs`\n", branch="main")
    tip = await maintainer.write("good.txt", "good\n", branch="main")
    (answer,) = await repo.person("writer").says(pull, "/update")
    assert f"`main` at `{tip[:7]}` conflicts with this run in 1 file:" in answer
    assert (
        "- `notes.txt`: both changed the same lines; line 2 here (`more`), "
        "line 2 in `main` (`` and `theirs` ``)\n\nMerge" in answer
    )
    assert f"\n\nMerge `main` into `{run.branch}` yourself and push that" in answer
    assert await repo.run(issue) == run
    assert repo.git("rev-parse", run.branch) == run.head
    # As it says: a person's merge is taken in, and then there is nothing left to bring in.
    merged = repo.git(
        "commit-tree", "-p", run.head, "-p", tip, "-m", "Merge by hand", f"{tip}^{{tree}}"
    )
    await maintainer.patch(f"/git/refs/heads/{run.branch}", {"sha": merged})
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.head == merged
    (answer,) = await repo.person("writer").says(pull, "/update")
    assert "nothing that this run does not have" in answer


async def test_commits_of_people_stay_whatever_they_touch(repo: Repo) -> None:
    issue, run = await repo.started()
    pull, maintainer = run.pull_request or 0, repo.person("maintainer")
    theirs = await maintainer.write(".github/workflows/x.yml", "on: push\n", branch=run.branch)
    await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    await maintainer.write("new.txt", "new\n", branch="main")
    assert await repo.person("writer").says(pull, "/update") == []
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    assert repo.git("merge-base", theirs, run.head) == theirs
    assert repo.file(run.head, ".github/workflows/x.yml") == "on: push"


LINES = "".join(f"line {n}\n" for n in range(20))


async def test_what_the_base_moves_to_a_closed_place_is_judged_anew(world: World) -> None:
    work = {"agents": {"writer": {"command": "echo mine >> plain/x.yml"}}, "checks": []}
    repo = await world.repository(work, {"plain/x.yml": LINES})
    issue, run = await repo.started()
    assert run.state is State.AWAITING_REVIEW
    maintainer = repo.person("maintainer")
    await maintainer.write(".github/workflows/x.yml", LINES, branch="main")
    await maintainer.request("DELETE", "/contents/plain/x.yml", await _gone(repo, "plain/x.yml"))
    assert repo.git("ls-tree", "-r", "--name-only", "main", "plain") == ""
    (answer,) = await repo.person("writer").says(run.pull_request or 0, "/update")
    assert "With `main` brought in, the rules refuse it" in answer
    assert "`.github/workflows/x.yml`" in answer
    assert await repo.run(issue) == run


async def _gone(repo: Repo, path: str) -> dict[str, str]:
    sha = repo.git("rev-parse", f"main:{path}")
    return {"message": "Moved", "sha": sha, "branch": "main"}


async def test_what_the_checks_find_in_the_merge_blocks_it(world: World) -> None:
    check = {"checks": [{"name": "small", "run": "test ! -e large.txt"}]}
    repo = await world.repository(check)
    issue, run = await repo.started()
    await repo.person("maintainer").write("large.txt", "large\n", branch="main")
    await repo.person("writer").comment(run.pull_request or 0, "/update")
    run = await repo.until(issue, State.BLOCKED)
    assert run.last is not None
    assert run.last.kind == "update"
    assert "`small` fails" in run.reason
    # Blocked or not, what mends it in the base can be brought in.
    await repo.person("maintainer").request(
        "DELETE", "/contents/large.txt", await _gone(repo, "large.txt")
    )
    assert await repo.person("writer").says(run.pull_request or 0, "/update") == []
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert [each.kind for each in run.checkpoints] == ["agent", "update", "update"]


@pytest.mark.parametrize(
    ("login", "says"), [("reader", "write"), ("outsider", "write")], ids=["reader", "outsider"]
)
async def test_it_takes_the_role_to_write(repo: Repo, login: str, says: str) -> None:
    issue, run = await repo.started()
    (answer,) = await repo.person(login).says(run.pull_request or 0, "/update")
    assert says in answer
    assert await repo.run(issue) == run


async def test_without_a_checkpoint_or_after_the_end_it_is_refused(world: World) -> None:
    repo = await world.repository({"agents": {"writer": {"command": "true"}}, "checks": []})
    issue, run = await repo.started()
    writer = repo.person("writer")
    (answer,) = await writer.says(issue, "/update")
    assert "no checkpoint yet" in answer
    await writer.comment(issue, "/cancel")
    run = await repo.until(issue, State.CANCELLED)
    (answer,) = await writer.says(issue, "/update")
    assert "is cancelled" in answer
    assert await repo.run(issue) == run


async def test_a_request_that_begins_with_the_word_is_a_request(repo: Repo) -> None:
    issue, run = await repo.started("update the notes")
    assert run.request == "update the notes"
    assert run.state is State.AWAITING_REVIEW
    await repo.person("writer").comment(issue, "/cancel")
    await repo.until(issue, State.CANCELLED)
    (answer,) = await repo.person("writer").says(issue, "/orchestrate update")
    assert "is cancelled" in answer
