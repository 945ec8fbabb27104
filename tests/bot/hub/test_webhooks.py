"""What is sent, to whom, signed how, and what happens when sending goes wrong."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import httpx
import pytest
from githubkit.webhooks import parse

from bot.hub import As, Hub, seed
from bot.hub.access import Person
from bot.hub.actions import installations
from bot.hub.seed import EVENTS
from tests.bot.hub.world import FILES, REPO, Inbox, World

R = "acme/widgets"


async def test_a_webhook_is_signed_over_its_raw_bytes(world: World) -> None:
    await As(world.hub, "writer").open_issue(R, "Ünïcode")
    await world.hub.settled()
    sent = world.inbox.received[0]
    key = world.credentials.webhook_secret.encode()
    expected = hmac.new(key, sent.body, hashlib.sha256).hexdigest()
    assert sent.headers["x-hub-signature-256"] == f"sha256={expected}"
    assert sent.headers["x-github-event"] == "issues"
    assert sent.headers["user-agent"].startswith("GitHub-Hookshot/")
    assert sent.payload["installation"]["id"] == 1
    assert sent.payload["organization"]["login"] == "acme"
    assert sent.payload["sender"]["login"] == "writer"


async def test_a_conversation_is_told(world: World) -> None:
    writer = As(world.hub, "writer")
    await writer.open_issue(R, "One", labels=["bug"])
    comment = await writer.comment(R, 1, "Hello")
    await writer.edit_comment(R, comment.id, "Hello again")
    await writer.delete_comment(R, comment.id)
    await world.ask("writer", "DELETE", f"{REPO}/issues/1/labels/bug")
    await world.ask("writer", "PATCH", f"{REPO}/issues/1", {"title": "Two"})
    await writer.close(R, 1)
    await world.ask("writer", "PATCH", f"{REPO}/issues/1", {"state": "open"})
    await world.hub.settled()
    assert world.inbox.names == [
        "issues.opened",
        "issues.labeled",
        "issue_comment.created",
        "issue_comment.edited",
        "issue_comment.deleted",
        "issues.unlabeled",
        "issues.edited",
        "issues.closed",
        "issues.reopened",
    ]
    assert world.inbox.last("issue_comment.edited")["changes"]["body"]["from"] == "Hello"
    assert world.inbox.last("issues.labeled")["label"]["name"] == "bug"


async def test_what_the_app_does_is_told_with_a_bot_as_sender(world: World) -> None:
    await world.ask("bot", "POST", f"{REPO}/issues", {"title": "One"})
    await world.hub.settled()
    sender = world.inbox.last("issues.opened")["sender"]
    assert (sender["login"], sender["type"]) == ("orchestrate[bot]", "Bot")


async def test_a_pull_request_is_told_from_its_branch_to_its_merge(world: World) -> None:
    await As(world.hub, "writer").open_issue(R, "One")
    pull = await world.pull(body="Fixes #1")
    number = pull["number"]
    head = await world.commit("topic", "new.txt", "newer\n")
    await world.ask("bot", "POST", f"{REPO}/pulls/{number}/requested_reviewers",
                    {"reviewers": ["maintainer"]})  # fmt: skip
    maintainer = As(world.hub, "maintainer")
    line = {"path": "new.txt", "line": 1, "body": "Nice"}
    await maintainer.review(R, number, "APPROVE", comments=[line])
    await maintainer.merge(R, number, sha=head)
    await world.hub.settled()
    told = [n for n in world.inbox.names if n not in ("check_suite.requested",)]
    assert told == [
        "issues.opened",
        "create",
        "push",
        "push",
        "pull_request.opened",
        "push",
        "pull_request.synchronize",
        "pull_request.review_requested",
        "pull_request_review.submitted",
        "pull_request_review_comment.created",
        "pull_request.closed",
        "issues.closed",
        "push",
    ]
    assert world.inbox.last("pull_request.synchronize")["after"] == head
    assert world.inbox.last("pull_request_review.submitted")["review"]["state"] == "approved"
    closed = world.inbox.last("pull_request.closed")["pull_request"]
    assert (closed["merged"], closed["merged_by"]["login"]) == (True, "maintainer")


async def test_a_pull_request_merged_by_hand_is_closed_as_merged(world: World) -> None:
    pull = await world.pull()
    body = {"sha": pull["head"]["sha"]}
    await world.ask("maintainer", "PATCH", f"{REPO}/git/refs/heads/main", body)
    shown = (await world.ask("bot", "GET", f"{REPO}/pulls/{pull['number']}")).json()
    assert (shown["state"], shown["merged"]) == ("closed", True)


async def test_deleting_the_branch_closes_the_pull_request(world: World) -> None:
    pull = await world.pull()
    await world.ask("writer", "DELETE", f"{REPO}/git/refs/heads/topic")
    await world.hub.settled()
    assert world.inbox.names[-3:] == ["delete", "push", "pull_request.closed"]
    shown = (await world.ask("bot", "GET", f"{REPO}/pulls/{pull['number']}")).json()
    assert (shown["state"], shown["merged"]) == ("closed", False)


async def test_a_button_is_told_to_the_app_when_a_writer_presses_it(world: World) -> None:
    head = await world.branch("topic")
    button = {"label": "Undo", "identifier": "undo", "description": "Take it back"}
    body = {"name": "pytest", "head_sha": head, "conclusion": "success", "actions": [button]}
    run = (await world.ask("bot", "POST", f"{REPO}/check-runs", body)).json()
    door = f"{world.hub.url}/_hub{REPO}/check-runs/{run['id']}"
    for who, wanted, status in (
        ("reader", "undo", 403),
        ("writer", "other", 422),
        ("writer", "undo", 200),
    ):
        answer = await world.ask(who, "POST", f"{door}/press", {"identifier": wanted})
        assert answer.status_code == status
    assert (await world.ask("writer", "POST", f"{door}/rerequest")).status_code == 200
    await world.hub.settled()
    pressed = [n for n in world.inbox.names if n.startswith("check_run.")]
    assert pressed == [
        "check_run.created",
        "check_run.completed",
        "check_run.requested_action",
        "check_run.rerequested",
    ]
    told = world.inbox.last("check_run.requested_action")
    assert told["requested_action"] == {"identifier": "undo"}
    assert "check_suite.completed" in world.inbox.names


async def test_every_payload_parses_as_githubkits_model(world: World) -> None:
    hub = world.hub
    pull = await world.pull(body="Fixes #9", draft=True)
    number = pull["number"]
    writer, maintainer = As(hub, "writer"), As(hub, "maintainer")
    await writer.label(R, number, "bug")
    for name in ("markPullRequestReadyForReview", "convertPullRequestToDraft"):
        given = f'(input: {{pullRequestId: "{pull["node_id"]}"}})'
        query = f"mutation {{ {name}{given} {{ pullRequest {{ id }} }} }}"
        await world.ask("bot", "POST", f"{hub.url}/api/graphql", {"query": query})
    await world.commit("topic", "new.txt", "newer\n")
    await world.ask("bot", "POST", f"{REPO}/pulls/{number}/requested_reviewers",
                    {"reviewers": ["maintainer"]})  # fmt: skip
    await world.ask("writer", "PATCH", f"{REPO}/pulls/{number}", {"title": "Better"})
    line = {"path": "new.txt", "line": 1, "body": "Hm"}
    review = await maintainer.review(R, number, "REQUEST_CHANGES", "No", comments=[line])
    await world.ask("maintainer", "PUT", f"{REPO}/pulls/{number}/reviews/{review.id}/dismissals",
                    {"message": "Done"})  # fmt: skip
    await writer.close(R, number)
    await world.ask("writer", "PATCH", f"{REPO}/pulls/{number}", {"state": "open"})
    await writer.open_issue(R, "One", labels=["bug"])
    comment = await writer.comment(R, number + 1, "Hi")
    await writer.edit_comment(R, comment.id, "Ho")
    await writer.delete_comment(R, comment.id)
    await world.ask("writer", "PATCH", f"{REPO}/issues/{number + 1}", {"body": "More"})
    await world.ask("writer", "PUT", f"{REPO}/issues/{number + 1}/labels", {"labels": []})
    await writer.close(R, number + 1)
    await world.ask("writer", "PATCH", f"{REPO}/issues/{number + 1}", {"state": "open"})
    body = {"name": "x", "head_sha": pull["head"]["sha"], "conclusion": "failure"}
    run = (await world.ask("bot", "POST", f"{REPO}/check-runs", body)).json()
    await writer.rerun(R, run["id"])
    said = {"state": "success", "context": "ci"}
    await world.ask("writer", "POST", f"{REPO}/statuses/{pull['head']['sha']}", said)
    await world.ask("writer", "DELETE", f"{REPO}/git/refs/heads/topic")
    await world.ask("admin", "POST", "/orgs/acme/repos", {"name": "gears"})
    admin = hub.user("admin")
    assert admin is not None
    record = installations.suspend(hub, Person(admin), hub.state.installations[1])
    installations.unsuspend(hub, Person(admin), record)
    await hub.settled()
    for sent in world.inbox.received:
        parse(sent.headers["x-github-event"], sent.body)
    assert {n.split(".")[0] for n in world.inbox.names} >= set(EVENTS)
    assert len(set(world.inbox.names)) > 25


# -- sending --------------------------------------------------------------------------------


async def test_a_failed_delivery_is_logged_and_not_repeated(world: World) -> None:
    world.inbox.status = 500
    await As(world.hub, "writer").open_issue(R, "One")
    await world.hub.settled()
    assert len(world.inbox.received) == 1
    path = "/app/hook/deliveries?status=failure"
    failed = (await world.ask(world.jwt(), "GET", path)).json()
    assert [(d["event"], d["status_code"]) for d in failed] == [("issues", 500)]


async def test_a_redelivery_keeps_its_guid(world: World) -> None:
    world.hub.faults.webhooks("drop")
    await As(world.hub, "writer").open_issue(R, "One")
    await world.hub.settled()
    assert world.inbox.received == []
    lost = (await world.ask(world.jwt(), "GET", "/app/hook/deliveries")).json()[0]
    assert (lost["event"], lost["status_code"]) == ("issues", 0)
    path = f"/app/hook/deliveries/{lost['id']}/attempts"
    assert (await world.ask(world.jwt(), "POST", path)).status_code == 202
    await world.hub.settled()
    assert [r.headers["x-github-delivery"] for r in world.inbox.received] == [lost["guid"]]


async def test_deliveries_are_paged_by_cursor(world: World) -> None:
    for number in range(3):
        await As(world.hub, "writer").open_issue(R, str(number))
    await world.hub.settled()
    seen: list[int] = []
    path: str | None = "/app/hook/deliveries?per_page=2"
    while path:
        answer = await world.ask(world.jwt(), "GET", path)
        seen += [d["id"] for d in answer.json()]
        link = answer.links.get("next")
        path = link["url"] if link else None
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(world.hub.state.deliveries)


@pytest.mark.parametrize("fault", ["duplicate", "delay", "shuffle"])
async def test_deliveries_can_be_doubled_and_late(world: World, fault: str) -> None:
    door = f"{world.hub.url}/_hub/faults"
    body = {"kind": "webhooks", "fault": fault, "event": "issues", "seconds": 0.02}
    assert (await world.ask("reader", "POST", door, body)).status_code == 403
    assert (await world.ask("admin", "POST", door, body)).status_code == 200
    await As(world.hub, "writer").open_issue(R, "One")
    await As(world.hub, "writer").comment(R, 1, "Two")
    await world.hub.settled()
    expected = {
        "duplicate": ["issues.opened", "issues.opened", "issue_comment.created"],
        "delay": ["issue_comment.created", "issues.opened"],
    }
    if fault in expected:
        assert world.inbox.names == expected[fault]
    assert sorted(set(world.inbox.names)) == ["issue_comment.created", "issues.opened"]
    assert len({r.headers["x-github-delivery"] for r in world.inbox.received}) == 2


async def test_what_a_stopped_hub_left_unsent_is_sent_by_the_next(tmp_path: Path) -> None:
    hub = Hub(tmp_path)  # never started: nothing is sent
    await seed(hub, webhook_url="http://bot.test/webhook", files=FILES)
    hub.state.close()
    inbox = Inbox()
    again = Hub(tmp_path, webhook_transport=httpx.ASGITransport(inbox.app))
    await again.start()
    await again.settled()
    await again.stop()
    assert inbox.names == ["installation_repositories.added", "ping", "installation.created"]
