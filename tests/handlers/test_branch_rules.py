"""Branch rules of the base: told before the run, and waited for rather than failed at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.events import Event, Type
from bot.runs.transitions import State
from bot.runs.waking import AGAIN, is_due, wake
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


async def test_where_a_push_voids_reviews_github_merges_by_itself(world: World) -> None:
    repo = await world.repository({"merge": {"method": "squash"}})
    await repo.person("admin").patch("", {"allow_auto_merge": True})
    parameters = {**REVIEWED["parameters"], "dismiss_stale_reviews_on_push": True}  # type: ignore[dict-item]
    await repo.rules({**REVIEWED, "parameters": parameters})
    issue, run = await approved(repo)
    assert (await repo.pull(run.pull_request))["auto_merge"]["merge_method"] == "squash"
    await repo.person("writer").comment(issue, "/pause")
    await repo.until(issue, State.PAUSED)
    assert (await repo.pull(run.pull_request))["auto_merge"] is None
    await repo.person("writer").comment(issue, "/resume")
    await repo.until(issue, lambda run: run.waits_to_merge)
    await repo.person("admin").review(run.pull_request, "APPROVE")
    run = await repo.until(issue, State.DONE)
    assert run.merge_sha == repo.git("rev-parse", "main")


async def test_a_base_of_linear_history_gets_no_merge_commit(world: World) -> None:
    repo = await world.repository()
    await repo.rules({"type": "required_linear_history"})
    issue, run = await repo.started()
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await repo.until(issue, State.DONE)
    assert len(repo.git("log", "-1", "--format=%P", "main").split()) == 1
