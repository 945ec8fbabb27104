"""What people write on GitHub, and what is answered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from bot.errors import TransientError
from bot.github.reads import comment_of, issue_of, pull_of, review_comment_of
from bot.github.threads import GitHubThreads
from bot.threads import Installation, Issue, Threads
from policies.facts import Role
from tests.bot.github.runs import AT, REPOSITORY
from tests.bot.github.standin import BOT, NOW, GitHub

SINCE = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


def test_what_handlers_are_given_is_all_there(threads: GitHubThreads) -> None:
    port: Threads = threads
    assert port is threads


@pytest.mark.parametrize(
    ("held", "role"),
    [
        ("admin", Role.ADMIN),
        ("maintain", Role.MAINTAIN),
        ("triage", Role.TRIAGE),
        ("read", Role.READ),
        ("reviewers", Role.READ),
        (None, Role.NONE),
    ],
)
async def test_a_role_is_the_true_one(
    threads: GitHubThreads, there: GitHub, held: str | None, role: Role
) -> None:
    if held:
        there.collaborators["someone"] = held
    assert await threads.role(REPOSITORY, "someone") is role


@pytest.mark.parametrize("status", [403, 500, 502])
async def test_a_role_that_github_does_not_tell_lets_nobody_in(
    threads: GitHubThreads, there: GitHub, status: int
) -> None:
    there.collaborators["someone"] = "admin"
    there.faults.fail("GET", "*/permission", status=status)
    with pytest.raises(TransientError):
        await threads.role(REPOSITORY, "someone")


@pytest.mark.parametrize(
    ("excluding", "expected"),
    [({"writer"}, True), ({"Maintainer"}, False), (set(), True)],
)
async def test_others_are_people_with_the_role(
    threads: GitHubThreads, there: GitHub, excluding: set[str], expected: bool
) -> None:
    there.collaborators |= {"writer": "write", "maintainer": "maintain", "robot[bot]": "admin"}
    assert await threads.others_with(REPOSITORY, Role.MAINTAIN, excluding) is expected


async def test_a_reaction_may_be_given_again_and_to_what_is_gone(
    threads: GitHubThreads, there: GitHub
) -> None:
    said = there.say(1, "/status")
    for _ in range(2):
        await threads.react(REPOSITORY, comment=said["id"])
    assert len(there.reactions) == 1
    await threads.react(REPOSITORY, comment=9_999)


async def test_a_reply_is_written_once_for_its_marker(
    threads: GitHubThreads, there: GitHub
) -> None:
    there.faults.fail("POST", "*/comments", after=True)
    with pytest.raises(TransientError):
        await threads.reply(REPOSITORY, 1, "reply:a:1", "No.", since=AT)
    same = (threads.reply(REPOSITORY, 1, "reply:a:1", "No.", since=AT) for _ in range(3))
    await asyncio.gather(*same)
    await threads.reply(REPOSITORY, 1, "reply:a:2", "No.", since=AT)
    assert [c["body"] for c in there.comments] == [
        "<!-- orchestrate:reply:a:1 -->\nNo.",
        "<!-- orchestrate:reply:a:2 -->\nNo.",
    ]


async def test_a_review_thread_is_answered_once(threads: GitHubThreads, there: GitHub) -> None:
    asked = {"id": 11, "user": {"login": "maintainer"}, "body": "Why?", "created_at": NOW}
    there.review_comments.append(asked)
    for _ in range(2):
        await threads.answer(REPOSITORY, 3, 11, "a", "Because.")
    await threads.answer(REPOSITORY, 3, 12, "b", "To a thread that is gone.")
    assert [c["body"] for c in there.review_comments] == [
        "Why?",
        "<!-- orchestrate:a -->\nBecause.",
    ]


async def test_a_comment_is_read_as_it_is_now(threads: GitHubThreads, there: GitHub) -> None:
    said = there.say(1, "/status")
    found = await threads.comment(REPOSITORY, said["id"])
    assert found
    assert (found.body, found.author, found.number) == ("/status", "writer", 1)
    there.comments.clear()
    assert await threads.comment(REPOSITORY, said["id"]) is None


async def test_the_comments_of_one_review_are_read(threads: GitHubThreads, there: GitHub) -> None:
    mine = {"id": 1, "path": "a.py", "line": 2, "body": "x", "pull_request_review_id": 5}
    there.review_comments += [mine, {**mine, "id": 2, "pull_request_review_id": 6}]
    (found,) = await threads.review_comments(REPOSITORY, 3, 5)
    assert (found.id, found.path, found.line) == (1, "a.py", 2)


async def test_the_one_tracking_issue_is_found_and_edited(
    threads: GitHubThreads, there: GitHub
) -> None:
    first = await threads.open_issue(REPOSITORY, "Maintenance", "None yet.", "maintenance")
    again = await threads.open_issue(REPOSITORY, "Maintenance", "None yet.", "maintenance")
    assert first == again == await threads.find_issue(REPOSITORY, "maintenance")
    await threads.edit_issue(REPOSITORY, first, body="One.")
    await threads.edit_issue(REPOSITORY, first, body="One.")
    assert there.issues[0]["body"] == "<!-- orchestrate:maintenance -->\nOne."
    assert len([w for w in there.writes if w.startswith("PATCH")]) == 1
    assert await threads.find_issue(REPOSITORY, "another") is None


async def test_repositories_are_read_by_number_and_by_name(threads: GitHubThreads) -> None:
    by_number = await threads.repository(7, 3)
    by_name = await threads.repository_named("acme", "widgets", 3)
    assert by_number == by_name == REPOSITORY


async def test_suspended_installations_are_told_apart(threads: GitHubThreads) -> None:
    assert await threads.installations() == [
        Installation(3, "acme", suspended=False),
        Installation(4, "gone", suspended=True),
    ]


async def test_deliveries_are_listed_since_a_time_and_asked_for_again(
    threads: GitHubThreads, there: GitHub
) -> None:
    tried = {"guid": "g", "event": "issues", "status_code": 502, "redelivery": False}
    there.deliveries = [
        {"id": 2, "delivered_at": "2026-01-02T04:00:00Z", **tried},
        {"id": 1, "delivered_at": "2026-01-01T00:00:00Z", **tried},
    ]
    (found,) = await threads.deliveries(SINCE)
    assert (found.id, found.guid, found.status_code) == (2, "g", 502)
    await threads.redeliver(found.id)
    assert there.redelivered == [2]


async def test_when_nothing_moved_one_conditional_request_says_so(
    threads: GitHubThreads, there: GitHub
) -> None:
    there.issues.append({"number": 1, "updated_at": NOW})
    said = there.say(1, "/status")
    first = await threads.changed_since(REPOSITORY, None, AT)
    assert (first.changed, first.threads, first.seen) == (True, (1,), SINCE)
    assert [each.id for each in first.comments] == [said["id"]]
    there.requests.clear()
    second = await threads.changed_since(REPOSITORY, first.etag, first.seen)
    assert (second.changed, second.threads, second.comments) == (False, (), ())
    assert there.requests == ["GET /repos/acme/widgets/issues"]


async def test_after_a_while_only_what_moved_is_told(threads: GitHubThreads, there: GitHub) -> None:
    there.issues += [
        {"number": 2, "updated_at": "2026-01-02T05:00:00Z"},
        {"number": 1, "updated_at": NOW},
    ]
    there.say(1, "/status")
    found = await threads.changed_since(REPOSITORY, '"old"', datetime(2026, 1, 2, 4, tzinfo=UTC))
    assert (found.threads, found.comments) == ((2,), ())


# -- reading GitHub's JSON


def test_an_issue_is_read_from_what_there_is() -> None:
    data = {"number": 1, "title": "T", "body": None, "user": None, "labels": ["a", {"name": "b"}]}
    assert issue_of(data) == Issue(1, "T", "", "", False, False, "", ("a", "b"))
    assert issue_of({"number": 1, "pull_request": {}}).is_pull


def test_a_pull_request_names_the_merge_only_when_there_was_one() -> None:
    data = {"number": 3, "merge_commit_sha": "f" * 40, "head": {"sha": "a", "repo": None}}
    assert (pull_of(data).merge_sha, pull_of(data).head_repository) == ("", None)
    assert pull_of(data | {"merged": True}).merge_sha == "f" * 40


def test_an_outdated_review_comment_has_its_original_line() -> None:
    data = {"id": 1, "path": "a", "line": None, "original_line": 4, "in_reply_to_id": 2}
    found = review_comment_of(data)
    assert (found.line, found.in_reply_to) == (4, 2)


def test_an_app_is_known_as_a_bot() -> None:
    assert comment_of({"id": 1, "user": {"login": BOT}}).author_is_bot
    assert comment_of({"id": 1, "user": {"login": "x", "type": "Bot"}}).author_is_bot
    assert not comment_of({"id": 1, "user": {"login": "x", "type": "User"}}).author_is_bot


def test_an_answer_without_an_id_is_a_fault_in_passing() -> None:
    with pytest.raises(TransientError):
        comment_of({"user": {"login": "x"}})
