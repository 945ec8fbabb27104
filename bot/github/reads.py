"""GitHub's JSON, read into our own words: the few fields that we need, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bot.github.answers import id_of, moment, number_of, text_of
from bot.runs.model import Repository
from bot.threads import (
    Comment,
    DeliverySummary,
    Installation,
    Issue,
    Pull,
    Review,
    ReviewComment,
)
from policies.facts import Role

ROLES = {role.value: role for role in Role}


def role_of(data: Mapping[str, Any]) -> Role:
    """Read a person's role: `role_name` is the true one, since `permission` rounds it down.

    A role that an organisation made is known by its base, which `permission` names.
    """
    named = ROLES.get(text_of(data, "role_name"))
    return named or ROLES.get(text_of(data, "permission"), Role.NONE)


def role_by_permissions(user: Mapping[str, Any]) -> Role:
    """Read the role of a listed collaborator."""
    named = ROLES.get(text_of(user, "role_name"))
    if named:
        return named
    held = user.get("permissions")
    names = {"pull": Role.READ, "triage": Role.TRIAGE, "push": Role.WRITE}
    names |= {"maintain": Role.MAINTAIN, "admin": Role.ADMIN}
    if not isinstance(held, Mapping):
        return Role.NONE
    order = list(Role)
    roles = [role for name, role in names.items() if held.get(name)]
    return max(roles, key=order.index, default=Role.NONE)


def is_bot(user: Mapping[str, Any]) -> bool:
    """Say whether an account is an app's or a machine's."""
    return text_of(user, "type") == "Bot" or text_of(user, "login").endswith("[bot]")


def repository_of(data: Mapping[str, Any], installation: int) -> Repository:
    """Read a repository."""
    return Repository(
        id=id_of(data, "id"),
        owner=text_of(data, "owner", "login"),
        name=text_of(data, "name"),
        installation=installation,
        default_branch=text_of(data, "default_branch") or "main",
        url=text_of(data, "clone_url"),
        size=number_of(data, "size") or 0,
    )


def _moment(value: object) -> datetime | None:
    return moment(value) if value else None


def issue_of(data: Mapping[str, Any]) -> Issue:
    """Read an issue; its labels come as objects, or as mere names."""
    labels = data.get("labels")
    names = [
        each if isinstance(each, str) else text_of(each, "name")
        for each in (labels if isinstance(labels, list) else [])
    ]
    return Issue(
        number=id_of(data, "number"),
        title=text_of(data, "title"),
        body=text_of(data, "body"),
        author=text_of(data, "user", "login"),
        author_is_bot=is_bot(data.get("user") or {}),
        is_pull="pull_request" in data,
        state=text_of(data, "state"),
        labels=tuple(names),
        created_at=_moment(data.get("created_at")),
        updated_at=_moment(data.get("updated_at")),
    )


def pull_of(data: Mapping[str, Any]) -> Pull:
    """Read a pull request."""
    merged = bool(data.get("merged") or data.get("merged_at"))
    return Pull(
        number=id_of(data, "number"),
        head_sha=text_of(data, "head", "sha"),
        head_ref=text_of(data, "head", "ref"),
        head_repository=number_of(data, "head", "repo", "id"),
        base_ref=text_of(data, "base", "ref"),
        state=text_of(data, "state"),
        merged=merged,
        # Until it is merged GitHub names a commit that it made only to try.
        merge_sha=text_of(data, "merge_commit_sha") if merged else "",
        draft=bool(data.get("draft")),
        author=text_of(data, "user", "login"),
    )


def comment_of(data: Mapping[str, Any]) -> Comment:
    """Read a comment of a conversation."""
    last = text_of(data, "issue_url").rsplit("/", 1)[-1]
    return Comment(
        id=id_of(data, "id"),
        body=text_of(data, "body"),
        author=text_of(data, "user", "login"),
        created_at=moment(data.get("created_at")),
        updated_at=moment(data.get("updated_at")),
        author_is_bot=is_bot(data.get("user") or {}),
        number=int(last) if last.isdecimal() else 0,
        url=text_of(data, "html_url"),
    )


def review_of(data: Mapping[str, Any]) -> Review:
    """Read a review; the REST writes its state in capitals, webhooks do not."""
    return Review(
        id=id_of(data, "id"),
        state=text_of(data, "state").lower(),
        body=text_of(data, "body"),
        commit_sha=text_of(data, "commit_id"),
        author=text_of(data, "user", "login"),
        author_is_bot=is_bot(data.get("user") or {}),
        submitted_at=moment(data.get("submitted_at")),
        url=text_of(data, "html_url"),
    )


def review_comment_of(data: Mapping[str, Any]) -> ReviewComment:
    """Read a comment on a line."""
    line = number_of(data, "line")
    return ReviewComment(
        id=id_of(data, "id"),
        path=text_of(data, "path"),
        line=number_of(data, "original_line") if line is None else line,
        body=text_of(data, "body"),
        author=text_of(data, "user", "login"),
        in_reply_to=number_of(data, "in_reply_to_id"),
        created_at=_moment(data.get("created_at")),
        updated_at=_moment(data.get("updated_at")),
        author_is_bot=is_bot(data.get("user") or {}),
        commit_sha=text_of(data, "commit_id"),
        url=text_of(data, "html_url"),
    )


def installation_of(data: Mapping[str, Any]) -> Installation:
    """Read an installation."""
    suspended = data.get("suspended_at") is not None
    return Installation(id_of(data, "id"), text_of(data, "account", "login"), suspended)


def delivery_of(data: Mapping[str, Any]) -> DeliverySummary:
    """Read a try to deliver; one that met no server has status 0."""
    return DeliverySummary(
        id=id_of(data, "id"),
        guid=text_of(data, "guid"),
        event=text_of(data, "event"),
        status_code=number_of(data, "status_code") or 0,
        delivered_at=moment(data.get("delivered_at")),
        redelivery=bool(data.get("redelivery")),
    )
