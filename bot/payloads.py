"""What we read of GitHub's webhooks, in our own words: a few fields of the few events we act on.

`parse` makes an `Arrival` of an event's name and its JSON, or None when there is nothing in it for
us. GitHub adds events, actions and fields at any time, so what is unknown is ignored. An edited or
deleted comment is ignored as well: it commands nothing.

Field names and types are those of GitHub's "Webhook events and payloads" reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import structlog
from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import SchemaValidator, core_schema, from_json

from bot.events import GHOST

log = structlog.get_logger()

PATHS_MAX = 1_000
"""Changed paths kept of a push: enough to see whether the configuration is among them; a push of
more says `paths_cut`, and is looked at in git instead."""

COMMITS_MAX = 2_048
"""Commits that GitHub lists of one push."""


def _bot(type_: object) -> bool:
    return type_ == "Bot"


def _text(value: object) -> object:
    return "" if value is None else value


def _login(value: object) -> object:
    return GHOST if value is None else value


def _names(labels: object) -> object:
    if not isinstance(labels, Iterable):
        return ()
    return tuple(each["name"] for each in labels if isinstance(each, Mapping) and "name" in each)


def _at(*path: str) -> Any:
    """Read a field from this place of the payload; it must be there."""
    return Field(validation_alias=AliasPath(path[0], *path[1:]))


def _at_or(default: Any, *path: str) -> Any:
    """Read a field from this place of the payload, or take `default`."""
    return Field(default, validation_alias=AliasPath(path[0], *path[1:]))


Text = Annotated[str, BeforeValidator(_text)]
"""Text for which GitHub may send null: then it is empty."""

Login = Annotated[str, BeforeValidator(_login)]
"""Somebody's name; `GHOST` for a deleted account."""

IsBot = Annotated[bool, BeforeValidator(_bot)]
"""Whether an account is a program's; read from its `type`."""

Present = Annotated[bool, BeforeValidator(lambda value: value not in (None, False))]
"""Whether GitHub sent an object here."""

Labels = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Names of labels."""


class _Read(BaseModel):
    # By name too, so that programs (tests first) can make one; `parse` reads by place alone.
    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)


class Where(_Read):
    """The repository of an arrival, by GitHub's number, and the installation it came through."""

    repository: int = _at("repository", "id")
    owner: str = _at("repository", "owner", "login")
    name: str = _at("repository", "name")
    installation: int = _at("installation", "id")
    default_branch: str = _at_or("main", "repository", "default_branch")
    clone_url: Text = _at_or("", "repository", "clone_url")
    size: int = _at_or(0, "repository", "size")


class Arrival(_Read):
    """Something that happened on GitHub; `sender` is the login of who did it.

    `delivery` is the GUID of the webhook that told it; empty for what was found by looking, whose
    webhook may have come as well.
    """

    sender: Login = _at_or(GHOST, "sender", "login")
    sender_is_bot: IsBot = _at_or(False, "sender", "type")
    delivery: str = ""


class RepositoryArrival(Arrival):
    """Something that happened in a repository."""

    where: Where


class _OnIssue(RepositoryArrival):
    number: int = _at("issue", "number")
    is_pull: Present = _at_or(False, "issue", "pull_request")
    issue_title: Text = _at_or("", "issue", "title")
    issue_body: Text = _at_or("", "issue", "body")
    issue_author: Login = _at_or(GHOST, "issue", "user", "login")
    issue_author_is_bot: IsBot = _at_or(False, "issue", "user", "type")
    issue_labels: Labels = _at_or((), "issue", "labels")


class CommentCreated(_OnIssue):
    """Somebody commented on an issue, or in a pull request's conversation.

    `comment` is the comment's id, `number` that of the issue or pull request.
    """

    comment: int = _at("comment", "id")
    body: Text = _at_or("", "comment", "body")
    author: Login = _at_or(GHOST, "comment", "user", "login")
    author_is_bot: IsBot = _at_or(False, "comment", "user", "type")
    created_at: datetime = _at("comment", "created_at")
    url: Text = _at_or("", "comment", "html_url")


