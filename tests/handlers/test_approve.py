from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from bot.hub import add_team
from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import CONFIG, Repo, World, yaml_of


async def a_second_later(run: Run) -> None:
    """GitHub's times are whole seconds: wait until the head is of an earlier one."""
    assert run.last
    assert run.last.at
    while datetime.now(UTC).replace(microsecond=0) <= run.last.at:  # noqa: ASYNC110  only time helps
        await asyncio.sleep(0.02)


async def test_a_maintainer_merges_exactly_the_head_that_was_shown(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    await a_second_later(run)
    assert await repo.person("maintainer").says(run.pull_request, "/approve") == []
    run = await repo.until(issue, State.DONE)
    pull = await repo.pull(run.pull_request or 0)
    assert pull["merged"] is True
    assert pull["merge_commit_sha"] == run.merge_sha == repo.git("rev-parse", "main")
    assert repo.git("rev-parse", "main^2") == run.checkpoints[-1].sha
    (status,) = await repo.status_comments(issue)
    assert "Done" in status
    assert (await repo.person("reader").get(f"/issues/{issue}"))["state"] == "closed"
    record = repo.git("log", "--format=%H", f"refs/orchestrate/{run.id}")
    assert run.checkpoints[-1].sha in record


@pytest.mark.parametrize(("login", "why"), [("reader", "maintain"), ("writer", "maintain")])
async def test_who_does_not_maintain_cannot_approve(repo: Repo, login: str, why: str) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    (answer,) = await repo.person(login).says(run.pull_request, "/approve")
    assert why in answer
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW


async def test_whoever_asked_for_the_run_does_not_approve_it(repo: Repo) -> None:
    maintainer = repo.person("maintainer")
    issue = await maintainer.issue("Mine")
    await maintainer.comment(issue, "/orchestrate add a note")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert run.pull_request
    (answer,) = await maintainer.says(run.pull_request, "/approve")
    assert "asked for this change" in answer
    assert await repo.person("admin").says(run.pull_request, f"/approve {run.head}") == []
    await repo.until(issue, State.DONE)


async def test_the_configuration_may_let_the_requester_approve(world: World) -> None:
    config = {"approval": {"requester": "always"}, "commands": {"who": {"approve": "write"}}}
    repo = await world.repository(config)
    issue, run = await repo.started()
    await repo.person("writer").comment(issue, f"/approve {run.head[:7]}")
    await repo.until(issue, State.DONE)


async def test_an_approval_of_another_commit_than_the_head_is_refused(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    await repo.person("writer").comment(run.pull_request, "/orchestrate more")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.pull_request
    maintainer = repo.person("maintainer")
    old = run.checkpoints[0].sha
    (answer,) = await maintainer.says(run.pull_request, f"/approve {old}")
    assert f"`{old[:7]}` is not the head; it is `{run.head[:7]}` now" in answer
    (answer,) = await maintainer.says(run.pull_request, "/approve abc")
    assert "no commit's name" in answer
    body = {"commit_id": old}
    await maintainer.review(run.pull_request, "APPROVE", **body)
    await repo.world.settled()
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW
    assert (await repo.pull(run.pull_request))["merged"] is False


async def test_an_approving_review_of_the_head_counts(repo: Repo) -> None:
    issue, run = await repo.started()
    assert run.pull_request
    await repo.person("maintainer").review(run.pull_request, "APPROVE", "/approve")
    run = await repo.until(issue, State.DONE)
    assert [(each.by, each.how) for each in run.approvals] == [("maintainer", "review")]
    assert await repo.replies(run.pull_request or 0) == []


async def test_an_approval_that_was_written_before_the_head_is_refused(repo: Repo) -> None:
    """The comment is of the past: its webhook comes late, after another head was made."""
    issue, run = await repo.started()
    assert run.pull_request
    hub = repo.world.hub
    hub.faults.webhooks("delay", "issue_comment", seconds=6.0)
    await repo.person("maintainer").comment(run.pull_request, "/approve")
    await repo.person("writer").write("mine.txt", "mine\n", branch=run.branch)
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    await repo.world.settled()
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW
    (answer,) = await repo.replies(run.pull_request or 0)
    assert "after you wrote that" in answer


async def test_nothing_is_approved_before_it_is_ready(world: World) -> None:
    repo = await world.repository({"checks": [{"name": "no", "run": "false"}]})
    _, run = await repo.started()
    assert run.pull_request
    (answer,) = await repo.person("maintainer").says(run.pull_request, "/approve")
    assert "not possible while" in answer
    assert "blocked" in answer


@pytest.mark.parametrize("method", ["squash", "rebase"])
async def test_the_configured_method_merges(world: World, method: str) -> None:
    repo = await world.repository({"merge": {"method": method}})
    issue, run = await repo.started()
    await repo.person("maintainer").comment(issue, f"/approve {run.head[:7]}")
    run = await repo.until(issue, State.DONE)
    assert repo.git("rev-list", "--count", "--merges", "main") == "0"
    assert repo.git("rev-parse", "main^{tree}") == run.tree
    kept = repo.git("merge-base", run.checkpoints[-1].sha, f"refs/orchestrate/{run.id}")
    assert kept == run.checkpoints[-1].sha


async def test_a_conflict_blocks_the_run_and_says_what_to_do(repo: Repo) -> None:
    issue, run = await repo.started()
    await repo.person("admin").write("notes.txt", "otherwise\n", branch="main")
    await repo.person("maintainer").comment(issue, f"/approve {run.head[:7]}")
    run = await repo.until(issue, State.BLOCKED)
    assert "`main` at `" in run.reason
    assert "conflicts with this run in 1 file" in run.reason
    assert "`notes.txt`: both changed the same lines" in run.reason
    assert (await repo.pull(run.pull_request or 0))["merged"] is False


TWO = {"approval": {"required": 2}}


async def approved_once(world: World) -> tuple[Repo, int, Run]:
    """A run that needs two approvals, and has one."""
    repo = await world.repository(TWO)
    issue, run = await repo.started()
    (answer,) = await repo.person("maintainer").says(issue, f"/approve {run.head}")
    assert f"`{run.head[:7]}` is not merged yet. It needs 1 more approval" in answer
    return repo, issue, await repo.run(issue)


async def test_two_people_approve_where_it_takes_two(world: World) -> None:
    repo, issue, run = await approved_once(world)
    (status,) = await repo.status_comments(issue)
    assert "Approved so far by `maintainer`." in status
    # The same person again is not another one.
    (answer,) = await repo.person("maintainer").says(issue, f"/approve {run.head}")
    assert "needs 1 more approval" in answer
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW
    await repo.person("admin").comment(issue, f"/approve {run.head}")
    run = await repo.until(issue, State.DONE)
    assert {each.by for each in run.approvals} == {"maintainer", "admin"}


async def test_a_push_voids_an_approval_and_says_what_changed(world: World) -> None:
    repo, issue, before = await approved_once(world)
    theirs = await repo.person("writer").write("mine.txt", "mine\n", branch=before.branch)
    await repo.until(issue, lambda run: run.head == theirs and not run.active)
    (status,) = await repo.status_comments(issue)
    assert f"`maintainer` approved `{before.head[:7]}`, which does not count" in status
    assert f"/compare/{before.head}...{theirs}" in status
    (answer,) = await repo.person("admin").says(issue, f"/approve {theirs}")
    assert "needs 1 more approval" in answer


async def test_the_same_files_under_another_commit_keep_the_approval(world: World) -> None:
    repo, issue, before = await approved_once(world)
    writer = repo.person("writer")
    body = {"message": "Reworded", "tree": before.tree, "parents": [before.base_sha]}
    theirs = (await writer.post("/git/commits", body))["sha"]
    await writer.patch(f"/git/refs/heads/{before.branch}", {"sha": theirs, "force": True})
    await repo.until(issue, lambda run: run.head == theirs and not run.active)
    (status,) = await repo.status_comments(issue)
    assert "Approved so far by `maintainer`." in status
    await repo.person("admin").comment(issue, f"/approve {theirs}")
    await repo.until(issue, State.DONE)
    assert repo.git("merge-base", theirs, "main") == theirs


async def test_whoever_pushed_since_has_not_approved(world: World) -> None:
    repo, issue, before = await approved_once(world)
    maintainer = repo.person("maintainer")
    body = {"message": "Reworded", "tree": before.tree, "parents": [before.base_sha]}
    theirs = (await maintainer.post("/git/commits", body))["sha"]
    await maintainer.patch(f"/git/refs/heads/{before.branch}", {"sha": theirs, "force": True})
    await repo.until(issue, lambda run: run.head == theirs and not run.active)
    (answer,) = await repo.person("admin").says(issue, f"/approve {theirs}")
    assert "needs 1 more approval" in answer


async def test_another_configuration_voids_an_approval(world: World) -> None:
    repo, issue, run = await approved_once(world)
    config = yaml_of({**CONFIG, **TWO, "merge": {"method": "squash"}})
    await repo.person("admin").write(".github/orchestrate.yml", config, branch="main")
    (answer,) = await repo.person("admin").says(issue, f"/approve {run.head}")
    assert "needs 1 more approval" in answer
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await repo.until(issue, State.DONE)
    assert repo.git("rev-list", "--count", "--merges", "main") == "0"


async def test_two_pull_requests_of_one_head_do_not_share_an_approval(repo: Repo) -> None:
    issue, run = await repo.started()
    writer, main = repo.person("writer"), repo.git("rev-parse", "main")
    await writer.post("/git/refs", {"ref": "refs/heads/other", "sha": main})
    body = {"title": "The same", "head": run.branch, "base": "other"}
    second = (await writer.post("/pulls", body))["number"]
    await repo.person("maintainer").review(second, "APPROVE")
    await repo.world.settled()
    after = await repo.run(issue)
    assert (after.state, after.approvals) == (State.AWAITING_REVIEW, ())


async def test_a_team_and_the_owners_of_what_changed_must_approve(world: World) -> None:
    asked = {"approval": {"required": 2, "teams": ["security"], "code_owners": True}}
    files = {".github/CODEOWNERS": "* @acme/all\nnotes.txt @admin @acme/security\n"}
    repo = await world.repository(asked, files)
    add_team(world.hub, "security", "reader")
    issue, run = await repo.started()
    maintainer, admin = repo.person("maintainer"), repo.person("admin")
    (answer,) = await maintainer.says(issue, f"/approve {run.head}")
    assert "It needs 1 more approval, by people with the maintain role." in answer
    assert "Nobody of the team `@acme/security` approved it yet" in answer
    assert "`notes.txt` needs one of its owners: `@acme/security`, `@admin`" in answer
    (status,) = await repo.status_comments(issue)
    assert "Approved so far by `maintainer`. It needs 1 more approval" in status

    # An owner too, and one more; but still nobody of the team.
    (answer,) = await admin.says(issue, f"/approve {run.head}")
    assert "Nobody of the team `@acme/security` approved it yet" in answer
    assert "owners" not in answer
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW

    # Who is in the team is asked when the last one approves, of everybody who did.
    add_team(world.hub, "security", "maintainer")
    await admin.comment(issue, f"/approve {run.head}")
    await repo.until(issue, State.DONE)


async def test_who_has_lost_the_role_since_has_not_approved(world: World) -> None:
    repo, issue, run = await approved_once(world)
    admin = repo.person("admin")
    await admin.request("PUT", "/collaborators/maintainer", {"permission": "push"})
    (answer,) = await admin.says(issue, f"/approve {run.head}")
    assert "`maintainer` approved, and no longer has the maintain role" in answer
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW


async def test_two_who_approve_at_once_are_two(world: World) -> None:
    repo = await world.repository(TWO)
    issue, run = await repo.started()
    # In two conversations, so that neither waits for the other.
    first = repo.person("maintainer").comment(issue, f"/approve {run.head}")
    second = repo.person("admin").comment(run.pull_request or 0, f"/approve {run.head}")
    await asyncio.gather(first, second)
    run = await repo.until(issue, State.DONE)
    assert {each.by for each in run.approvals} == {"maintainer", "admin"}


async def test_an_author_who_is_alone_decides_and_it_is_told(world: World) -> None:
    repo = await world.repository()
    issue, run = await repo.started()
    maintainer, admin = repo.person("maintainer"), repo.person("admin")
    theirs = await maintainer.write("mine.txt", "mine\n", branch=run.branch)
    await repo.until(issue, lambda run: run.head == theirs and not run.active)
    (answer,) = await maintainer.says(issue, f"/approve {theirs}")
    assert "is an author of this change" in answer
    theirs = await admin.write("mine.txt", "more\n", branch=run.branch)
    await repo.until(issue, lambda run: run.head == theirs and not run.active)
    await maintainer.comment(issue, f"/approve {theirs}")
    run = await repo.until(issue, State.DONE)
    assert "decides alone because nobody else here has the role" in run.approvals[-1].reason
