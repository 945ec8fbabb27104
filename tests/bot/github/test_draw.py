"""A run is drawn once, whatever goes wrong: told by what stands on GitHub afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.database import open_database
from bot.errors import TransientError
from bot.github.client import GitHubApp
from bot.github.forge import GitHubForge
from bot.runs.model import Answer, Run
from bot.runs.store import Store
from bot.runs.transitions import State
from tests.bot.github.runs import HEAD, a_checkpoint, a_note, a_result, a_run, a_young_run
from tests.bot.github.standin import BOT, GitHub

RESULTS = [a_result("pytest"), a_result("rules", summary="The changes pass.")]
NEXT = "b" * 40


def drawable(state: State = State.AWAITING_REVIEW, **changed: object) -> Run:
    """A run whose pull request is still to be found or opened."""
    return a_run(state, **{"pull_request": None, **changed})


def statuses(there: GitHub) -> list[str]:
    marker = "<!-- orchestrate:run:k3v7qbd2aa -->"
    return [c["body"] for c in there.comments if marker in c["body"]]


async def test_a_run_that_is_ready_shows_as_a_comment_checks_and_a_pull_request(
    forge: GitHubForge, there: GitHub
) -> None:
    number = await forge.show(drawable(), RESULTS)
    (pull,) = there.pulls
    assert number == pull["number"]
    assert not pull["draft"]
    (status,) = statuses(there)
    assert f"**Ready for review: #{number}.**" in status
    assert {c["name"]: c["conclusion"] for c in there.checks} == {
        "orchestrate / pytest": "success",
        "orchestrate / rules": "success",
    }
    assert f"/acme/widgets/runs/{there.checks[0]['id']}" in status
    assert there.reviewers == ["writer"]


async def test_drawing_again_asks_github_for_nothing(forge: GitHubForge, there: GitHub) -> None:
    number = await forge.show(drawable(), RESULTS)
    there.requests.clear()
    assert await forge.show(drawable(pull_request=number), RESULTS) == number
    assert there.requests == []


async def test_without_a_memory_everything_is_found_again(
    forge: GitHubForge, there: GitHub, on_stand_in: GitHubApp, tmp_path: Path
) -> None:
    answers = (Answer(comment=11, sha=HEAD),)
    there.review_comments.append({"id": 11, "user": {"login": "maintainer"}, "body": "Why?"})
    run = drawable(State.BLOCKED, answers=answers)
    await forge.show(run, RESULTS)
    before = counts(there)
    database = await open_database(f"sqlite:///{tmp_path}/other.db")
    other = GitHubForge(on_stand_in, Store(database))
    await other.show(run, RESULTS)
    await other.show(run, RESULTS)
    await database.close()
    assert counts(there) == before == (2, 1, 2, 2)


def counts(there: GitHub) -> tuple[int, int, int, int]:
    return len(there.comments), len(there.pulls), len(there.checks), len(there.review_comments)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "path", ["*/comments", "*/pulls", "*/check-runs", "*/replies", "*/issues/comments/*"]
)
async def test_a_502_at_any_write_doubles_nothing(
    forge: GitHubForge, there: GitHub, path: str, when: str
) -> None:
    there.review_comments.append({"id": 11, "user": {"login": "maintainer"}, "body": "Why?"})
    first = drawable(State.VALIDATING)
    run = drawable(State.BLOCKED, answers=(Answer(comment=11, sha=HEAD),))
    there.faults.fail("[!G]*", path, after=when == "after", times=2)
    for each in (first, run):
        for _ in range(4):
            try:
                await forge.show(each, RESULTS)
                break
            except TransientError:
                continue
        else:
            pytest.fail("it was never drawn")
    assert counts(there) == (2, 1, 2, 2)


async def test_a_secondary_limit_stops_the_drawing_and_says_how_long(
    forge: GitHubForge, there: GitHub
) -> None:
    there.faults.limit("POST", "*/pulls", retry_after=30)
    for _ in range(2):
        with pytest.raises(TransientError) as told:
            await forge.show(drawable(), RESULTS)
        assert told.value.retry_after == pytest.approx(30, abs=1)
    assert there.writes == ["POST /repos/acme/widgets/pulls"]


async def test_changes_in_between_are_one_edit(forge: GitHubForge, there: GitHub) -> None:
    await forge.show(a_young_run(State.QUEUED), [])
    there.requests.clear()
    await forge.show(a_young_run(State.RUNNING, turns=1, turn_open=True), [])
    assert len(there.writes) == 1
    assert there.writes[0].startswith("PATCH /repos/acme/widgets/issues/comments/")


async def test_two_who_draw_at_once_make_one_comment(forge: GitHubForge, there: GitHub) -> None:
    there.faults.delay(0.01, "POST", "*/comments")
    await asyncio.gather(*(forge.show(a_young_run(State.QUEUED), []) for _ in range(3)))
    assert len(statuses(there)) == 1


async def test_a_deleted_comment_is_written_again(forge: GitHubForge, there: GitHub) -> None:
    await forge.show(a_young_run(State.QUEUED), [])
    there.comments.clear()
    await forge.show(a_young_run(State.RUNNING), [])
    (status,) = statuses(there)
    assert "**Working:**" in status


async def test_a_stranger_who_copies_the_marker_is_not_taken_for_us(
    forge: GitHubForge, there: GitHub
) -> None:
    there.say(1, "<!-- orchestrate:run:k3v7qbd2aa -->", login="outsider")
    await forge.show(a_young_run(State.QUEUED), [])
    assert [c["user"]["login"] for c in there.comments] == ["outsider", BOT]


# -- the pull request


async def test_before_the_branch_is_pushed_there_is_no_pull_request_and_no_complaint(
    forge: GitHubForge, there: GitHub
) -> None:
    there.branch_head = None
    there.commits.clear()
    assert await forge.show(drawable(State.VALIDATING), RESULTS) is None
    assert (there.pulls, there.checks) == ([], [])
    there.branch_head = HEAD
    there.commits.add(HEAD)
    assert await forge.show(drawable(State.VALIDATING), RESULTS) == there.pulls[0]["number"]
    assert len(there.checks) == 2


async def test_a_draft_becomes_ready_when_people_may_decide(
    forge: GitHubForge, there: GitHub
) -> None:
    number = await forge.show(drawable(State.VALIDATING), RESULTS)
    assert there.pulls[0]["draft"]
    await forge.show(drawable(pull_request=number), RESULTS)
    assert not there.pulls[0]["draft"]


async def test_where_drafts_are_not_to_be_had_an_ordinary_one_says_so(
    forge: GitHubForge, there: GitHub
) -> None:
    there.allows_drafts = False
    number = await forge.show(drawable(State.VALIDATING), RESULTS)
    (pull,) = there.pulls
    assert not pull["draft"]
    assert "**Not ready for review.**" in pull["body"]
    await forge.show(drawable(pull_request=number), RESULTS)
    assert "Not ready" not in there.pulls[0]["body"]


async def test_a_cancelled_run_closes_its_pull_request_and_opens_none(
    forge: GitHubForge, there: GitHub
) -> None:
    assert await forge.show(drawable(State.CANCELLED), RESULTS) is None
    assert there.pulls == []
    number = await forge.show(drawable(State.VALIDATING), RESULTS)
    await forge.show(drawable(State.CANCELLED, pull_request=number), RESULTS)
    assert there.pulls[0]["state"] == "closed"


async def test_a_pull_request_that_a_person_closed_is_not_opened_anew(
    forge: GitHubForge, there: GitHub, on_stand_in: GitHubApp, tmp_path: Path
) -> None:
    number = await forge.show(drawable(State.VALIDATING), RESULTS)
    there.pulls[0]["state"] = "closed"
    database = await open_database(f"sqlite:///{tmp_path}/other.db")
    other = GitHubForge(on_stand_in, Store(database))
    assert await other.show(drawable(), RESULTS) == number
    await database.close()
    assert [pull["state"] for pull in there.pulls] == ["closed"]


async def test_a_pull_request_opened_between_look_and_leap_is_taken(
    forge: GitHubForge, there: GitHub
) -> None:
    there.faults.fail("POST", "*/pulls", after=True)
    with pytest.raises(TransientError):
        await forge.show(drawable(), RESULTS)
    # A list of GitHub's may lag behind what was just made.
    there.lagging_lists = 1
    assert await forge.show(drawable(), RESULTS) == there.pulls[0]["number"]
    assert len(there.pulls) == 1


# -- check runs


async def test_remarks_are_sent_fifty_at_a_time_and_never_twice(
    forge: GitHubForge, there: GitHub
) -> None:
    results = [a_result("pytest", "failure", annotations=[a_note(n + 1) for n in range(120)])]
    there.faults.fail("PATCH", "*/check-runs/*", after=True)
    with pytest.raises(TransientError):
        await forge.show(drawable(State.BLOCKED), results)
    number = await forge.show(drawable(State.BLOCKED), results)
    await forge.show(drawable(State.VALIDATING, pull_request=number), results)
    (check,) = there.checks
    assert [note["start_line"] for note in check["notes"]] == list(range(1, 121))


async def test_a_check_in_progress_is_concluded_in_place(forge: GitHubForge, there: GitHub) -> None:
    await forge.show(drawable(State.VALIDATING, attempt=1), [a_result()])
    assert [c["conclusion"] for c in there.checks] == [None]
    await forge.show(drawable(State.AWAITING_REVIEW, attempt=1), [a_result(attempt=1)])
    assert [c["conclusion"] for c in there.checks] == ["success"]


async def test_a_check_that_the_run_left_behind_does_not_spin_for_ever(
    forge: GitHubForge, there: GitHub
) -> None:
    await forge.show(drawable(State.VALIDATING, attempt=1), [a_result()])
    there.commits.add(NEXT)
    made = (a_checkpoint(), a_checkpoint(2, sha=NEXT))
    await forge.show(drawable(State.VALIDATING, head=NEXT, checkpoints=made), [])
    assert [c["conclusion"] for c in there.checks] == ["cancelled"]


async def test_buttons_go_when_the_decision_is_made(forge: GitHubForge, there: GitHub) -> None:
    number = await forge.show(drawable(), RESULTS)
    assert all(len(c["actions"]) == 2 for c in there.checks)
    await forge.show(drawable(State.MERGING, pull_request=number), RESULTS)
    assert all(c["actions"] == [] for c in there.checks)


# -- people


async def test_people_are_called_once_each_time(forge: GitHubForge, there: GitHub) -> None:
    for segment in (1, 1, 2):
        await forge.show(a_young_run(State.BLOCKED, segment=segment, reason="No."), [])
    calls = [c["body"] for c in there.comments if "@writer" in c["body"]]
    assert len(calls) == 2


async def test_who_may_not_review_is_mentioned(forge: GitHubForge, there: GitHub) -> None:
    await forge.show(drawable(requester="outsider"), RESULTS)
    assert [c["number"] for c in there.comments if "@outsider" in c["body"]] == [
        there.pulls[0]["number"]
    ]


async def test_a_review_thread_is_answered_once_with_the_commit(
    forge: GitHubForge, there: GitHub
) -> None:
    there.review_comments.append({"id": 11, "user": {"login": "maintainer"}, "body": "Why?"})
    for _ in range(2):
        await forge.show(drawable(answers=(Answer(comment=11, sha=HEAD),)), RESULTS)
    answer = there.review_comments[-1]
    assert len(there.review_comments) == 2
    assert answer["in_reply_to_id"] == 11
    assert HEAD in answer["body"]


async def test_what_github_refuses_keeps_nothing_else_away(
    forge: GitHubForge, there: GitHub
) -> None:
    there.faults.fail("POST", "*/check-runs", status=403, times=None)
    await forge.show(drawable(), RESULTS)
    assert len(there.pulls) == len(statuses(there)) == 1
