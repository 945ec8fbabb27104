"""Webhooks that name a repository of another installation than the one that they claim.

They are signed, as those are that come late after a transfer: what they say of who has a repository
is believed as far as GitHub confirms it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from bot.hub.records import Delivery
from bot.hub.webhooks import signed_headers
from bot.runs.model import Run
from bot.runs.transitions import State
from tests.handlers.test_strangers import fork_of
from tests.support.world import Repo, World

OTHER = 77
"""The number of an installation of `outsider`'s."""


@asynccontextmanager
async def other_installation(world: World) -> AsyncIterator[None]:
    """The App is installed by `outsider` as well, on what is theirs."""
    state, outsider = world.hub.state, world.hub.user("outsider")
    assert outsider is not None
    first = state.installations[world.credentials.installation_id]
    state.installations.put(replace(first, id=OTHER, account_id=outsider.id))
    try:
        yield
    finally:
        await world.settled()
        state.installations.drop(OTHER)


def last(world: World, event: str, action: str) -> dict[str, Any]:
    """What GitHub told last of such an event."""
    told = [d for d in world.hub.state.deliveries if (d.event, d.action) == (event, action)]
    return dict(json.loads(told[-1].payload))


async def send(world: World, event: str, payload: dict[str, Any]) -> None:
    """Send a webhook with GitHub's own signature, and wait until all that comes of it is done."""
    app = next(iter(world.hub.state.apps))
    given = dict.fromkeys(("id", "app_id", "installation_id", "repository_id"), 1)
    sent: dict[str, Any] = {**given, "guid": str(uuid.uuid4()), "event": event, "payload": ""}
    known = next(iter(world.hub.state.deliveries))
    delivery = Delivery(**sent, action=payload.get("action"), created_at=known.created_at)
    body = json.dumps(payload).encode()
    headers = signed_headers(app, delivery, body)
    answer = await world.client.post(app.webhook_url, content=body, headers=headers)
    assert answer.status_code == 202
    await world.settled()


def tokens(world: World) -> dict[int, frozenset[int] | None]:
    """The tokens made for the other installation, each with its repositories; None is all."""
    return {t.id: t.repository_ids for t in world.hub.state.tokens if t.installation_id == OTHER}


async def named(world: World, repo: Repo) -> tuple[str, int]:
    known = await world.server.bot.store.repository(repo.id)
    assert known is not None
    return known.full_name, known.installation


KINDS = ("comment", "closed", "push", "button", "renamed", "added", "deleted")


async def test_who_claims_anothers_repository_gets_nothing_of_it(world: World) -> None:
    repo = await world.repository()
    issue, run = await repo.started()
    number = run.pull_request or 0
    before = await named(world, repo)
    await repo.person("reader").comment(number, "hello")
    await world.settled()
    said = last(world, "issue_comment", "created")
    async with other_installation(world):
        known = tokens(world)
        for kind in KINDS:
            event, forged = claims(kind, run, said)
            await send(world, event, {**forged, "installation": {"id": OTHER}})
            assert tokens(world) == known, kind
            assert await named(world, repo) == before, kind
            after = await repo.run(issue)
            assert (after.state, after.head) == (State.AWAITING_REVIEW, run.head), kind
            assert after.repository.installation == world.credentials.installation_id, kind
            pull = await repo.pull(number)
            assert (pull["state"], pull["merged"]) == ("open", False), kind
    # And it goes on as it would have.
    await repo.person("maintainer").comment(number, f"/approve {run.head[:9]}")
    await repo.until(issue, State.DONE)


def claims(kind: str, run: Run, said: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Make a webhook of another event out of a comment's; what it says happened, did not."""
    repository, outsider = said["repository"], {"login": "outsider", "type": "User"}
    head = {"sha": run.head, "ref": run.branch, "repo": repository}
    pull = {"number": run.pull_request, "head": head, "base": {"ref": "main"}, "merged": True,
            "merge_commit_sha": run.head, "user": outsider}  # fmt: skip
    whole = {"repository": repository, "sender": outsider}
    check = {"id": 1, "external_id": f"{run.id}:1:0:notes", "name": "x", "head_sha": run.head}
    brief = {key: repository[key] for key in ("id", "name", "full_name")}
    match kind:
        case "comment":
            comment = {**said["comment"], "body": f"/approve {run.head}", "user": outsider}
            return "issue_comment", {**said, **whole, "comment": comment}
        case "closed":
            return "pull_request", {**whole, "action": "closed", "pull_request": pull}
        case "push":
            ref = f"refs/heads/{run.branch}"
            return "push", {**whole, "ref": ref, "before": run.head, "after": run.base_sha}
        case "button":
            action = {"identifier": "approve"}
            more = {"action": "requested_action", "requested_action": action, "check_run": check}
            return "check_run", {**whole, **more}
        case "renamed":
            changes = {"repository": {"name": {"from": "old"}}}
            return "repository", {**whole, "action": "renamed", "changes": changes}
        case "added":
            came: dict[str, Any] = {"action": "added", "repositories_added": [brief]}
            return "installation_repositories", {"sender": outsider, **came}
        case _:
            left: dict[str, Any] = {"action": "deleted", "repositories": [brief]}
            return "installation", {"sender": outsider, **left}


async def test_a_check_run_of_theirs_that_names_anothers_run_presses_nothing(world: World) -> None:
    repo = await world.repository()
    issue, run = await repo.started()
    fork = await fork_of(repo)
    async with other_installation(world):
        for name in ("approve", "cancel", "undo"):
            await repo.person("reader").comment(issue, "hello")
            await world.settled()
            event, pressed = claims("button", run, last(world, "issue_comment", "created"))
            theirs = {"id": fork.id, "name": fork.name.split("/")[1], "default_branch": "main"}
            where = {**theirs, "owner": {"login": "outsider"}, "full_name": fork.name}
            pressed |= {"repository": where, "requested_action": {"identifier": name}}
            await send(world, event, {**pressed, "installation": {"id": OTHER}})
        after = await repo.run(issue)
    assert (after.state, after.head, after.approvals) == (State.AWAITING_REVIEW, run.head, ())
