"""Decisions of a restored record: which GitHub confirms, and why the others do not count."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.app import USAGES
from bot.confirm import doubted
from bot.errors import TransientError
from bot.events import Event, Type
from bot.runs.model import Repository, Run, Source
from bot.threads import Comment, Push, Review, ReviewComment
from tests.bot.github.runs import a_checkpoint, a_run

THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = THEN + timedelta(seconds=1)
HEAD = a_checkpoint()
RUN = a_run(
    checkpoints=(HEAD,),
    issue=7,
    pull_request=8,
    requester="writer",
    source=Source(kind="comment", key="comment:1:1"),
)


@dataclass(slots=True)
class Said:
    """What stands on GitHub."""

    comments: dict[int, Comment] = field(default_factory=dict)
    reviewed: list[Review] = field(default_factory=list)
    on_lines: list[ReviewComment] = field(default_factory=list)
    shown: dict[str, datetime] = field(default_factory=dict)
    labels: list[tuple[str, datetime]] = field(default_factory=list)
    pushed: list[Push] = field(default_factory=list)
    is_down: bool = False

    async def comment(self, _: Repository, id: int) -> Comment | None:
        if self.is_down:
            raise TransientError("GitHub is out of reach.")
        return self.comments.get(id)

    async def reviews(self, _: Repository, pull: int) -> list[Review]:
        assert pull == RUN.pull_request
        return self.reviewed

    async def line_comments(self, _: Repository, pull: int) -> list[ReviewComment]:
        assert pull == RUN.pull_request
        return self.on_lines

    async def labelled(self, _: Repository, issue: int) -> list[tuple[str, datetime]]:
        assert issue == RUN.issue
        return self.labels

    async def pushes(self, _: Repository, branch: str) -> list[Push]:
        assert branch == RUN.branch
        return self.pushed

    async def shown_at(self, _: Repository, sha: str) -> datetime | None:
        return self.shown.get(sha)


def comment(body: str, **more: Any) -> Said:
    written = Comment(5, body, "ada", LATER, LATER, number=7)
    return Said({5: replace(written, **more)}, shown={HEAD.sha: THEN})


def review(body: str = "", state: str = "approved", **more: Any) -> Said:
    given = Review(5, state, body, HEAD.sha, "ada", False, LATER)
    return Said(reviewed=[replace(given, **more)])


def on_line(body: str, **more: Any) -> Said:
    written = ReviewComment(
        5, "a.py", 1, body, "ada", None, created_at=LATER, updated_at=LATER, commit_sha=HEAD.sha
    )
    return Said(on_lines=[replace(written, **more)])


def decided(id: str, type: Type = Type.APPROVED, **data: Any) -> Event:
    given = {"sha": HEAD.sha, "tree": HEAD.tree, **data}
    return Event(id=id, at=LATER, actor="ada", type=type, data=given)


APPROVED = decided("comment:5:1")
REVIEWED = decided("review:5:0")
ON_LINE = decided("review-comment:5:1")
OVERRIDDEN = decided("comment:5:1", Type.OVERRIDDEN, check="tests")
DELEGATED = decided("comment:5:1", Type.DELEGATED, to="grace")
NOT_THERE = "not in the run's conversation, or changed"


@pytest.mark.parametrize(
    ("said", "event"),
    [
        (comment(f"/approve {HEAD.sha}"), APPROVED),
        (comment(f"/approve {HEAD.sha[:7]}", number=8, author="Ada"), APPROVED),
        (comment("/approve"), APPROVED),
        (comment("/override tests it is a known flake"), OVERRIDDEN),
        (comment("/delegate @grace"), DELEGATED),
        (comment("/approve"), decided("comment:5:1", of="plan")),
        (review(), REVIEWED),
        (review("/approve", state="commented"), decided("review:5:1")),
        (on_line("/approve"), ON_LINE),
    ],
)
async def test_what_stands_on_github_counts(said: Said, event: Event) -> None:
    assert await doubted(said, USAGES, RUN, [event]) == {}


@pytest.mark.parametrize(
    ("said", "event", "why"),
    [
        (Said(), APPROVED, NOT_THERE),
        (comment("/approve", updated_at=LATER + timedelta(seconds=9)), APPROVED, NOT_THERE),
        (comment("/approve", number=9), APPROVED, NOT_THERE),
        (comment("/approve", author_is_bot=True), APPROVED, NOT_THERE),
        (comment("/approve", author="mallory"), APPROVED, "somebody else wrote"),
        (comment("/reject"), APPROVED, "say something else"),
        (comment("thanks"), APPROVED, "say something else"),
        (comment("/approve"), decided("comment:5:2"), "say something else"),
        (comment(f"/approve {'f' * 40}"), APPROVED, "for another commit"),
        (comment("/approve", created_at=THEN, updated_at=THEN), APPROVED, "not shown before"),
        (replace(comment("/approve"), shown={}), APPROVED, "not shown before"),
        (comment("/approve"), decided("comment:5:1", tree="0" * 40), "no checkpoint of the run"),
        (comment("/approve"), decided("comment:5:1", sha="0" * 40), "no checkpoint of the run"),
        (comment("/override lint it is slow"), OVERRIDDEN, "about another check"),
        (comment("/override tests-2 it is slow"), OVERRIDDEN, "about another check"),
        (comment("/delegate @mallory"), DELEGATED, "for somebody else"),
        (comment("/approve"), decided("check:5:approve"), "by a button"),
        (Said(), REVIEWED, NOT_THERE),
        (review(state="dismissed"), REVIEWED, "say something else"),
        (review(author_is_bot=True), REVIEWED, NOT_THERE),
        (review(author="mallory"), REVIEWED, "somebody else wrote"),
        (review(commit_sha="f" * 40), REVIEWED, "for another commit"),
        (on_line("/approve", updated_at=LATER + timedelta(seconds=9)), ON_LINE, NOT_THERE),
        (on_line("/approve", commit_sha="f" * 40), ON_LINE, "for another commit"),
        (Said(is_down=True), APPROVED, "GitHub could not be asked: GitHub is out of reach"),
    ],
)
async def test_what_github_does_not_confirm_does_not_count_and_says_why(
    said: Said, event: Event, why: str
) -> None:
    found = await doubted(said, USAGES, RUN, [event])
    assert list(found) == [event.id]
    assert why in found[event.id]


async def test_a_doubt_about_one_decision_is_none_about_another() -> None:
    said = comment("/approve")
    forged = decided("comment:6:1")
    assert list(await doubted(said, USAGES, RUN, [forged, APPROVED])) == [forged.id]


async def test_what_is_no_decision_is_not_asked_for() -> None:
    event = Event(id="comment:5:1", at=LATER, actor="ada", type=Type.PAUSED, data={})
    assert await doubted(Said(is_down=True), USAGES, RUN, [event]) == {}


ASKED = Event(id="comment:1:1", at=THEN, actor="writer", type=Type.REQUESTED, data={})
WROTE = Comment(1, "/orchestrate it", "Writer", THEN, LATER, number=99)
"""What the run came from. Later it was edited, and its issue moved: it is whose it was."""


@pytest.mark.parametrize(
    ("wrote", "source", "asked", "why"),
    [
        (WROTE, Source(kind="comment", key="comment:1:1"), "writer", ""),
        (None, Source(kind="schedule", key="nightly@1"), "orchestrate", ""),
        (None, Source(kind="schedule", key="nightly@1"), "writer", "tells of nobody"),
        (None, Source(kind="comment", key="comment:1:1"), "writer", "is gone"),
        (WROTE, Source(kind="comment", key="comment:1:1"), "reader", "somebody else wrote"),
        (
            replace(WROTE, author_is_bot=True),
            Source(kind="comment", key="comment:1:1"),
            "writer",
            "somebody else wrote",
        ),
        (WROTE, Source(kind="comment", key="review:1:1"), "writer", "tells of nobody"),
    ],
)
async def test_who_asked_for_a_run_is_who_wrote_what_it_came_from(
    wrote: Comment | None, source: Source, asked: str, why: str
) -> None:
    said = comment(f"/approve {HEAD.sha}")
    said.comments |= {1: wrote} if wrote else {}
    run = RUN.model_copy(update={"source": source})
    event = ASKED.model_copy(update={"actor": asked})
    found = await doubted(said, USAGES, run, [event, APPROVED])
    assert why in found.get(event.id, "")
    # Where nobody knows who asked, whoever approved may have.
    assert list(found) == ([event.id, APPROVED.id] if why else [])


@pytest.mark.parametrize(
    "run",
    [
        RUN.model_copy(update={"requester": "Ada"}),
        RUN.model_copy(update={"checkpoints": (HEAD.model_copy(update={"by": ("ada",)}),)}),
    ],
)
async def test_an_approval_that_may_have_been_refused_is_given_again(run: Run) -> None:
    """The words stand on GitHub, and whoever said them had a part: the rules decide anew."""
    found = await doubted(comment(f"/approve {HEAD.sha}"), USAGES, run, [APPROVED])
    assert "had a part in the run themselves" in found[APPROVED.id]


LABEL = Source(kind="label", key=f"label:7:{THEN.isoformat()}")


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([("Writer", THEN)], ""),
        ([("writer", LATER), ("ada", THEN - timedelta(minutes=1))], ""),
        ([], "somebody else may have set the label"),
        ([("ada", THEN)], "somebody else may have set the label"),
        ([("", THEN)], "somebody else may have set the label"),
        ([("writer", THEN), ("ada", LATER)], "somebody else may have set the label"),
        ([("writer", THEN + timedelta(minutes=1))], "somebody else may have set the label"),
    ],
)
async def test_who_began_a_run_by_a_label_is_who_set_it(
    labels: list[tuple[str, datetime]], why: str
) -> None:
    run = RUN.model_copy(update={"source": LABEL})
    found = await doubted(Said(labels=labels), USAGES, run, [ASKED])
    assert (ASKED.id in found) is bool(why)
    assert why in found.get(ASKED.id, "")


OURS, EARLIER = Push(None, HEAD.sha), "e" * 40


@pytest.mark.parametrize(
    ("pushed", "why"),
    [
        ([], ""),
        ([OURS], ""),
        ([Push("Writer", HEAD.sha)], ""),
        ([OURS, Push("grace", EARLIER)], ""),
        # What is newer than all checkpoints is taken in like any push, with who pushed it.
        ([Push("mallory", "f" * 40), OURS], ""),
        ([Push("mallory", HEAD.sha)], "`mallory` pushed to its branch, and the record does not"),
        ([OURS, Push("mallory", EARLIER)], "`mallory` pushed to its branch"),
        ([OURS, Push("", EARLIER)], "somebody pushed to its branch"),
    ],
)
async def test_whoever_pushed_to_the_branch_must_be_named_by_the_record(
    pushed: list[Push], why: str
) -> None:
    """One who pushed, and wrote themselves out of the record, could approve it otherwise."""
    theirs = HEAD.model_copy(update={"kind": "human", "by": ("Grace",)})
    run = RUN.model_copy(update={"checkpoints": (theirs,)})
    found = await doubted(Said({1: WROTE}, pushed=pushed), USAGES, run, [ASKED])
    assert (ASKED.id in found) is bool(why)
    assert why in found.get(ASKED.id, "")