class Labeled(_OnIssue):
    """Somebody put `label` on an issue."""

    label: str = _at("label", "name")
    labeled_at: datetime = _at("issue", "updated_at")
    url: Text = _at_or("", "issue", "html_url")


class _OnPull(RepositoryArrival):
    number: int = _at("pull_request", "number")
    pull_title: Text = _at_or("", "pull_request", "title")
    pull_body: Text = _at_or("", "pull_request", "body")
    pull_author: Login = _at_or(GHOST, "pull_request", "user", "login")
    pull_author_is_bot: IsBot = _at_or(False, "pull_request", "user", "type")
    head_sha: str = _at("pull_request", "head", "sha")
    head_ref: str = _at("pull_request", "head", "ref")


class ReviewCommentCreated(_OnPull):
    """Somebody commented on a line of a pull request's diff.

    `comment` is the comment's id; `review` that of the review it belongs to. `line` is None where
    the comment is on a whole file or outdated. `in_reply_to` is the first comment of the thread.
    """

    comment: int = _at("comment", "id")
    review: int | None = _at_or(None, "comment", "pull_request_review_id")
    in_reply_to: int | None = _at_or(None, "comment", "in_reply_to_id")
    path: str = _at("comment", "path")
    line: int | None = _at_or(None, "comment", "line")
    commit_sha: Text = _at_or("", "comment", "commit_id")
    body: Text = _at_or("", "comment", "body")
    author: Login = _at_or(GHOST, "comment", "user", "login")
    author_is_bot: IsBot = _at_or(False, "comment", "user", "type")
    created_at: datetime = _at("comment", "created_at")
    url: Text = _at_or("", "comment", "html_url")


class ReviewSubmitted(_OnPull):
    """Somebody reviewed a pull request.

    `commit_sha` is the head that the reviewer saw; empty when GitHub does not say.
    """

    review: int = _at("review", "id")
    state: Literal["approved", "changes_requested", "commented"] = _at("review", "state")
    body: Text = _at_or("", "review", "body")
    commit_sha: Text = _at_or("", "review", "commit_id")
    author: Login = _at_or(GHOST, "review", "user", "login")
    author_is_bot: IsBot = _at_or(False, "review", "user", "type")
    submitted_at: datetime = _at("review", "submitted_at")
    url: Text = _at_or("", "review", "html_url")


class PullChanged(_OnPull):
    """A pull request was opened, pushed to, closed (perhaps `merged`, as `merge_sha`) or reopened.

    Or GitHub does not merge it by itself any more: it left the queue, or auto-merge was ended. Or
    it was given a label, which may hold it.

    `head_repository` is None when the fork was deleted.
    """

    action: Literal[
        "opened",
        "closed",
        "reopened",
        "synchronize",
        "dequeued",
        "auto_merge_disabled",
        "labeled",
    ]
    head_repository: int | None = _at_or(None, "pull_request", "head", "repo", "id")
    base_ref: str = _at("pull_request", "base", "ref")
    merged: bool = _at_or(False, "pull_request", "merged")
    merge_sha: Text = _at_or("", "pull_request", "merge_commit_sha")


class Pushed(RepositoryArrival):
    """A ref moved from `before` to `after`; a missing end is 40 zeros.

    `paths` are what its commits changed; with `paths_cut` there were more than GitHub or we keep.
    """

    ref: str
    before: str
    after: str
    created: bool = False
    deleted: bool = False
    forced: bool = False
    paths: tuple[str, ...] = ()
    paths_cut: bool = False

    @property
    def branch(self) -> str | None:
        """The branch's name, or None for any other ref."""
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None


class ButtonPressed(RepositoryArrival):
    """Somebody pressed a button of one of our check runs."""

    identifier: str = _at("requested_action", "identifier")
    check_run: int = _at("check_run", "id")
    external_id: Text = _at_or("", "check_run", "external_id")
    name: Text = _at_or("", "check_run", "name")
    head_sha: str = _at("check_run", "head_sha")


class CheckRerun(RepositoryArrival):
    """Somebody asked for one of our check runs to be run again."""

    check_run: int = _at("check_run", "id")
    external_id: Text = _at_or("", "check_run", "external_id")
    name: Text = _at_or("", "check_run", "name")
    head_sha: str = _at("check_run", "head_sha")


