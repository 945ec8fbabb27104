"""The rules of a branch: what they refuse, the merge queue, and merging by itself."""

from __future__ import annotations

from typing import Any

from tests.bot.hub.world import REPO, World

REVIEWED = {
    "type": "pull_request",
    "parameters": {
        "required_approving_review_count": 1,
        "dismiss_stale_reviews_on_push": False,
        "require_code_owner_review": False,
        "require_last_push_approval": False,
        "required_review_thread_resolution": False,
    },
}
QUEUED = {
    "type": "merge_queue",
    "parameters": {
        "check_response_timeout_minutes": 60,
        "grouping_strategy": "ALLGREEN",
        "max_entries_to_build": 5,
        "max_entries_to_merge": 5,
        "merge_method": "MERGE",
        "min_entries_to_merge": 1,
        "min_entries_to_merge_wait_minutes": 5,
    },
}


def checked(*names: str) -> dict[str, Any]:
    named = [{"context": name} for name in names]
    strict = {"strict_required_status_checks_policy": False}
    return {
        "type": "required_status_checks",
        "parameters": {"required_status_checks": named, **strict},
    }


async def lay_down(world: World, *rules: dict[str, Any]) -> None:
    where = {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}
    body = {"name": "r", "enforcement": "active", "conditions": where, "rules": list(rules)}
    made = await world.ask("admin", "POST", f"{REPO}/rulesets", body)
    assert made.status_code == 201, made.text


async def mutate(world: World, name: str, pull: dict[str, Any], **more: Any) -> dict[str, Any]:
    field = "id" if name == "dequeuePullRequest" else "pullRequestId"
    kind = f"{name[0].upper()}{name[1:]}Input"
    query = f"mutation($input: {kind}!) {{ {name}(input: $input) {{ clientMutationId }} }}"
    body = {"query": query, "variables": {"input": {field: pull["node_id"], **more}}}
    answer = await world.ask("bot", "POST", f"{world.hub.url}/api/graphql", body)
    found: dict[str, Any] = answer.json()
    return found


async def merged(world: World, pull: dict[str, Any], method: str = "merge") -> tuple[int, str]:
    body = {"merge_method": method}
    answer = await world.ask("bot", "PUT", f"{REPO}/pulls/{pull['number']}/merge", body)
    return answer.status_code, answer.json()["message"]


async def say(world: World, pull: dict[str, Any], context: str, state: str) -> None:
    path = f"{REPO}/statuses/{pull['head']['sha']}"
    await world.ask("writer", "POST", path, {"context": context, "state": state})


async def test_only_administrators_lay_down_rules(world: World) -> None:
    body = {"name": "r", "enforcement": "active", "rules": []}
    for who in ("maintainer", "bot"):
        assert (await world.ask(who, "POST", f"{REPO}/rulesets", body)).status_code == 403


async def test_a_merge_waits_for_what_the_rules_ask(world: World) -> None:
    await lay_down(world, REVIEWED, checked("ci"), {"type": "required_linear_history"})
    pull = await world.pull()
    status, message = await merged(world, pull)
    assert status == 405
    assert "At least 1 approving review is required" in message
    assert 'Required status check "ci" is expected.' in message
    assert "must not contain merge commits" in message
    await say(world, pull, "ci", "failure")
    assert 'Required status check "ci" is failing.' in (await merged(world, pull))[1]
    await say(world, pull, "ci", "success")
    path = f"{REPO}/pulls/{pull['number']}"
    assert (await world.ask("bot", "GET", path)).json()["mergeable_state"] == "blocked"
    await world.ask("maintainer", "POST", f"{path}/reviews", {"event": "APPROVE"})
    assert (await merged(world, pull, "squash"))[0] == 200


async def test_signed_commits_are_asked_of_all_that_is_merged(world: World) -> None:
    await lay_down(world, {"type": "required_signatures"})
    pull = await world.pull()
    assert "verified signatures" in (await merged(world, pull))[1]


