"""Deliveries come late, twice and in any order; what they end in is the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bot.hub.records import Delivery
from bot.hub.webhooks import signed_headers
from bot.runs.transitions import State
from tests.support.world import Repo, World

ORDERS = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""Each order is a run of its own, so a few of them; the same ones each time."""


def held_back(repo: Repo, after: int = 0) -> list[Delivery]:
    """What the hub would have sent about a repository since its delivery `after`."""
    told = repo.world.hub.state.deliveries
    return [each for each in told if each.repository_id == repo.id and each.id > after]


def last_id(repo: Repo) -> int:
    return max((each.id for each in held_back(repo)), default=0)


async def deliver(world: World, deliveries: Sequence[Delivery]) -> None:
    """Send webhooks in this order, each obeyed before the next comes."""
    for each in deliveries:
        app = world.hub.state.apps[each.app_id]
        body = each.payload.encode()
        answer = await world.client.post(
            app.webhook_url, content=body, headers=signed_headers(app, each, body)
        )
        assert answer.status_code == 202
        await world.settled()


@ORDERS
@given(order=st.permutations(range(5)), twice=st.integers(0, 4))
async def test_commands_are_obeyed_in_the_order_in_which_they_were_given(
    world: World, order: list[int], twice: int
) -> None:
    repo = await world.repository()
    issue, run = await repo.started()
    writer, maintainer = repo.person("writer"), repo.person("maintainer")
    pull, before = run.pull_request or 0, last_id(repo)
    world.hub.faults.webhooks("drop", times=None)
    try:
        await writer.comment(pull, "/pause")
        await maintainer.comment(pull, "/orchestrate more")
        await writer.comment(pull, "/resume")
        await writer.comment(pull, "/status")
        await writer.comment(pull, "/rollback 9")
        await world.hub.settled()
    finally:
        world.hub.faults.clear()
    held = [each for each in held_back(repo, before) if each.event == "issue_comment"]
    assert len(held) == 5
    await deliver(world, [held[number] for number in [*order, twice]])

    run = await repo.run(issue)
    assert (run.state, run.turns, len(run.checkpoints)) == (State.AWAITING_REVIEW, 1, 1)
    refused, status, unknown = await repo.replies(pull)
    assert "paused" in refused
    assert "is awaiting review" in status
    assert "There is no checkpoint `9`" in unknown


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_a_review_counts_before_what_was_said_after_it(
    world: World, order: tuple[int, ...]
) -> None:
    repo = await world.repository()
    issue, run = await repo.started()
    pull, before = run.pull_request or 0, last_id(repo)
    world.hub.faults.webhooks("drop", times=None)
    await repo.person("writer").comment(pull, "/pause")
    await repo.person("maintainer").comment(pull, "/resume")
    await world.hub.settled()
    await repo.person("maintainer").review(pull, "APPROVE")
    await world.hub.settled()
    world.hub.faults.clear()
    events = ("issue_comment", "pull_request_review")
    held = [each for each in held_back(repo, before) if each.event in events]
    assert len(held) == 3
    await deliver(world, [held[number] for number in order])
    run = await repo.until(issue, State.DONE)
    assert await repo.replies(pull) == []


async def test_a_push_that_is_told_late_is_no_second_one(repo: Repo) -> None:
    world = repo.world
    issue, run = await repo.started()
    before, writer = last_id(repo), repo.person("writer")
    world.hub.faults.webhooks("drop", times=None)
    await writer.write("mine.txt", "one\n", branch=run.branch)
    theirs = await writer.write("mine.txt", "two\n", branch=run.branch)
    await world.hub.settled()
    world.hub.faults.clear()
    first, second = [each for each in held_back(repo, before) if each.event == "push"]
    await deliver(world, [second])
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.head == theirs
    segments = run.segment
    await deliver(world, [first, second, first])
    run = await repo.run(issue)
    assert (run.state, run.head, run.segment) == (State.AWAITING_REVIEW, theirs, segments)


async def test_of_two_pushes_the_first_told_brings_the_branch_as_it_is(repo: Repo) -> None:
    world = repo.world
    issue, run = await repo.started()
    before, writer = last_id(repo), repo.person("writer")
    world.hub.faults.webhooks("drop", times=None)
    await writer.write("mine.txt", "one\n", branch=run.branch)
    theirs = await writer.write("mine.txt", "two\n", branch=run.branch)
    await world.hub.settled()
    world.hub.faults.clear()
    first, second = [each for each in held_back(repo, before) if each.event == "push"]
    await deliver(world, [first])
    run = await repo.until(issue, lambda run: len(run.checkpoints) == 2 and not run.active)
    assert run.head == theirs
    await deliver(world, [second])
    run = await repo.run(issue)
    assert (run.state, run.head, len(run.checkpoints)) == (State.AWAITING_REVIEW, theirs, 2)


async def test_a_delivery_that_comes_late_does_not_bring_an_old_name_back(repo: Repo) -> None:
    issue, run = await repo.started()
    store, before = repo.world.server.bot.store, last_id(repo)
    repo.world.hub.faults.webhooks("drop", times=None)
    await repo.person("writer").comment(run.pull_request or 0, "/status")
    await repo.world.hub.settled()
    repo.world.hub.faults.clear()
    (told,) = [each for each in held_back(repo, before) if each.event == "issue_comment"]
    named, short = repo.name, repo.name.partition("/")[2]
    renamed = {"action": "renamed", "changes": {"repository": {"name": {"from": "older"}}}}
    payload = json.loads(told.payload.replace(named, "acme/old").replace(f'"{short}"', '"old"'))
    late = [
        replace(told, guid="late-name", payload=json.dumps(payload)),
        replace(
            told, guid="late-rename", event="repository", payload=json.dumps(payload | renamed)
        ),
    ]
    await deliver(repo.world, late)
    known = await store.repository(repo.id)
    assert known is not None
    assert known.full_name == named
    assert len(await repo.replies(run.pull_request or 0)) == 1
    assert (await repo.run(issue)).repository.full_name == named
