"""What we read of webhooks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.payloads import (
    COMMITS_MAX,
    EVENTS,
    PATHS_MAX,
    Arrival,
    ButtonPressed,
    CheckRerun,
    CommentCreated,
    InstallationChanged,
    Labeled,
    PullChanged,
    Pushed,
    RepositoryChanged,
    ReviewCommentCreated,
    ReviewSubmitted,
    Where,
    decode,
    glance,
    is_wanted,
    parse,
    thread_of,
)
from bot.router import repository_of

ADA = {"login": "ada", "type": "User"}
BOT = {"login": "orchestrate[bot]", "type": "Bot"}
BASE: dict[str, Any] = {
    "repository": {
        "id": 7,
        "name": "widgets",
        "owner": {"login": "acme"},
        "default_branch": "trunk",
        "clone_url": "https://github.example/acme/widgets.git",
    },
    "installation": {"id": 3},
    "sender": ADA,
}
ISSUE = {
    "number": 12,
    "title": "Slow",
    "body": None,
    "user": ADA,
    "labels": [{"name": "bug"}, {"name": "orchestrate"}],
    "updated_at": "2026-01-02T03:04:05Z",
    "html_url": "https://github.example/acme/widgets/issues/12",
}
PULL = {
    "number": 13,
    "title": "Faster",
    "user": BOT,
    "head": {"sha": "a" * 40, "ref": "orchestrate/12", "repo": None},
    "base": {"ref": "trunk"},
    "merged": True,
    "merge_commit_sha": None,
}
COMMENT = {
    "id": 99,
    "body": "/status",
    "user": ADA,
    "created_at": "2026-01-02T03:04:05Z",
    "html_url": "https://github.example/c/99",
    "path": "a.py",
    "line": None,
    "in_reply_to_id": 98,
    "pull_request_review_id": 55,
}
REVIEW = {
    "id": 55,
    "state": "changes_requested",
    "body": None,
    "commit_id": "a" * 40,
    "user": ADA,
    "submitted_at": "2026-01-02T03:04:05Z",
}
CHECK = {"id": 5, "external_id": "run:1", "name": "tests", "head_sha": "b" * 40}
PUSH = {"ref": "refs/heads/trunk", "before": "0" * 40, "after": "c" * 40, "created": True}


def read(event: str, **payload: Any) -> Arrival | None:
    return parse(event, json.dumps({**BASE, **payload}).encode())


@pytest.mark.parametrize(
    ("event", "payload", "kind", "fields"),
    [
        (
            "issue_comment",
            {"action": "created", "issue": ISSUE, "comment": COMMENT},
            CommentCreated,
            {
                "comment": 99, "number": 12, "is_pull": False, "author": "ada", "body": "/status",
                "issue_labels": ("bug", "orchestrate"), "issue_body": "", "author_is_bot": False,
            },
        ),
        (
            "issue_comment",
            {
                "action": "created",
                "issue": {**ISSUE, "pull_request": {"url": "x"}, "user": BOT},
                "comment": {**COMMENT, "user": None},
            },
            CommentCreated,
            {"is_pull": True, "author": "ghost", "issue_author_is_bot": True},
        ),
        (
            "issues",
            {"action": "labeled", "issue": ISSUE, "label": {"name": "orchestrate"}},
            Labeled,
            {"label": "orchestrate", "number": 12, "sender": "ada"},
        ),
        (
            "pull_request_review_comment",
            {"action": "created", "pull_request": PULL, "comment": COMMENT},
            ReviewCommentCreated,
            {"number": 13, "path": "a.py", "line": None, "in_reply_to": 98, "review": 55},
        ),
        (
            "pull_request_review",
            {"action": "submitted", "pull_request": PULL, "review": REVIEW},
            ReviewSubmitted,
            {"state": "changes_requested", "commit_sha": "a" * 40, "body": "", "number": 13},
        ),
        (
            "pull_request",
            {"action": "closed", "pull_request": PULL},
            PullChanged,
            {"action": "closed", "merged": True, "merge_sha": "", "head_repository": None},
        ),
        (
            "check_run",
            {
                "action": "requested_action",
                "check_run": CHECK,
                "requested_action": {"identifier": "approve"},
            },
            ButtonPressed,
            {"identifier": "approve", "check_run": 5, "external_id": "run:1", "sender": "ada"},
        ),
        (
            "check_run",
            {"action": "rerequested", "check_run": {**CHECK, "external_id": None}},
            CheckRerun,
            {"external_id": "", "head_sha": "b" * 40, "name": "tests"},
        ),
        ("push", PUSH, Pushed, {"branch": "trunk", "created": True, "paths": ()}),
        ("push", {**PUSH, "ref": "refs/tags/v1"}, Pushed, {"branch": None}),
        (
            "repository",
            {"action": "renamed", "changes": {"repository": {"name": {"from": "gadgets"}}}},
            RepositoryChanged,
            {"old_name": "gadgets", "old_owner": ""},
        ),
        (
            "repository",
            {"action": "transferred", "changes": {"owner": {"from": {"organization": BOT}}}},
            RepositoryChanged,
            {"old_name": "", "old_owner": "orchestrate[bot]"},
        ),
    ],
)  # fmt: skip
def test_what_is_read_of_an_event(
    event: str, payload: dict[str, Any], kind: type[Arrival], fields: dict[str, Any]
) -> None:
    arrival = read(event, **payload)
    assert type(arrival) is kind
    assert {name: getattr(arrival, name) for name in fields} == fields


def test_an_arrival_says_where_it_happened() -> None:
    arrival = read("push", **PUSH)
    assert isinstance(arrival, Pushed)
    assert arrival.where == Where(
        repository=7,
        owner="acme",
        name="widgets",
        installation=3,
        default_branch="trunk",
        clone_url="https://github.example/acme/widgets.git",
    )


def test_the_size_of_a_repository_is_read_where_it_is_told() -> None:
    told = read("push", **{**PUSH, "repository": {**BASE["repository"], "size": 512_000}})
    assert isinstance(told, Pushed)
    assert told.where.size == 512_000
    assert repository_of(told.where).size == 512_000


@pytest.mark.parametrize("action", ["added", "removed"])
def test_an_installation_lists_the_repositories_that_came_or_went(action: str) -> None:
    ours = {"id": 7, "name": "widgets", "full_name": "acme/widgets"}
    arrival = read(
        "installation_repositories",
        action=action,
        installation={"id": 3, "account": {"login": "acme"}},
        repositories_added=[ours] if action == "added" else [],
        repositories_removed=[ours] if action == "removed" else [],
    )
    assert isinstance(arrival, InstallationChanged)
    assert (arrival.installation, arrival.account) == (3, "acme")
    assert [each.full_name for each in arrival.repositories] == ["acme/widgets"]


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("issue_comment", {"action": "edited", "issue": ISSUE, "comment": COMMENT}),
        ("issue_comment", {"action": "deleted", "issue": ISSUE, "comment": COMMENT}),
        ("issues", {"action": "opened", "issue": ISSUE}),
        ("check_run", {"action": "created", "check_run": CHECK}),
        ("pull_request_review", {"action": "dismissed", "review": REVIEW, "pull_request": PULL}),
        ("star", {"action": "created"}),
        ("an_event_of_next_year", {}),
        ("push", {**PUSH, "action": ["what"]}),
    ],
)
def test_what_commands_nothing_is_ignored(event: str, payload: dict[str, Any]) -> None:
    assert not is_wanted(event, payload)
    assert read(event, **payload) is None


@pytest.mark.parametrize(
    "payload",
    [
        {"action": "created", "issue": ISSUE},
        {"action": "created", "issue": ISSUE, "comment": COMMENT, "installation": None},
        {"action": "created", "issue": ISSUE, "comment": COMMENT, "repository": []},
        {"action": "created", "issue": ISSUE, "comment": {**COMMENT, "id": "many"}},
    ],
)
def test_an_event_that_lacks_what_we_need_is_ignored(payload: dict[str, Any]) -> None:
    assert is_wanted("issue_comment", payload)
    assert read("issue_comment", **payload) is None


def test_a_field_is_read_from_its_place_alone() -> None:
    """A payload with a top-level key of our own name says nothing by it."""
    payload = {"action": "created", "issue": ISSUE, "comment": {**COMMENT, "user": None}}
    arrival = read("issue_comment", **payload, author="maintainer", where={"repository": 1})
    assert isinstance(arrival, CommentCreated)
    assert arrival.author == "ghost"
    assert arrival.where.repository == 7


def test_a_push_lists_each_changed_path_once() -> None:
    commits = [
        {"added": ["a"], "modified": ["b"], "removed": []},
        {"added": [], "modified": ["a"], "removed": ["c"]},
    ]
    arrival = read("push", **PUSH, commits=commits)
    assert isinstance(arrival, Pushed)
    assert arrival.paths == ("a", "b", "c")
    assert not arrival.paths_cut


@pytest.mark.parametrize(
    "commits",
    [
        [{"added": [str(number) for number in range(PATHS_MAX + 1)]}],
        [{"added": ["same"]}] * COMMITS_MAX,
    ],
)
def test_a_push_of_more_than_is_kept_says_so(commits: list[dict[str, Any]]) -> None:
    arrival = read("push", **PUSH, commits=commits)
    assert isinstance(arrival, Pushed)
    assert arrival.paths_cut
    assert len(arrival.paths) <= PATHS_MAX


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"1", b'"text"', b"\xff{}", b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 1000],
)
def test_what_is_no_json_object_is_refused_and_never_raises_from_parse(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the parser says
        decode(body)
    assert parse("push", body) is None


@pytest.mark.parametrize(
    ("payload", "thread"),
    [
        ({**BASE, "issue": ISSUE}, "7/12"),
        ({**BASE, "pull_request": PULL}, "7/13"),
        (BASE, "7"),
        ({"installation": {"id": 3}}, "installation/3"),
        ({}, "installation/0"),
        ({"repository": "?", "installation": 4}, "installation/0"),
    ],
)
def test_what_belongs_together_has_one_name(payload: dict[str, Any], thread: str) -> None:
    assert thread_of(payload) == thread


def test_the_events_that_we_act_on_are_named() -> None:
    assert {"issue_comment", "push", "installation_repositories"} <= EVENTS
    assert "star" not in EVENTS


@pytest.mark.parametrize(
    ("event", "payload", "wanted"),
    [
        ("check_run", {"external_id": "4711", "branch": "orchestrate/1-fix-abcdefghij"}, True),
        ("check_run", {"external_id": "", "branch": "main"}, False),
        ("check_run", {"external_id": "abcdefghij:1:0:pytest", "branch": "orchestrate/1-x"}, False),
        ("status", {"branches": [{"name": "orchestrate/1-fix-abcdefghij"}]}, True),
        ("status", {"branches": [{"name": "topic"}]}, False),
        ("status", {"branches": []}, False),
    ],
)
def test_of_ci_only_what_others_say_of_a_runs_branch_is_kept(
    event: str, payload: dict[str, Any], wanted: bool
) -> None:
    if event == "check_run":
        suite = {"head_branch": payload["branch"]}
        run = {"head_sha": "a" * 40, "check_suite": suite, "external_id": payload["external_id"]}
        payload = {"action": "completed", "check_run": run}
    payload |= {"sha": "a" * 40}
    assert glance(event, json.dumps(payload).encode()) is wanted
