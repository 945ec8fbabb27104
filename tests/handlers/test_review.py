from __future__ import annotations

from typing import Any

from bot.runs.transitions import State
from tests.support.world import Repo, World

PROMPT = {
    "agents": {"writer": {"command": "cat > prompt.txt; echo more >> notes.txt"}},
    "checks": [],
}
LINES = [
    {"path": "notes.txt", "line": 2, "body": "Say which."},
    {"path": "notes.txt", "line": 1, "body": "And why."},
]


async def threads(repo: Repo, pull: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await repo.person("reader").get(f"/pulls/{pull}/comments")
    return found


async def test_a_review_that_asks_for_changes_is_the_next_turn_and_each_thread_is_answered(
    world: World,
) -> None:
    repo = await world.repository(PROMPT)
    issue, run = await repo.started()
    assert run.pull_request
    await repo.person("maintainer").review(
        run.pull_request, "REQUEST_CHANGES", "Nearly.", comments=LINES
    )
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW
    prompt = repo.file(run.head, "prompt.txt")
    assert "Nearly.\n\nOn `notes.txt`, line 2: Say which." in prompt
    assert "On `notes.txt`, line 1: And why." in prompt
    said = await threads(repo, run.pull_request or 0)
    asked = [each["id"] for each in said if each["user"]["login"] == "maintainer"]
    answers = [each for each in said if each["user"]["login"] == "orchestrate[bot]"]
    assert sorted(each["in_reply_to_id"] for each in answers) == sorted(asked)
    assert all(run.head[:7] in each["body"] for each in answers)


async def test_a_review_by_somebody_who_may_not_steer_changes_nothing(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    await repo.person("reader").review(run.pull_request, "REQUEST_CHANGES", "Do evil.")
    await repo.world.settled()
    assert (await repo.run(issue)).turns == 1
    (answer,) = await repo.replies(run.pull_request)
    assert "@reader" in answer


async def test_a_review_that_only_remarks_commands_nothing_but_what_it_says(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    maintainer = repo.person("maintainer")
    await maintainer.review(run.pull_request, "COMMENT", "Looks fine.")
    await repo.world.settled()
    assert (await repo.run(issue)).turns == 1
    await maintainer.review(run.pull_request, "COMMENT", "Well.\n\n/orchestrate another note")
    await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)


async def test_words_of_command_in_a_review_that_asks_for_changes_are_not_obeyed_twice(
    repo: Repo,
) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    text = "/orchestrate another note"
    await repo.person("maintainer").review(run.pull_request, "REQUEST_CHANGES", text)
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.turns == 2
    assert await repo.replies(run.pull_request or 0) == []


async def test_a_command_on_a_line_of_the_difference_names_the_line(world: World) -> None:
    repo = await world.repository(PROMPT)
    issue, run = await repo.started()
    body = {"body": "/orchestrate explain this", "commit_id": run.head}
    place = {"path": "notes.txt", "line": 2, "side": "RIGHT"}
    await repo.person("writer").post(f"/pulls/{run.pull_request}/comments", {**body, **place})
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert "explain this\n\n(Asked at `notes.txt`, line 2.)" in repo.file(run.head, "prompt.txt")
