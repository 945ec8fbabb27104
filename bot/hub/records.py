"""What the hub remembers: one frozen record a thing, each with a stable numeric id.

Records are values: to change one, `replace` it and `put` the new one into its table. What is
derived (mergeability, counts, associations, URLs) is not here; `render` makes it when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Role = Literal["none", "read", "triage", "write", "maintain", "admin"]
ROLES: tuple[Role, ...] = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass(frozen=True, slots=True)
class User:
    """A person, a bot or an organisation."""

    id: int
    login: str
    kind: Literal["User", "Bot", "Organization"]
    name: str
    email: str
    created_at: datetime
    members: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Team:
    """A team of an organisation."""

    id: int
    organisation_id: int
    slug: str
    members: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App: its public key proves its JSON Web Tokens, its bot user signs what it does."""

    id: int
    slug: str
    name: str
    owner_id: int
    bot_id: int
    public_key: str
    webhook_url: str
    webhook_secret: str
    permissions: Mapping[str, str]
    events: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Installation:
    """An App on an account; `repository_ids` None means all of its repositories, new ones too."""

    id: int
    app_id: int
    account_id: int
    permissions: Mapping[str, str]
    events: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    repository_ids: frozenset[int] | None = None
    suspended_at: datetime | None = None
    suspended_by_id: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """An installation token; only its SHA-256 is kept."""

    id: int
    digest: str
    installation_id: int
    permissions: Mapping[str, str]
    repository_ids: frozenset[int] | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository; `roles` says what each user (by id) may do beside reading a public one.

    `fork_of` is the repository that it was forked from.
    """

    id: int
    owner_id: int
    name: str
    private: bool
    default_branch: str
    description: str
    roles: Mapping[int, Role]
    created_at: datetime
    updated_at: datetime
    pushed_at: datetime
    auto_merge: bool = False
    fork_of: int | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a repository."""

    id: int
    repo_id: int
    name: str
    color: str
    description: str


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue, or the conversation of a pull request (then there is a `Pull` of this number)."""

    id: int
    repo_id: int
    number: int
    is_pull: bool
    title: str
    body: str | None
    author_id: int
    app_id: int | None
    created_at: datetime
    updated_at: datetime
    state: Literal["open", "closed"] = "open"
    state_reason: str | None = None
    labels: tuple[str, ...] = ()
    assignee_ids: tuple[int, ...] = ()
    closed_at: datetime | None = None
    closed_by_id: int | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on an issue or on a pull request's conversation."""

    id: int
    repo_id: int
    number: int
    author_id: int
    app_id: int | None
    body: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Reaction:
    """One user's reaction to an issue, a comment or a review comment."""

    id: int
    repo_id: int
    subject: Literal["issue", "comment", "review_comment"]
    subject_id: int
    author_id: int
    content: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Pull:
    """What a pull request has beside its conversation; shas move when its branches are pushed.

    With `auto_method` it is merged in that way, for `auto_by_id`, once the base's rules allow it,
    by a commit of `auto_title` and `auto_body` where they are given;
    with `queued_by_id` it stands in the merge queue. `head_repo_id` is the fork that the head is
    in, which may have been deleted; None where it is in the repository itself.
    """

    id: int
    repo_id: int
    number: int
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    draft: bool = False
    reviewer_ids: tuple[int, ...] = ()
    merged_at: datetime | None = None
    merged_by_id: int | None = None
    merge_commit_sha: str | None = None
    maintainer_can_modify: bool = False
    auto_method: str | None = None
    auto_title: str | None = None
    auto_body: str | None = None
    auto_by_id: int | None = None
    queued_by_id: int | None = None
    head_repo_id: int | None = None

    @property
    def head_home(self) -> int:
        """The number of the repository that the head's branch is in."""
        return self.repo_id if self.head_repo_id is None else self.head_repo_id


@dataclass(frozen=True, slots=True)
class Review:
    """A review; `PENDING` ones are seen by their author alone."""

    id: int
    repo_id: int
    number: int
    author_id: int
    app_id: int | None
    state: Literal["PENDING", "COMMENTED", "APPROVED", "CHANGES_REQUESTED", "DISMISSED"]
    body: str
    commit_id: str
    submitted_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReviewComment:
    """A comment on a line of the difference; replies name the thread's first comment."""

    id: int
    repo_id: int
    number: int
    review_id: int
    author_id: int
    app_id: int | None
    body: str
    path: str
    commit_id: str
    original_commit_id: str
    diff_hunk: str
    line: int | None
    side: Literal["LEFT", "RIGHT"]
    start_line: int | None
    start_side: Literal["LEFT", "RIGHT"] | None
    subject_type: Literal["line", "file"]
    in_reply_to_id: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class CheckSuite:
    """All check runs of one App on one commit; its status and conclusion follow from them."""

    id: int
    repo_id: int
    app_id: int
    head_sha: str
    head_branch: str | None
    before: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class CheckRun:
    """A check run with its output, its annotations and the buttons it offers."""

    id: int
    repo_id: int
    suite_id: int
    app_id: int
    name: str
    head_sha: str
    status: str
    conclusion: str | None
    started_at: datetime | None
    completed_at: datetime | None
    external_id: str | None
    details_url: str | None
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations: tuple[Mapping[str, Any], ...] = ()
    actions: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """What somebody says of a commit under a name, its `context`; the newest one counts."""

    id: int
    repo_id: int
    sha: str
    context: str
    state: str
    description: str | None
    target_url: str | None
    creator_id: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Labelling:
    """Somebody set a label on an issue, or took it away."""

    id: int
    repo_id: int
    number: int
    actor_id: int
    name: str
    is_set: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Activity:
    """Somebody moved a branch, by a push, the API or a merge; all zeros where it was not there."""

    id: int
    repo_id: int
    ref: str
    before: str
    after: str
    actor_id: int
    is_merge: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Rules of branches, each as GitHub writes it: `{"type": …, "parameters": {…}}`.

    `branches` are names, globs, `~DEFAULT_BRANCH` or `~ALL`. A `classic` one is the protection of
    one branch, which GitHub tells in other words and only to administrators.
    """

    id: int
    repo_id: int
    name: str
    branches: tuple[str, ...]
    rules: tuple[Mapping[str, Any], ...]
    created_at: datetime
    classic: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to send a webhook; attempts of the same event share `guid`.

    `status_code` is 0 where nobody answered, and None while it has not been sent.
    """

    id: int
    app_id: int
    installation_id: int | None
    repository_id: int | None
    guid: str
    event: str
    action: str | None
    payload: str
    created_at: datetime
    redelivery: bool = False
    status: str = "pending"
    status_code: int | None = None
    delivered_at: datetime | None = None
    duration: float = 0.0
    request_headers: Mapping[str, str] = field(default_factory=dict)
    response_headers: Mapping[str, str] = field(default_factory=dict)
    response_body: str = ""


@dataclass(frozen=True, slots=True)
class VerifiedCommit:
    """A commit that the App made through the API in its own name, which GitHub signs."""

    id: int
    repo_id: int
    sha: str