class SuiteRerun(RepositoryArrival):
    """Somebody asked for all of our check runs on a commit to be run again."""

    suite: int = _at("check_suite", "id")
    head_sha: str = _at("check_suite", "head_sha")


class CheckEnded(RepositoryArrival):
    """A check run has ended, by whomever it was made; `branch` is empty where GitHub names none."""

    sha: str = _at("check_run", "head_sha")
    branch: Text = _at_or("", "check_run", "check_suite", "head_branch")


class StatusSaid(RepositoryArrival):
    """Somebody said something of a commit, which is the tip of these branches."""

    sha: str
    branches: Labels = ()


class RepositoryChanged(RepositoryArrival):
    """A repository has a new name or owner: `where` has the new ones.

    `old_name` and `old_owner` are empty where they did not change.
    """

    action: Literal["renamed", "transferred"]
    old_name: Text = _at_or("", "changes", "repository", "name", "from")
    old_owner: Text = ""


class ShortRepository(_Read):
    """A repository as an installation lists it; its `full_name` is owner/name."""

    id: int
    name: str
    full_name: str


class InstallationChanged(Arrival):
    """The App came to an account or left it, or sees other repositories there.

    `repositories` are those that came or went; empty for `suspend` and `unsuspend`.
    """

    action: Literal["created", "deleted", "suspend", "unsuspend", "added", "removed"]
    installation: int = _at("installation", "id")
    account: str = _at("installation", "account", "login")
    repositories: tuple[ShortRepository, ...] = ()


Payload = Mapping[str, Any]
"""A webhook's JSON object."""

_ARRIVALS: Mapping[tuple[str, str], type[Arrival]] = {
    ("issue_comment", "created"): CommentCreated,
    ("issues", "labeled"): Labeled,
    ("pull_request_review_comment", "created"): ReviewCommentCreated,
    ("pull_request_review", "submitted"): ReviewSubmitted,
    ("pull_request", "opened"): PullChanged,
    ("pull_request", "closed"): PullChanged,
    ("pull_request", "reopened"): PullChanged,
    ("pull_request", "synchronize"): PullChanged,
    ("pull_request", "dequeued"): PullChanged,
    ("pull_request", "auto_merge_disabled"): PullChanged,
    ("pull_request", "labeled"): PullChanged,
    ("push", ""): Pushed,
    ("check_run", "completed"): CheckEnded,
    ("status", ""): StatusSaid,
    ("check_run", "requested_action"): ButtonPressed,
    ("check_run", "rerequested"): CheckRerun,
    ("check_suite", "rerequested"): SuiteRerun,
    ("repository", "renamed"): RepositoryChanged,
    ("repository", "transferred"): RepositoryChanged,
    ("installation", "created"): InstallationChanged,
    ("installation", "deleted"): InstallationChanged,
    ("installation", "suspend"): InstallationChanged,
    ("installation", "unsuspend"): InstallationChanged,
    ("installation_repositories", "added"): InstallationChanged,
    ("installation_repositories", "removed"): InstallationChanged,
}


_OF_CI = (CheckEnded, StatusSaid)

RUNS_BRANCHES = b'"orchestrate/'
"""How the name of a run's branch begins in JSON."""

_OURS = re.compile(rb'"external_id":\s?"[a-z2-7]{10}:[0-9]+:')
"""What a check run that we made ourselves has in it, and no other."""

EVENTS = frozenset(event for event, _action in _ARRIVALS)
"""The names of the events that we act on."""


def decode(body: bytes) -> Payload:
    """Read a webhook's body: a JSON object in UTF-8.

    `ValueError` when it is none, or nests deeper than any honest payload: pydantic's parser stops
    at 200 levels where the standard library would run out of stack.
    """
    payload = from_json(body, allow_inf_nan=False)
    if not isinstance(payload, dict):
        raise ValueError("the body is not a JSON object")
    return payload


