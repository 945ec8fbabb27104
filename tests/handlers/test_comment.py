from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from bot.runs.transitions import State
from bot.watch import Watch
from tests.support.world import Repo, World


@pytest.mark.parametrize(
    "said",
    [
        "> /orchestrate add a note",
        "```\n/orchestrate add a note\n```",
        "    /orchestrate add a note",
        "please /orchestrate add a note",
        "<!--\n/orchestrate add a note\n-->",
        "/pause",
    ],
)
async def test_what_is_quoted_shown_or_meant_for_others_commands_nothing(
    repo: Repo, said: str
) -> None:
    issue = await repo.person("writer").issue("Quotes", "/orchestrate add a note")
    comment = await repo.person("writer").comment(issue, said)
    await repo.world.settled()
    assert await repo.status_comments(issue) + await repo.replies(issue) == []
    assert await repo.person("writer").get(f"/issues/comments/{comment}/reactions") == []


async def test_an_edited_comment_commands_nothing(repo: Repo) -> None:
    issue, run = await repo.started()
    writer = repo.person("writer")
    comment = await writer.comment(issue, "Nice.")
    await writer.patch(f"/issues/comments/{comment}", {"body": "/cancel"})
    await repo.world.settled()
    assert (await repo.run(issue)).state is run.state is State.AWAITING_REVIEW


async def test_several_commands_in_a_comment_are_obeyed_in_order(repo: Repo) -> None:
    issue, run = await repo.started()
    said = "/status\n/undo\n\n> /cancel\n\n/rollback 9"
    answers = await repo.person("writer").says(run.pull_request or 0, said)
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.tree == run.base_tree
    assert run.state is State.AWAITING_REVIEW
    assert len(answers) == 2
    assert "awaiting review" in answers[0]
    assert "There is no checkpoint `9`" in answers[1]


async def test_without_aliases_a_bare_verb_is_for_others(world: World) -> None:
    repo = await world.repository({"commands": {"aliases": False}})
    issue, run = await repo.started()
    writer = repo.person("writer")
    assert await writer.says(run.pull_request or 0, "/cancel") == []
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW
    await writer.comment(run.pull_request or 0, "/orchestrate cancel")
    await repo.until(issue, State.CANCELLED)


@pytest.mark.parametrize("fault", ["duplicate", "shuffle"])
async def test_deliveries_that_come_twice_or_out_of_order_do_nothing_twice(
    repo: Repo, fault: str
) -> None:
    faults = repo.world.hub.faults
    assert fault in ("duplicate", "shuffle")
    faults.webhooks(fault, times=None, seconds=0.1)  # type: ignore[arg-type]
    issue, run = await repo.started()
    await repo.person("writer").comment(run.pull_request or 0, "/orchestrate more")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    await repo.person("maintainer").says(run.pull_request or 0, f"/approve {run.head}")
    run = await repo.until(issue, State.DONE)
    faults.clear()
    await repo.world.settled()
    assert run.turns == 2
    assert len(await repo.status_comments(issue)) == 1
    assert len(await repo.pulls()) == 1
    assert await repo.replies(issue) + await repo.replies(run.pull_request or 0) == []
    names = [each["name"] for each in await repo.checks(run.checkpoints[-1].sha, "all")]
    assert sorted(names) == ["orchestrate / notes", "orchestrate / rules"]


async def test_a_delivery_that_is_asked_for_again_does_nothing_again(repo: Repo) -> None:
    issue, run = await repo.started()
    answers = await repo.person("writer").says(run.pull_request or 0, "/undo\n/status\n/diff 7")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    hub = repo.world.hub
    for delivery in list(hub.state.deliveries.where(guid=_guids(repo)[-1])):
        hub.webhooks.redeliver(delivery)
    await repo.world.settled()
    assert len((await repo.run(issue)).checkpoints) == 2
    assert await repo.replies(run.pull_request or 0) == answers


def _guids(repo: Repo) -> list[str]:
    told = repo.world.hub.state.deliveries
    return [e.guid for e in told if e.repository_id == repo.id and e.event == "issue_comment"]


async def test_what_was_lost_on_the_way_is_asked_for_again(repo: Repo) -> None:
    # The App was installed before the server was there, which it may not have found out yet.
    await repo.world.server.recovery.look()
    await repo.world.settled()
    repo.world.hub.faults.webhooks("drop", "issue_comment")
    writer = repo.person("writer")
    issue = await writer.issue("Lost")
    await writer.comment(issue, "/orchestrate add a note")
    await repo.world.settled()
    assert await repo.status_comments(issue) == []
    assert await repo.world.server.recovery.look() == 1
    await repo.until(issue, State.AWAITING_REVIEW)
    assert await repo.world.server.recovery.look() == 0
    assert len(await repo.status_comments(issue)) == 1


