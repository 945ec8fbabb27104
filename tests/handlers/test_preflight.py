"""What is looked at beside the start of a run: it stops and asks before much is spent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bot.hub.seed import INSTALLATION_ID
from bot.runs.transitions import State
from tests.bot.hub.test_rules import QUEUED, REVIEWED
from tests.support.world import Repo, World

# An agent that works for as long as it is let, and one that is done at once.
SLOW: dict[str, Any] = {
    "agent": "slow",
    "agents": {
        "slow": {"command": "cat > /dev/null; sleep 60"},
        "quick": {"command": "cat > /dev/null; echo more >> notes.txt"},
    },
}


async def asked(repo: Repo, request: str = "add a note") -> tuple[int, str]:
    """Start a run, wait until it was stopped and asks, and return what it says."""
    writer = repo.person("writer")
    issue = await writer.issue("Something")
    await writer.comment(issue, f"/orchestrate {request}")
    await repo.until(issue, State.BLOCKED)
    (status,) = await repo.status_comments(issue)
    return issue, status


async def test_what_the_base_asks_is_told_before_the_run_has_ended(world: World) -> None:
    repo = await world.repository(SLOW)
    await repo.rules(QUEUED, REVIEWED)
    writer = repo.person("writer")
    issue = await writer.issue("Something")
    await writer.comment(issue, "/orchestrate add a note")
    run = await repo.until_seen(issue, lambda run: run.foreseen)
    assert run.state is State.RUNNING
    await repo.person("writer").comment(issue, "/cancel")
    await repo.until(issue, State.CANCELLED)
    assert "merge queue" in " ".join(run.notes)
    assert "`main` asks for 1 approving review on GitHub" in " ".join(run.notes)


async def test_a_red_base_is_asked_about_and_worked_on_when_people_want_it(world: World) -> None:
    repo = await world.repository(SLOW)
    main = repo.git("rev-parse", "main")
    await repo.person("writer").post(f"/statuses/{main}", {"state": "failure", "context": "ci"})
    issue, status = await asked(repo)
    assert "`main` is red already: `ci`." in status
    assert "`/resume` works on it all the same" in status
    await repo.person("writer").comment(issue, "/resume --agent quick")
    await repo.until(issue, State.AWAITING_REVIEW)


async def test_where_the_configuration_says_so_a_red_base_is_only_told(world: World) -> None:
    repo = await world.repository({**SLOW, "preflight": {"red_base": "tell"}})
    main = repo.git("rev-parse", "main")
    await repo.person("writer").post(f"/statuses/{main}", {"state": "failure", "context": "ci"})
    writer = repo.person("writer")
    issue = await writer.issue("Something")
    await writer.comment(issue, "/orchestrate add a note")
    run = await repo.until_seen(issue, lambda run: run.foreseen)
    assert run.state is State.RUNNING
    assert run.notes == ("`main` is red already: `ci`.",)
    await writer.comment(issue, "/cancel")
    await repo.until(issue, State.CANCELLED)


async def test_a_request_for_what_agents_may_not_change_is_asked_about(world: World) -> None:
    repo = await world.repository(SLOW, {".github/workflows/ci.yml": "on: push\n"})
    _, status = await asked(repo, "mend .github/workflows/ci.yml, and/or notes.txt")
    named = "The request names `.github/workflows/ci.yml`, which agents may not change here."
    assert named in status


async def test_a_base_that_takes_signed_commits_only_is_said_at_once(world: World) -> None:
    repo = await world.repository({**SLOW, "commits": "git"})
    await repo.rules({"type": "required_signatures"})
    _, status = await asked(repo)
    assert "`main` takes only signed commits" in status


@contextlib.contextmanager
def only_reading(world: World) -> Iterator[None]:
    """Take the right to write contents away from the App, for a while."""
    installations = world.hub.state.installations
    before = installations[INSTALLATION_ID]
    installations.put(replace(before, permissions={**before.permissions, "contents": "read"}))
    try:
        yield
    finally:
        installations.put(before)


async def test_what_the_app_may_not_do_stops_the_run_until_it_may(world: World) -> None:
    repo = await world.repository(SLOW)
    with only_reading(world):
        issue, status = await asked(repo)
    assert "The App may not do this here: it needs `contents: write`" in status
    await repo.person("writer").comment(issue, "/resume --agent quick")
    await repo.until(issue, State.AWAITING_REVIEW)


async def test_what_was_taken_from_the_app_lately_stops_the_run_all_the_same(world: World) -> None:
    repo = await world.repository(SLOW)
    await repo.started(agent="quick")  # its tokens are good for an hour
    world.server.bot.ports.forge._around.clear()  # type: ignore[attr-defined]
    with only_reading(world):
        _, status = await asked(repo)
    assert "The App may not write `contents`, by which it pushes the branch" in status


async def test_a_rule_that_closes_the_runs_own_branch_stops_it(world: World) -> None:
    repo = await world.repository(SLOW)
    body = {
        "name": "names",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": ["orchestrate/*"], "exclude": []}},
        "rules": [{"type": "creation"}],
    }
    await repo.person("admin").post("/rulesets", body)
    _, status = await asked(repo)
    assert "Rules of the repository close branches such as `orchestrate/…` (`creation`)" in status


async def test_a_plan_that_waits_for_approval_says_what_speaks_against_it(world: World) -> None:
    repo = await world.repository({"commits": "git"})
    await repo.rules({"type": "required_signatures"})
    issue, _ = await repo.started("add a note", plan="")
    await repo.until(issue, lambda run: run.foreseen)
    run = await repo.run(issue)
    assert run.state is State.AWAITING_APPROVAL
    assert "takes only signed commits" in (await repo.status_comments(issue))[0]