async def test_it_is_merged_by_itself_once_it_is_reviewed(world: World) -> None:
    pull = await world.pull()
    refused = await mutate(world, "enablePullRequestAutoMerge", pull)
    assert "not allowed for this repository" in refused["errors"][0]["message"]
    await world.ask("admin", "PATCH", REPO, {"allow_auto_merge": True})
    refused = await mutate(world, "enablePullRequestAutoMerge", pull)
    assert "clean status" in refused["errors"][0]["message"]
    await lay_down(world, REVIEWED)
    refused = await mutate(world, "enablePullRequestAutoMerge", pull, expectedHeadOid="0" * 40)
    assert "Head branch was modified" in refused["errors"][0]["message"]
    assert "errors" not in await mutate(
        world, "enablePullRequestAutoMerge", pull, mergeMethod="SQUASH"
    )
    path = f"{REPO}/pulls/{pull['number']}"
    assert (await world.ask("bot", "GET", path)).json()["auto_merge"]["merge_method"] == "squash"
    await mutate(world, "disablePullRequestAutoMerge", pull)
    assert (await world.ask("bot", "GET", path)).json()["auto_merge"] is None
    await mutate(world, "enablePullRequestAutoMerge", pull, mergeMethod="SQUASH")
    await world.ask("maintainer", "POST", f"{path}/reviews", {"event": "APPROVE"})
    assert (await world.ask("bot", "GET", path)).json()["merged"] is True


async def test_a_queue_takes_what_meets_the_rules_and_lets_go_of_what_moves(world: World) -> None:
    pull = await world.pull()
    assert (
        "not enabled" in (await mutate(world, "enqueuePullRequest", pull))["errors"][0]["message"]
    )
    await lay_down(world, QUEUED)
    assert "merge queue" in (await merged(world, pull))[1]
    assert "errors" not in await mutate(world, "enqueuePullRequest", pull)
    assert "already" in (await mutate(world, "enqueuePullRequest", pull))["errors"][0]["message"]
    await world.commit("topic", "new.txt", "newer\n")
    await mutate(world, "enqueuePullRequest", pull)
    door = f"{world.hub.url}/_hub/{REPO[1:]}/pulls/{pull['number']}/dequeue"
    await world.ask("writer", "POST", door, {"reason": "MERGE"})
    await world.hub.settled()
    assert [n for n in world.inbox.names if "queued" in n] == [
        *("pull_request.enqueued", "pull_request.dequeued") * 2
    ]
    path = f"{REPO}/pulls/{pull['number']}"
    assert (await world.ask("bot", "GET", path)).json()["merged"] is True


async def test_the_older_protection_is_told_to_whoever_may_read(world: World) -> None:
    body = {
        "required_status_checks": {"strict": False, "contexts": ["ci"]},
        "required_pull_request_reviews": {"required_approving_review_count": 2},
        "required_linear_history": True,
        "enforce_admins": None,
        "restrictions": None,
    }
    await world.ask("admin", "PUT", f"{REPO}/branches/main/protection", body)
    await world.ask("admin", "POST", f"{REPO}/branches/main/protection/required_signatures")
    assert (await world.ask("bot", "GET", f"{REPO}/rules/branches/main")).json() == []
    query = """{ repository(owner: "acme", name: "widgets") { autoMergeAllowed mergeQueue { id }
      ref(qualifiedName: "refs/heads/main") { refUpdateRule { requiredApprovingReviewCount
      requiresCodeOwnerReviews requiredStatusCheckContexts requiresLinearHistory
      requiresSignatures viewerCanPush } }
      gone: ref(qualifiedName: "refs/heads/gone") { name } } }"""
    ask = {"query": query}
    found = (await world.ask("bot", "POST", f"{world.hub.url}/api/graphql", ask)).json()
    assert found["data"]["repository"] == {
        "autoMergeAllowed": False,
        "mergeQueue": None,
        "gone": None,
        "ref": {
            "refUpdateRule": {
                "requiredApprovingReviewCount": 2,
                "requiresCodeOwnerReviews": False,
                "requiredStatusCheckContexts": ["ci"],
                "requiresLinearHistory": True,
                "requiresSignatures": True,
                "viewerCanPush": True,
            }
        },
    }
