"""Documents that the hub refuses as GitHub does, and answers with what they select and no more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.hub.graphql_check import problems
from bot.hub.graphql_schema import OBJECTS, bare
from bot.hub.graphql_text import Unreadable, read
from tests.bot.hub.world import World

ENQUEUE = (
    "mutation($id: ID!, $head: GitObjectID) { enqueuePullRequest(input: {pullRequestId: $id,"
    " expectedHeadOid: $head}) { mergeQueueEntry { state } } }"
)
LATER = (
    "mutation($id: ID!, $method: PullRequestMergeMethod!) { enablePullRequestAutoMerge(input:"
    " {pullRequestId: $id, mergeMethod: $method}) { pullRequest { state } } }"
)


def wrong(query: str, variables: dict[str, Any] | None = None) -> list[str]:
    return [each["message"] for each in problems(read(query), variables or {})]


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        (
            ENQUEUE.replace("enqueue", "inqueue"),
            {"id": "PR_1"},
            "Field 'inqueuePullRequest' doesn't exist on type 'Mutation'.",
        ),
        (
            ENQUEUE.replace("expectedHeadOid", "head"),
            {"id": "PR_1"},
            "InputObject 'EnqueuePullRequestInput' doesn't accept argument 'head'",
        ),
        (
            ENQUEUE.replace("pullRequestId", "id"),
            {"id": "PR_1"},
            "InputObject 'EnqueuePullRequestInput' doesn't accept argument 'id'",
        ),
        (
            ENQUEUE.replace("pullRequestId: $id,", ""),
            {"id": "PR_1"},
            "InputObject 'EnqueuePullRequestInput' is missing required arguments: pullRequestId",
        ),
        (
            ENQUEUE.replace("ID!", "String!"),
            {"id": "PR_1"},
            "Type mismatch on variable $id and argument pullRequestId (String! / ID!)",
        ),
        (
            ENQUEUE.replace(", $head: GitObjectID", ""),
            {"id": "PR_1"},
            "Variable $head is used but not declared",
        ),
        (
            ENQUEUE.replace("$id:", "$x: ID, $id:"),
            {"id": "PR_1"},
            "Variable $x is declared by anonymous mutation but not used",
        ),
        (ENQUEUE, {}, "Variable $id of type ID! was provided invalid value"),
        (
            ENQUEUE,
            {"id": "PR_1", "head": "main"},
            "Variable $head of type GitObjectID was provided invalid value",
        ),
        (
            ENQUEUE.replace("{ state }", ""),
            {"id": "PR_1"},
            "Field must have selections (field 'mergeQueueEntry' returns MergeQueueEntry)",
        ),
        (
            ENQUEUE.replace("{ state }", "{ state { name } }"),
            {"id": "PR_1"},
            "Selections can't be made on scalars (field 'state')",
        ),
        (
            LATER,
            {"id": "PR_1", "method": "squash"},
            "Variable $method of type PullRequestMergeMethod! was provided invalid value",
        ),
        (
            LATER.replace(": $method", ": SQUISH"),
            {"id": "PR_1", "method": "SQUASH"},
            "Argument 'mergeMethod' on InputObject 'EnablePullRequestAutoMergeInput' has an invalid"
            " value. Expected type 'PullRequestMergeMethod'.",
        ),
        (
            '{ node(id: "PR_1") { isInMergeQueue } }',
            {},
            "Field 'isInMergeQueue' doesn't exist on type 'Node'.",
        ),
        (
            '{ node(id: "PR_1") { ... on MergeQueue { id } } }',
            {},
            "Fragment on MergeQueue can't be spread inside Node",
        ),
        ("{ node { id } }", {}, "Field 'node' is missing required arguments: id"),
        ("{ viewer { login } }", {}, "Field 'viewer' doesn't exist on type 'Query'."),
    ],
)
def test_a_document_that_github_refuses_is_refused(
    query: str, variables: dict[str, Any], said: str
) -> None:
    assert any(each.startswith(said) for each in wrong(query, variables)), wrong(query, variables)


def test_a_right_document_has_nothing_wrong_with_it() -> None:
    assert wrong(ENQUEUE, {"id": "PR_1", "head": "a" * 40}) == []
    assert wrong(ENQUEUE, {"id": "PR_1"}) == []
    assert wrong(LATER, {"id": "PR_1", "method": "SQUASH"}) == []
    assert wrong('query Q { q: node(id: "PR_1") { ... on PullRequest { state } } } # so', {}) == []


@given(st.text(alphabet='{}()[]!$:=."\\ \n#aq1', max_size=60))
def test_whatever_is_sent_is_read_or_refused_with_its_place(text: str) -> None:
    where = (1, 1)
    try:
        problems(read(f"{{ node {text}"), {})
    except Unreadable as error:
        where = (error.line, error.column)
    assert min(where) >= 1


def test_what_is_nested_without_end_is_refused() -> None:
    with pytest.raises(Unreadable):
        read("{ a " * 10_000)


def test_every_type_that_is_named_is_known() -> None:
    scalars = {"Boolean", "GitObjectID", "ID", "Int", "String", "URI"}
    named = {bare(each.type) for fields in OBJECTS.values() for each in fields.values()}
    enums = {"MergeQueueEntryState", "PullRequestMergeMethod", "PullRequestState"}
    assert named - OBJECTS.keys() - scalars - enums == set()


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
    broken = await ask("{ node(id: }")
    assert broken == {
        "errors": [
            {
                "message": 'Parse error on "}" at [1, 12]',
                "locations": [{"line": 1, "column": 12}],
            }
        ]
    }
