"""Branch rules of the base: told before the run, and waited for rather than failed at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bot.events import Event, Type
from bot.runs.model import Run
from bot.runs.transitions import State
from bot.runs.waking import AGAIN, is_due, wake
from policies.facts import BranchRules
from tests.bot.hub.test_rules import QUEUED, REVIEWED
from tests.support.world import CONFIG, Repo, World, yaml_of


async def approved(repo: Repo) -> tuple[int, Any]:
    """A run that somebody approved by command, and whose merge waits."""
    issue, run = await repo.started()
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    return issue, await repo.until(issue, lambda run: run.waits_to_merge)


async def test_a_base_with_a_queue_is_merged_into_through_it(world: World) -> None:
    repo = await world.repository()
    await repo.rules(QUEUED)
    issue, run = await approved(repo)
    assert "merge queue of `main`" in (await repo.status_comments(issue))[0]
    await repo.person("writer").door(f"pulls/{run.pull_request}/dequeue", {"reason": "MERGE"})
    run = await repo.until(issue, State.DONE)
    assert run.merge_sha == repo.git("rev-parse", "main")


async def test_what_the_queue_does_not_take_is_said_and_not_put_there_for_ever(
    world: World,
) -> None:
    repo = await world.repository()
    await repo.rules(QUEUED)
    issue, run = await approved(repo)
    door = f"pulls/{run.pull_request}/dequeue"
    await repo.person("writer").door(door, {"reason": "CI_FAILURE"})
    await repo.until(issue, State.BLOCKED)
    (status,) = await repo.status_comments(issue)
    assert "GitHub took it out of the merge queue of `main`" in status


async def test_a_paused_run_leaves_the_queue(world: World) -> None:
    repo = await world.repository()
    await repo.rules(QUEUED)
    issue, run = await approved(repo)
    await repo.person("writer").comment(issue, "/pause")
    await repo.until(issue, State.PAUSED)
    (pull,) = world.hub.state.pulls.where(number=(repo.id, run.pull_request))
    assert pull.queued_by_id is None


async def test_what_is_held_leaves_the_queue_and_auto_merge(world: World) -> None:
    """By command and by label; and where GitHub does not let it go, that is said."""
    repo = await world.repository({"merge": {"method": "squash"}})
    await repo.rules(QUEUED)
    issue, run = await approved(repo)
    maintainer = repo.person("maintainer")

    async def left(state: State, why: str) -> None:
        now = await repo.until(issue, state)
        assert why in now.reason
        (pull,) = world.hub.state.pulls.where(number=(repo.id, run.pull_request))
        assert pull.queued_by_id is None

    async def again() -> None:
        await maintainer.says(issue, "/retry")
        await repo.until(issue, State.AWAITING_REVIEW)
        await maintainer.comment(issue, f"/approve {run.head}")
        await repo.until(issue, lambda run: run.waits_to_merge)

    await repo.person("writer").comment(issue, "/hold until tomorrow")
    await left(State.BLOCKED, "held by `writer`")
    await maintainer.says(issue, "/unhold")
    await again()
    await maintainer.label(run.pull_request or 0, "do-not-merge")
    await left(State.BLOCKED, "`do-not-merge`")
    label = f"/issues/{run.pull_request}/labels/do-not-merge"
    (await maintainer.request("DELETE", label)).raise_for_status()
    await again()
    # GitHub's own server keeps it: that is said, with the way out.
    world.hub.faults.fail("POST", "/api/graphql", status=403)
    await repo.person("writer").comment(issue, "/hold")
    await repo.until(issue, State.BLOCKED)
    replies = await repo.replies(run.pull_request or 0)
    (told,) = [each for each in replies if "orchestrate:left" in each]
    assert "does not take this out of the merge queue" in told
    assert "Somebody with the write role" in told


async def test_a_freeze_that_begins_takes_it_out_of_the_queue(world: World) -> None:
    repo = await world.repository()
    await repo.rules(QUEUED)
    issue, run = await repo.started()
    store = world.server.bot.store
    # As an earlier version recorded it, so that no other configuration voids it.
    data = {"of": "head", "sha": run.head, "tree": run.tree, "how": "command"}
    at = datetime.now(UTC)
    given = Event(id="early", at=at, actor="maintainer", type=Type.APPROVED, data=data)
    await store.append(run.id, lambda _: [given])
    run = await repo.until(issue, lambda run: run.waits_to_merge)
    always = [{"name": "release", "start": "2020-01-01", "end": "2999-01-01 08:00"}]
    text = yaml_of({**CONFIG, "freeze": always})
    await repo.person("admin").write(".github/orchestrate.yml", text, branch="main")
    assert is_due(run, at + 2 * AGAIN)
    await wake(store, run, "look", at)
    run = await repo.until(issue, State.BLOCKED)
    assert "Nothing is merged before 2999-01-01" in run.reason
    (pull,) = world.hub.state.pulls.where(number=(repo.id, run.pull_request))
    assert pull.queued_by_id is None


async def test_reviews_on_github_are_waited_for_and_then_it_is_merged(world: World) -> None:
    repo = await world.repository()
    await repo.rules(REVIEWED)
    issue, run = await approved(repo)
    assert "`main` asks for 1 approving review on GitHub" in run.awaits
    assert (await repo.pull(run.pull_request))["auto_merge"] is None
    await repo.person("admin").review(run.pull_request, "APPROVE")
    await repo.until(issue, State.DONE)


async def with_auto_merge(world: World) -> Repo:
    """A repository that squashes signed-off commits, and where a push voids reviews."""
    repo = await world.repository({"merge": {"method": "squash"}, "sign_off": True})
    await repo.person("admin").patch("", {"allow_auto_merge": True})
    parameters = {**REVIEWED["parameters"], "dismiss_stale_reviews_on_push": True}  # type: ignore[dict-item]
    await repo.rules({**REVIEWED, "parameters": parameters})
    return repo


def is_signed_off(repo: Repo, run: Run) -> bool:
    """Whether what was merged is one commit that carries the sign-off of what it squashed."""
    author = repo.git("log", "-1", "--format=%an <%ae>", run.head)
    lines = repo.git("log", "-1", "--format=%(trailers:only)", run.merge_sha).splitlines()
    parents = repo.git("log", "-1", "--format=%P", run.merge_sha).split()
    told = {f"Signed-off-by: {author}", f"Orchestrate-Run: {run.id}"} <= set(lines)
    return told and len(parents) == 1 and run.merge_sha == repo.git("rev-parse", "main")


async def test_where_a_push_voids_reviews_github_merges_by_itself(world: World) -> None:
    """What GitHub does not take back is said once, and taken back the next time."""
    repo = await with_auto_merge(world)
    issue, run = await approved(repo)
    writer = repo.person("writer")

    async def waiting() -> Any:
        return (await repo.pull(run.pull_request))["auto_merge"]

    found = await waiting()
    assert (found["merge_method"], found["enabled_by"]["login"]) == ("squash", "orchestrate[bot]")
    assert "Signed-off-by: " in found["commit_message"]
    world.hub.faults.fail("POST", "/api/graphql", status=403)
    await writer.comment(issue, "/pause")
    await repo.until(issue, State.PAUSED)
    (told,) = [each for each in await repo.replies(run.pull_request) if ":left:" in each]
    assert "**GitHub does not take this out of auto-merge**, so it may still be merged" in told
    assert "Somebody with the write role takes it out on this page" in told
    assert await waiting() == found
    await writer.comment(issue, "/resume")
    await repo.until(issue, lambda run: run.waits_to_merge)
    await writer.comment(issue, "/pause")
    await repo.until(issue, State.PAUSED)
    assert await waiting() is None
    await writer.comment(issue, "/resume")
    await repo.until(issue, lambda run: run.waits_to_merge)
    assert await waiting() == found
    await repo.person("admin").review(run.pull_request, "APPROVE")
    run = await repo.until(issue, State.DONE)
    assert (await repo.pull(run.pull_request or 0))["merged_by"]["login"] == "orchestrate[bot]"
    assert is_signed_off(repo, run)


async def test_where_github_refuses_auto_merge_the_bot_merges_when_the_review_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = await with_auto_merge(world)
    forge, admin = world.server.bot.ports.forge, repo.person("admin")
    rules = forge.rules

    async def and_switched_off(run: Run) -> BranchRules:
        found = await rules(run)
        await admin.patch("", {"allow_auto_merge": False})
        return found

    with monkeypatch.context() as patched:
        patched.setattr(forge, "rules", and_switched_off)
        issue, run = await approved(repo)
    assert run.pull_request
    assert (await repo.pull(run.pull_request))["auto_merge"] is None
    assert "`main` asks for 1 approving review on GitHub" in run.awaits
    assert run.awaits in "".join(await repo.status_comments(issue))
    await admin.review(run.pull_request, "APPROVE")
    run = await repo.until(issue, State.DONE)
    assert is_signed_off(repo, run)


async def test_a_base_of_linear_history_gets_no_merge_commit(world: World) -> None:
    repo = await world.repository()
    await repo.rules({"type": "required_linear_history"})
    issue, run = await repo.started()
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await repo.until(issue, State.DONE)
    assert len(repo.git("log", "-1", "--format=%P", "main").split()) == 1