def glance(event: str, body: bytes) -> bool:
    """Say whether a webhook's body is of an event that we act on, without reading all of it.

    `ValueError` where it is no JSON object: the whole is checked, but only the action is kept,
    which takes a third of the time. `NaN` for a number is let pass, and told when it is read.
    """
    seen: Payload = _GLANCE.validate_json(body)
    return is_wanted(event, seen) and (_kind(event, seen) not in _OF_CI or _is_of_a_run(body))


def _is_of_a_run(body: bytes) -> bool:
    """Say whether an event of CI may be about a run's head: most are about other branches."""
    return RUNS_BRANCHES in body and not _OURS.search(body)


_GLANCE = SchemaValidator(
    core_schema.typed_dict_schema(
        {"action": core_schema.typed_dict_field(core_schema.any_schema(), required=False)},
        extra_behavior="ignore",
    )
)


def is_wanted(event: str, payload: Payload) -> bool:
    """Say whether an event of this name and action is one that we act on."""
    return _kind(event, payload) is not None


def parse(event: str, body: bytes, delivery: str = "") -> Arrival | None:
    """Read what happened; None when it is nothing that we act on. `delivery` is the GUID.

    An event that lacks what we need is ignored too, and logged: asking for it again would not
    mend it.
    """
    try:
        payload = decode(body)
    except ValueError:
        log.warning("webhook ignored", event_name=event, reason="not a JSON object")
        return None
    kind = _kind(event, payload)
    return _read(kind, event, {**payload, "delivery": delivery}) if kind else None


def thread_of(payload: Payload) -> str:
    """Name what a payload belongs to: what has the same name is obeyed in order of arrival.

    That is the issue or pull request, else the repository, else the installation.
    """
    repository = _number(payload.get("repository"), "id")
    if not repository:
        return f"installation/{_number(payload.get('installation'), 'id')}"
    for name in ("issue", "pull_request"):
        if number := _number(payload.get(name), "number"):
            return f"{repository}/{number}"
    return f"{repository}"


def _number(value: object, key: str) -> int:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, int) else 0


def _kind(event: str, payload: Payload) -> type[Arrival] | None:
    action = payload.get("action", "")
    return _ARRIVALS.get((event, action)) if isinstance(action, str) else None


def _read(kind: type[Arrival], event: str, payload: Payload) -> Arrival | None:
    try:
        return kind.model_validate(
            {**payload, **_made(kind, payload)}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        # Names of fields only: what people wrote does not belong in a log.
        missing = sorted({".".join(map(str, each["loc"])) for each in error.errors()})
        log.warning("webhook ignored", event_name=event, reason="unreadable", fields=missing[:5])
        return None


def _made(kind: type[Arrival], payload: Payload) -> dict[str, Any]:
    """Fields that stand in no single place of the payload."""
    if kind is InstallationChanged:
        return {"repositories": _listed(payload)}
    if kind is Pushed:
        return {"where": payload, **_paths(payload)}
    if kind is RepositoryChanged:
        return {"where": payload, "old_owner": _old_owner(payload)}
    return {"where": payload}


def _listed(payload: Payload) -> object:
    if payload.get("action") in ("added", "removed"):
        return payload.get(f"repositories_{payload['action']}")
    return payload.get("repositories") or ()


def _paths(payload: Payload) -> dict[str, Any]:
    commits = payload.get("commits")
    found: dict[str, None] = {}
    for commit in commits if isinstance(commits, list) else ():
        for kind in ("added", "removed", "modified"):
            paths = commit.get(kind) if isinstance(commit, Mapping) else None
            found.update((path, None) for path in paths or () if isinstance(path, str))
    kept = tuple(found)[:PATHS_MAX]
    cut = len(found) > PATHS_MAX or (isinstance(commits, list) and len(commits) >= COMMITS_MAX)
    return {"paths": kept, "paths_cut": cut}


def _old_owner(payload: Payload) -> str:
    place: object = payload.get("changes")
    for key in ("owner", "from"):
        place = place.get(key) if isinstance(place, Mapping) else None
    if not isinstance(place, Mapping):
        return ""
    account = place.get("organization") or place.get("user")
    login = account.get("login") if isinstance(account, Mapping) else None
    return login if isinstance(login, str) else ""
