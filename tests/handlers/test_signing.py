"""Checkpoints that GitHub signs, with the files as the agent left them: asked for, or demanded.

What a crash or a second worker leaves halfway is gone on from, and nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bot.git.repository import Mirror
from bot.git.verify import verify
from bot.runs.model import Run
from bot.runs.transitions import State
from tests.support.world import Repo, World

# Leaves a changed file, a program and a link, and grows each turn.
AGENT = "cat > /dev/null; echo more >> notes.txt; echo ':' > go; chmod +x go; ln -sf go link"
CONFIG: dict[str, Any] = {"commits": "api", "agents": {"writer": {"command": AGENT}}}


async def verified(repo: Repo, sha: str) -> bool:
    shown = await repo.person("reader").get(f"/git/commits/{sha}")
    return bool(shown["verification"]["verified"])


async def test_every_checkpoint_is_verified_and_merged_where_signatures_are_asked_for(
    world: World,
) -> None:
    repo = await world.repository(CONFIG)
    await repo.rules({"type": "required_signatures"})
    issue, run = await repo.started()
    assert run.pull_request
    writer = repo.person("writer")
    await writer.comment(run.pull_request, "/orchestrate once more")
    await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    await writer.comment(run.pull_request, "/rollback 1")
    await repo.until(issue, lambda run: len(run.checkpoints) == 3 and not run.active)
    await writer.write("base.txt", "new\n", branch="main")
    await writer.comment(run.pull_request, "/update")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 4 and not run.active)
    assert [await verified(repo, each.sha) for each in run.checkpoints[:3]] == [True] * 3
    first = run.checkpoints[0]
    assert repo.git("log", "-1", "--format=%T", first.sha) == first.tree
    listed = repo.git("ls-tree", first.sha).splitlines()
    modes = {line.rsplit("\t", 1)[1]: line.split(" ", 1)[0] for line in listed}
    assert (modes["go"], modes["link"], modes["notes.txt"]) == ("100755", "120000", "100644")
    text = repo.git("log", "-1", "--format=%B", first.sha)
    assert f"Orchestrate-Run: {run.id}" in text
    assert repo.git("for-each-ref", "refs/orchestrate-unsigned") == ""
    assert repo.git("rev-parse", run.branch) == run.head


async def test_a_base_that_takes_signed_commits_only_gets_them_unasked(world: World) -> None:
    repo = await world.repository()
    await repo.rules({"type": "required_signatures"})
    issue, run = await repo.started()
    said = "`main` takes only signed commits, so GitHub makes and signs those of this run."
    (status,) = await repo.status_comments(issue)
    assert status.count(said) == 1
    assert await verified(repo, run.head)
    await repo.person("maintainer").comment(issue, f"/approve {run.head}")
    await repo.until(issue, State.DONE)
    # An hour later, what is known of the rules does while they cannot be asked.
    laws = world.server.bot.ports.forge._laws  # type: ignore[attr-defined]
    laws.update({key: (float("-inf"), known) for key, (_, known) in laws.items()})
    world.hub.faults.fail("GET", "*/rules/branches/*", times=None)
    issue, run = await repo.started("add another")
    world.hub.faults.clear()
    assert await verified(repo, run.head)


async def test_a_rule_for_the_runs_own_branch_counts_from_when_it_came(world: World) -> None:
    repo = await world.repository()
    issue, run = await repo.started()
    assert not await verified(repo, run.head)
    where = {"ref_name": {"include": ["orchestrate/*"], "exclude": []}}
    rules = [{"type": "required_signatures"}]
    body = {"name": "ours", "enforcement": "active", "conditions": where, "rules": rules}
    await repo.person("admin").post("/rulesets", body)
    # As a minute later.
    world.server.bot.ports.forge._laws.clear()  # type: ignore[attr-defined]
    await repo.person("writer").comment(run.pull_request or 0, "/orchestrate once more")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert [await verified(repo, each.sha) for each in run.checkpoints] == [False, True]
    (status,) = await repo.status_comments(issue)
    assert "`orchestrate/…` takes only signed commits" in status
    assert "from here on; 1 checkpoint before is not signed." in status


async def test_what_a_person_pushed_meanwhile_is_not_overwritten(world: World) -> None:
    repo = await world.repository(CONFIG)
    issue, run = await repo.started()
    writer = repo.person("writer")
    world.hub.faults.webhooks("drop", "push")
    world.hub.faults.webhooks("drop", "pull_request")
    theirs = await writer.write("mine.txt", "mine\n", branch=run.branch)
    await writer.comment(run.pull_request or 0, "/orchestrate once more")
    run = await repo.until(issue, State.PAUSED)
    assert repo.git("rev-parse", run.branch) == theirs


def once_each(repo: Repo, run: Run) -> None:
    """Each checkpoint is one commit of the branch, of the tree that was judged, and on record."""
    listed = repo.git("log", "--reverse", "--format=%H %T", f"{run.base_sha}..{run.branch}")
    assert listed.splitlines() == [f"{each.sha} {each.tree}" for each in run.checkpoints]
    assert repo.git("for-each-ref", "refs/orchestrate-unsigned") == ""
    assert verify(Mirror(repo.git_dir), run.id, f"refs/orchestrate/{run.id}") == []


async def test_a_crash_on_either_side_of_the_branchs_move_doubles_nothing(world: World) -> None:
    """GitHub did what was asked, and nobody heard of it: the next try begins anew."""
    repo = await world.repository(CONFIG)
    faults = world.hub.faults
    faults.fail("POST", "*/git/commits", after=True)
    faults.fail("POST", "*/git/refs", after=True)
    issue, run = await repo.started()
    faults.fail("POST", "*/git/commits", after=True)
    faults.fail("PATCH", "*/git/refs/*", status=409)
    faults.fail("PATCH", "*/git/refs/*", after=True)
    await repo.person("writer").comment(run.pull_request or 0, "/orchestrate once more")
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW
    assert not faults._rules  # all of them came
    assert [await verified(repo, each.sha) for each in run.checkpoints] == [True, True]
    once_each(repo, run)


async def test_a_push_on_top_of_what_was_not_yet_recorded_is_adopted_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The branch was moved, then a person pushed, then we heard of neither."""
    repo = await world.repository(CONFIG)
    forge = world.server.bot.ports.forge
    sign, pushed = forge.sign, []

    async def and_push(run: Run, tree: str, parents: Sequence[str], text: str) -> bool:
        asked = await sign(run, tree, parents, text)
        person = repo.person("writer")
        pushed.append(await person.write("mine.txt", "mine\n", branch=run.branch))
        return asked

    with monkeypatch.context() as patched:
        patched.setattr(forge, "sign", and_push)
        issue, run = await repo.started()
    assert run.state is State.PAUSED
    await repo.person("writer").comment(issue, "/resume")
    run = await repo.until(issue, State.AWAITING_REVIEW)
    assert [each.kind for each in run.checkpoints] == ["agent", "human"]
    assert run.head == pushed[0]
    once_each(repo, run)


@pytest.mark.parametrize("first", ["the one that took over", "the zombie"])
async def test_two_workers_that_sign_the_same_checkpoint_make_one_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Both looked, saw nothing on the branch, and had a commit made; one of them moves it."""
    repo = await world.repository(CONFIG)
    forge = world.server.bot.ports.forge
    sign, late = forge.sign, []

    async def beside_another(run: Run, tree: str, parents: Sequence[str], text: str) -> bool:
        if first == "the zombie":
            assert await sign(run, tree, parents, text)
            return await sign(run, tree, parents, text)
        late.append((run, tree, parents, text))
        return await sign(run, tree, parents, text)

    with monkeypatch.context() as patched:
        patched.setattr(forge, "sign", beside_another)
        issue, run = await repo.started()
        await repo.person("writer").comment(run.pull_request or 0, "/orchestrate once more")
        run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.state is State.AWAITING_REVIEW
    # The zombie wakes when all is over, and moves nothing.
    assert [await sign(*each) for each in late] == [False] * len(late)
    await world.settled()
    assert (await repo.run(issue)).state is State.AWAITING_REVIEW
    once_each(repo, run)
