"""The part of GitHub's GraphQL schema that the hub answers, with GitHub's own names and types.

https://docs.github.com/public/fpt/schema.docs.graphql
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object: its type, and the types of its arguments."""

    type: str
    arguments: Mapping[str, str] = field(default_factory=dict)


def _plain(**types: str) -> dict[str, Field]:
    return {name: Field(type) for name, type in types.items()}


def _mutation(name: str) -> Field:
    return Field(f"{name}Payload", {"input": f"{name}Input!"})


_QUEUE = _plain(clientMutationId="String", mergeQueueEntry="MergeQueueEntry")
_PULL = _plain(clientMutationId="String", pullRequest="PullRequest")

OBJECTS: Mapping[str, Mapping[str, Field]] = {
    "Query": {
        "node": Field("Node", {"id": "ID!"}),
        "repository": Field(
            "Repository", {"owner": "String!", "name": "String!", "followRenames": "Boolean"}
        ),
    },
    "Mutation": {
        "convertPullRequestToDraft": _mutation("ConvertPullRequestToDraft"),
        "dequeuePullRequest": _mutation("DequeuePullRequest"),
        "disablePullRequestAutoMerge": _mutation("DisablePullRequestAutoMerge"),
        "enablePullRequestAutoMerge": _mutation("EnablePullRequestAutoMerge"),
        "enqueuePullRequest": _mutation("EnqueuePullRequest"),
        "markPullRequestReadyForReview": _mutation("MarkPullRequestReadyForReview"),
    },
    "ConvertPullRequestToDraftPayload": _PULL,
    "DequeuePullRequestPayload": _QUEUE,
    "DisablePullRequestAutoMergePayload": _PULL,
    "EnablePullRequestAutoMergePayload": _PULL,
    "EnqueuePullRequestPayload": _QUEUE,
    "MarkPullRequestReadyForReviewPayload": _PULL,
    "Node": _plain(id="ID!"),
    "Repository": {
        **_plain(id="ID!", autoMergeAllowed="Boolean!"),
        "mergeQueue": Field("MergeQueue", {"branch": "String"}),
        "ref": Field("Ref", {"qualifiedName": "String!"}),
    },
    "MergeQueue": _plain(id="ID!"),
    "MergeQueueEntry": _plain(id="ID!", position="Int!", state="MergeQueueEntryState!"),
    "Ref": _plain(id="ID!", name="String!", refUpdateRule="RefUpdateRule"),
    "RefUpdateRule": _plain(
        requiredApprovingReviewCount="Int",
        requiredStatusCheckContexts="[String]",
        requiresCodeOwnerReviews="Boolean!",
        requiresLinearHistory="Boolean!",
        requiresSignatures="Boolean!",
        viewerCanPush="Boolean!",
    ),
    "PullRequest": _plain(
        id="ID!",
        number="Int!",
        isDraft="Boolean!",
        isInMergeQueue="Boolean!",
        state="PullRequestState!",
        url="URI!",
        autoMergeRequest="AutoMergeRequest",
        mergeQueueEntry="MergeQueueEntry",
    ),
    "AutoMergeRequest": _plain(commitBody="String", mergeMethod="PullRequestMergeMethod!"),
}
"""Objects, and the interface `Node`, by name."""

KINDS: Mapping[str, tuple[str, ...]] = {"Node": ("PullRequest",)}
"""Which objects an interface may be here."""

_OF_PULL = {"clientMutationId": "String", "pullRequestId": "ID!"}

INPUTS: Mapping[str, Mapping[str, str]] = {
    "ConvertPullRequestToDraftInput": _OF_PULL,
    "DequeuePullRequestInput": {"clientMutationId": "String", "id": "ID!"},
    "DisablePullRequestAutoMergeInput": _OF_PULL,
    "EnablePullRequestAutoMergeInput": {
        **_OF_PULL,
        "authorEmail": "String",
        "commitBody": "String",
        "commitHeadline": "String",
        "expectedHeadOid": "GitObjectID",
        "mergeMethod": "PullRequestMergeMethod",
    },
    "EnqueuePullRequestInput": {**_OF_PULL, "expectedHeadOid": "GitObjectID", "jump": "Boolean"},
    "MarkPullRequestReadyForReviewInput": _OF_PULL,
}

ENUMS: Mapping[str, frozenset[str]] = {
    "MergeQueueEntryState": frozenset(
        {"AWAITING_CHECKS", "LOCKED", "MERGEABLE", "QUEUED", "UNMERGEABLE"}
    ),
    "PullRequestMergeMethod": frozenset({"MERGE", "REBASE", "SQUASH"}),
    "PullRequestState": frozenset({"CLOSED", "MERGED", "OPEN"}),
}


def bare(type: str) -> str:
    """Return the name in a type, without the marks of lists and of what must be there."""
    return type.strip("[]!")
