"""Documents that the hub refuses as GitHub does, and answers with what they select and no more."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import parse, validate

from bot.hub.graphql import schema
from tests.bot.hub.world import World

ENQUEUE = (
    "mutation($id: ID!, $head: GitObjectID) { enqueuePullRequest(input: {pullRequestId: $id,"
    " expectedHeadOid: $head}) { mergeQueueEntry { state } } }"
)
LATER = (
    "mutation($id: ID!, $method: PullRequestMergeMethod!) { enablePullRequestAutoMerge(input:"
    " {pullRequestId: $id, mergeMethod: $method}) { pullRequest { state } } }"
)


def wrong(query: str) -> list[str]:
    return [each.message for each in validate(schema(), parse(query))]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            ENQUEUE.replace("enqueue", "inqueue"),
            "Cannot query field 'inqueuePullRequest' on type 'Mutation'.",
        ),
        (
            ENQUEUE.replace("expectedHeadOid", "head"),
            "Expected value of type 'EnqueuePullRequestInput' not to include unknown field 'head'",
        ),
        (
            ENQUEUE.replace("pullRequestId: $id,", ""),
            "Expected value of type 'EnqueuePullRequestInput' to include required field 'pullRequ",
        ),
        (
            ENQUEUE.replace("ID!", "String!"),
            "Variable '$id' of type 'String!' used in position expecting type 'ID!'.",
        ),
        (ENQUEUE.replace("{ state }", ""), "Field 'mergeQueueEntry' of type 'MergeQueueEntry' mu"),
        (
            LATER.replace(": $method", ": SQUISH"),
            "Value 'SQUISH' does not exist in 'PullRequestMergeMethod' enum.",
        ),
        (
            '{ node(id: "PR_1") { isInMergeQueue } }',
            "Cannot query field 'isInMergeQueue' on type 'Node'.",
        ),
        ("{ viewer { login } }", "Cannot query field 'viewer' on type 'Query'."),
    ],
)
def test_a_document_that_github_refuses_is_refused(query: str, said: str) -> None:
    assert any(each.startswith(said) for each in wrong(query)), wrong(query)


@pytest.mark.parametrize(
    "query", [ENQUEUE, LATER, 'query Q { q: node(id: "PR_1") { ... on PullRequest { state } } }']
)
def test_a_right_document_has_nothing_wrong_with_it(query: str) -> None:
    assert wrong(query) == []


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        (ENQUEUE, {}, "'$id'"),
        (ENQUEUE, {"id": "PR_1", "head": "main"}, "'main' is no id of a git object."),
        (LATER, {"id": "PR_1", "method": "squash"}, "does not exist in 'PullRequestMergeMethod'"),
        ("{ node(id: }", {}, "Syntax Error"),
        ("{ a " * 10_000, {}, "Syntax Error"),
        ("", {}, "Syntax Error"),
    ],
)
async def test_what_cannot_be_carried_out_changes_nothing_and_says_why(
    world: World, query: str, variables: dict[str, Any], said: str
) -> None:
    body = {"query": query, "variables": variables}
    answer = await world.ask("bot", "POST", f"{world.hub.url}/api/graphql", body)
    found = answer.json()
    assert answer.status_code == 200
    assert not any((found.get("data") or {}).values())
    assert said in found["errors"][0]["message"], found


async def test_what_is_selected_is_answered_and_what_is_refused_says_where(world: World) -> None:
    pull = await world.pull(draft=True)
    address = f"{world.hub.url}/api/graphql"

    async def ask(query: str, **variables: Any) -> dict[str, Any]:
        body = {"query": query, "variables": variables}
        found: dict[str, Any] = (await world.ask("bot", "POST", address, body)).json()
        return found

    node = "query($id: ID!) { node(id: $id) { __typename ... on PullRequest { state isDraft } } }"
    assert await ask(node, id=pull["node_id"]) == {
        "data": {"node": {"__typename": "PullRequest", "state": "OPEN", "isDraft": True}}
    }
    gone = await ask(node, id="PR_999999")
    assert gone["data"] == {"node": None}
    (error,) = gone["errors"]
    assert (error["type"], error["path"]) == ("NOT_FOUND", ["node"])
    assert error["locations"] == [{"line": 1, "column": 19}]
    assert error["message"] == "Could not resolve to a node with the global id of 'PR_999999'"
    ready = (
        "mutation($id: ID!) { done: markPullRequestReadyForReview(input: {pullRequestId: $id,"
        ' clientMutationId: "m"}) { clientMutationId pullRequest { isDraft } } }'
    )
    done = await ask(ready, id=pull["node_id"])
    assert done["data"]["done"] == {"clientMutationId": "m", "pullRequest": {"isDraft": False}}
    refused = await ask(ENQUEUE, id=pull["node_id"])
    assert refused["data"] == {"enqueuePullRequest": None}
    assert refused["errors"][0]["type"] == "UNPROCESSABLE"