@pytest.fixture
def watch(world: World) -> Watch:
    return world.server.watch


async def test_comments_that_no_webhook_told_are_found_and_obeyed_once(
    repo: Repo, watch: Watch
) -> None:
    issue, run = await repo.started()
    writer, pull = repo.person("writer"), run.pull_request or 0
    (refused,) = await writer.says(pull, "/resume")
    repo.world.hub.faults.webhooks("drop", "issue_comment", times=None)
    await writer.comment(pull, "/orchestrate more")
    await writer.comment(pull, "/status")
    await watch.look()
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    replies = await repo.replies(pull)
    assert len(replies) == 2
    assert replies[0] == refused
    await watch.look()
    await repo.world.settled()
    assert (await repo.run(issue)).turns == 2
    assert await repo.replies(pull) == replies


async def test_a_comment_of_the_second_that_was_looked_at_last_is_found(
    repo: Repo, watch: Watch
) -> None:
    issue, run = await repo.started()
    repo.world.hub.faults.webhooks("drop", "issue_comment")
    said = await repo.person("writer").comment(run.pull_request or 0, "/orchestrate more")
    comments = await repo.person("writer").comments(run.pull_request or 0)
    (at,) = (each["created_at"] for each in comments if each["id"] == said)
    seen = datetime.fromisoformat(at).replace(microsecond=999_999)
    await repo.world.server.bot.store.keep_seen(repo.id, {"etag": None, "at": seen.isoformat()})
    await watch.look()
    await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)


async def test_what_was_refused_then_is_not_obeyed_later(repo: Repo, watch: Watch) -> None:
    """The comment is found again by looking, when what it asks for would be possible."""
    issue, run = await repo.started()
    writer, pull = repo.person("writer"), run.pull_request or 0
    (refused,) = await writer.says(pull, "/resume")
    assert "not possible" in refused
    await writer.comment(pull, "/pause")
    await repo.until(issue, State.PAUSED)
    await watch.look()
    await repo.world.settled()
    assert (await repo.run(issue)).state is State.PAUSED
    assert await repo.replies(pull) == [refused]


async def test_what_is_told_and_found_at_the_same_moment_is_obeyed_once(
    repo: Repo, watch: Watch
) -> None:
    issue, run = await repo.started()
    # The answer comes late, so that both are at it when the first of them is through.
    repo.world.hub.faults.delay(0.3, "GET", "*/collaborators/*")
    said = repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await asyncio.gather(said, *(_soon(watch, n / 10) for n in range(5)))
    await repo.until(issue, State.DONE)
    await repo.world.settled()
    assert await repo.replies(issue) == []


async def _soon(watch: Watch, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await watch.look()


async def test_reviews_pushes_and_closings_that_no_webhook_told_are_found(
    repo: Repo, watch: Watch
) -> None:
    issue, run = await repo.started()
    world, maintainer = repo.world, repo.person("maintainer")
    world.hub.faults.webhooks("drop", times=None)
    theirs = await repo.person("writer").write("mine.txt", "mine\n", branch=run.branch)
    await watch.look()
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.head == theirs
    await maintainer.review(run.pull_request or 0, "REQUEST_CHANGES", "Another note.")
    await watch.look()
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    await repo.person("writer").close(run.pull_request or 0)
    await watch.look()
    await repo.until(issue, State.CANCELLED)
    (status,) = await repo.status_comments(issue)
    assert "Somebody closed the pull request" in status


async def test_an_approving_review_that_no_webhook_told_is_found(repo: Repo, watch: Watch) -> None:
    issue, run = await repo.started()
    repo.world.hub.faults.webhooks("drop", "pull_request_review")
    await repo.person("maintainer").review(run.pull_request or 0, "APPROVE")
    await watch.look()
    await repo.until(issue, State.DONE)


async def test_a_merge_that_no_webhook_told_is_found(repo: Repo, watch: Watch) -> None:
    issue, run = await repo.started()
    repo.world.hub.faults.webhooks("drop", times=None)
    await repo.person("maintainer").merge(run.pull_request or 0)
    await watch.look()
    await repo.until(issue, State.DONE)
