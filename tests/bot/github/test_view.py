"""What should stand on GitHub for a run."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.github.checks import ANNOTATIONS
from bot.github.markup import BODY_LIMIT, OUTPUT_LIMIT
from bot.github.shown import View
from bot.github.view import view
from bot.runs.model import Answer, Approval, Outcome, Run, Source, Standing
from bot.runs.ports import OUTPUT_CUT
from bot.runs.transitions import TERMINAL, State
from tests.bot.github.runs import (
    AT,
    BASE,
    HEAD,
    a_checkpoint,
    a_note,
    a_result,
    a_run,
    a_young_run,
)
from tests.bot.github.test_markup import HOSTILE, LIVE, rendered

APPROVAL = Approval(by="maintainer", sha=HEAD, tree="1" * 40, how="command", at=AT)


def body_of(run: Run, results: list[dict[str, Any]] | None = None) -> str:
    comment = view(run, results or []).comment
    assert comment is not None
    return comment.body


def first_line(run: Run) -> str:
    return body_of(run).splitlines()[1]


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (a_young_run(State.QUEUED), "**Queued:** it begins as soon as there is room."),
        (
            a_young_run(State.QUEUED, standing=Standing(kind="queued", place=3)),
            "**Third in the queue:** it begins as soon as there is room.",
        ),
        (
            a_run(State.RUNNING, standing=Standing(kind="queued", place=6)),
            "**Further back in the queue, with more than 5 before it:** it begins as soon as there "
            "is room.",
        ),
        (
            a_young_run(
                State.RUNNING,
                standing=Standing(
                    kind="outside",
                    reason="GitHub answered 502 to GET /repos.",
                    since=AT,
                    until=AT + timedelta(hours=3),
                ),
            ),
            "**Waiting for what is out of reach** since 2026-01-02 03:04 UTC (running). GitHub "
            "answered 502 to GET /repos. It is tried again by itself, until 2026-01-02 06:04 UTC "
            "at the most.",
        ),
        (
            a_young_run(
                State.QUEUED, standing=Standing(kind="stopped", reason="New disks.", since=AT)
            ),
            "**Stopped by the operator of this server** since 2026-01-02 03:04 UTC (queued). New "
            "disks. Nothing is lost: it goes on by itself once the operator lets it.",
        ),
        (a_young_run(State.PLANNING), "**Planning:** the plan is being written."),
        (
            a_young_run(State.AWAITING_APPROVAL),
            "**The plan waits for approval:** `/approve` starts the work, "
            "`/reject WHY` asks for another plan.",
        ),
        (
            a_young_run(State.RUNNING, turns=1, turn_open=True),
            "**Working:** turn 1 of at most 3, by `ruff-fix`.",
        ),
        (
            a_run(
                State.RUNNING,
                checked=HEAD,
                outcomes=(Outcome(name="pytest", conclusion="failure"),),
            ),
            "**Working:** turn 2 of at most 3, by `ruff-fix` on what `pytest` found.",
        ),
        (
            a_run(State.VALIDATING),
            "**Checking** checkpoint 1 "
            f"([`abc1234`](https://git.example/acme/widgets/commit/{HEAD})).",
        ),
        (
            a_run(State.AWAITING_REVIEW),
            "**Ready for review: #3.** `/approve` merges exactly `abc1234`.",
        ),
        (
            a_run(State.MERGING, approvals=(APPROVAL,)),
            "**Merging** `abc1234` into `main`, approved by `maintainer`.",
        ),
        (
            a_run(State.DONE, approvals=(APPROVAL,), merge_sha="f" * 40),
            "**Done: #3:** merged into `main` as "
            f"[`fffffff`](https://git.example/acme/widgets/commit/{'f' * 40}), "
            "approved by `maintainer`.",
        ),
        (a_young_run(State.DONE), "**Done:** there was nothing to change."),
        (a_run(State.CANCELLED), "**Cancelled.** What was done stays on its branch."),
        (a_run(State.PAUSED), "**Paused.** `/resume` goes on, `/cancel` ends it."),
        (
            a_run(State.BLOCKED, reason="`pytest` fails on abc1234.", next_step="`/retry` it."),
            "**Blocked.** `pytest` fails on abc1234. `/retry` it.",
        ),
        (a_run(State.FAILED), "**Failed, by our fault.** `/resume` tries again."),
    ],
    ids=lambda value: value.state.value if isinstance(value, Run) else "",
)
def test_the_first_line_says_where_the_run_stands_and_what_to_do(run: Run, line: str) -> None:
    assert first_line(run) == line


def test_the_comment_of_a_run_that_is_ready() -> None:
    results = [a_result(), a_result("rules", summary="The changes pass.")]
    page = "https://git.example/acme/widgets"
    shown = view(a_run(), results, links={"orchestrate / pytest": f"{page}/runs/9"}).comment
    assert shown is not None
    assert shown.number == 1
    assert shown.body == (
        "<!-- orchestrate:run:k3v7qbd2aa -->\n"
        "**Ready for review: #3.** `/approve` merges exactly `abc1234`.\n"
        "\n"
        f"1. [`abc1234`]({page}/commit/{HEAD}) Add rate limiting (3 files, +10 −2)\n"
        "\n"
        f"Checks on [`abc1234`]({page}/commit/{HEAD}):\n"
        f"- ✓ [`pytest`]({page}/runs/9): 3 passed\n"
        "- ✓ `rules`: The changes pass.\n"
        "\n"
        "Asked by `writer`, done by `ruff-fix` on `orchestrate/1-add-rate-limiting-k3v7qbd2aa`. "
        "Run `k3v7qbd2aa`.\n"
        "\n"
        "<details><summary>Commands</summary>\n"
        "\n"
        "- `/approve` merges exactly the commit shown\n"
        "- `/orchestrate REQUEST` asks for changes: the agent's next turn\n"
        "- `/rollback N` restores checkpoint N, as a new commit; `base` is the beginning\n"
        "- `/undo` takes the last step back\n"
        "- `/update` brings the base in\n"
        "- `/diff` shows what changed\n"
        "- `/retry [CHECK]` runs the checks again\n"
        "- `/take` hands the branch over to you, and pauses the agent\n"
        "- `/cancel` ends the run; the branch stays\n"
        "\n"
        "</details>\n"
    )


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_run_that_is_over_offers_no_commands(state: State) -> None:
    assert "<details>" not in body_of(a_run(state))


def test_what_needs_a_checkpoint_is_not_offered_before_there_is_one() -> None:
    assert "/undo" in body_of(a_run(State.BLOCKED))
    young = body_of(a_young_run(State.BLOCKED))
    assert "/resume" in young
    assert "/undo" not in young


def test_the_same_run_always_gives_the_same_view() -> None:
    assert view(a_run(), [a_result()]) == view(a_run(), [a_result()])


def test_a_refused_candidate_is_told_without_making_the_good_head_look_bad() -> None:
    run = a_run(State.BLOCKED, refused=("refused  paths: `.github/x` is protected",), turns=2)
    assert "The rules refused what the turn left" in body_of(run)
    (check,) = view(run, []).checks
    assert check.name == "orchestrate / refused candidate"
    assert check.conclusion == "neutral"
    assert "is protected" in check.text


def test_a_refusal_before_the_first_checkpoint_leaves_the_base_alone() -> None:
    run = a_young_run(State.BLOCKED, refused=("refused  paths: no",))
    assert view(run, []).checks == ()


# -- check runs


def test_a_check_run_names_the_run_the_checkpoint_the_attempt_and_the_check() -> None:
    (check,) = view(a_run(), [a_result(attempt=2)]).checks
    assert check.name == "orchestrate / pytest"
    assert check.external_id == "k3v7qbd2aa:1:2:pytest"
    assert check.head == HEAD


def buttons(shown: View) -> set[str]:
    return {action.identifier for check in shown.checks for action in check.actions}


@pytest.mark.parametrize(
    ("state", "conclusion", "offered"),
    [
        (State.AWAITING_REVIEW, "success", {"approve", "undo"}),
        (State.BLOCKED, "failure", {"retry", "undo", "resume"}),
        (State.BLOCKED, "success", set()),
        (State.VALIDATING, "failure", set()),
        (State.DONE, "success", set()),
    ],
)
def test_buttons_offer_what_can_be_decided(
    state: State, conclusion: str, offered: set[str]
) -> None:
    shown = view(a_run(state), [a_result(conclusion=conclusion)])
    assert buttons(shown) == offered
    for check in shown.checks:
        for action in check.actions:
            assert len(action.label) <= 20
            assert len(action.identifier) <= 20
            assert len(action.description) <= 40


def test_while_validating_a_check_that_runs_again_is_in_progress() -> None:
    run = a_run(State.VALIDATING, attempt=1)
    passed, rules = view(run, [a_result(), a_result("rules")]).checks
    assert (passed.conclusion, passed.external_id) == (None, "k3v7qbd2aa:1:1:pytest")
    assert rules.conclusion == "success"


def test_a_retry_of_one_check_leaves_the_green_ones() -> None:
    run = a_run(State.VALIDATING, attempt=1, retry="ruff")
    results = [a_result(), a_result("ruff", "failure"), a_result("mypy", "failure")]
    checks = view(run, results).checks
    assert [check.conclusion for check in checks] == ["success", None, None]


def test_the_checks_of_the_last_checkpoint_are_expected_of_the_next() -> None:
    run = a_run(
        State.VALIDATING,
        checked="b" * 40,
        outcomes=(
            Outcome(name="pytest", conclusion="failure"),
            Outcome(name="ruff", conclusion="success"),
        ),
    )
    checks = view(run, [a_result("ruff")]).checks
    assert [(c.name, c.conclusion) for c in checks] == [
        ("orchestrate / ruff", "success"),
        ("orchestrate / pytest", None),
    ]


def test_an_unknown_conclusion_shows_as_a_failure() -> None:
    (check,) = view(a_run(), [a_result(conclusion="exploded")]).checks
    assert check.conclusion == "failure"


def test_remarks_are_kept_within_what_github_takes() -> None:
    notes = [a_note(n + 1) for n in range(ANNOTATIONS + 5)]
    notes[0] = a_note(5, end_line=2, level="shout", message="x" * 100_000, title="t" * 400)
    notes[1] = a_note(1, path="/etc/passwd")
    (check,) = view(a_run(), [a_result(annotations=notes)]).checks
    assert len(check.annotations) == ANNOTATIONS - 1
    first = check.annotations[0]
    assert (first.start_line, first.end_line, first.annotation_level) == (5, 5, "failure")
    assert len(first.message.encode()) <= 64_000
    assert len(first.title) <= 255
    assert f"The first {ANNOTATIONS} of 205 remarks" in check.summary


# -- the pull request


def test_there_is_no_pull_request_before_the_first_checkpoint() -> None:
    assert view(a_young_run(State.RUNNING), []).pull is None


def test_the_pull_request_carries_the_request_the_plan_and_the_evidence() -> None:
    pull = view(a_run(), [a_result()]).pull
    assert pull is not None
    assert (pull.title, pull.head, pull.base) == (
        "add rate limiting to the API",
        "orchestrate/1-add-rate-limiting-k3v7qbd2aa",
        "main",
    )
    for part in (
        "<!-- orchestrate:run:k3v7qbd2aa -->",
        "> add rate limiting to the API",
        "Asked by `writer` in #1, done by `ruff-fix`",
        "Closes #1\n",
        "- [x] Add rate limiting",
        "(3 files, +10 −2)",
        "- ✓ `pytest` **success**: 3 passed",
        "`/approve abc1234def56`",
    ):
        assert part in pull.body


def test_a_scheduled_run_closes_no_issue() -> None:
    run = a_run(source=Source(kind="schedule", key="nightly"))
    pull = view(run, []).pull
    assert pull is not None
    assert "Closes" not in pull.body


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (State.AWAITING_REVIEW, "- `/approve abc1234def56` or an approving review merges exactly"),
        (State.VALIDATING, "- `/approve` merges it once it is ready for review; it is not yet."),
    ],
)
def test_the_pull_request_says_how_to_decide(state: State, line: str) -> None:
    pull = view(a_run(state), []).pull
    assert pull is not None
    assert line in pull.body


@pytest.mark.parametrize(
    ("state", "begins"),
    [
        (State.PAUSED, "- **Paused.**"),
        (State.BLOCKED, "- **Blocked.**"),
        (State.FAILED, "- **Failed, by our fault.**"),
    ],
)
def test_a_pull_request_whose_run_was_stopped_says_why_and_the_next_step(
    state: State, begins: str
) -> None:
    pull = view(a_run(state, reason="It stands.", next_step="`/resume` goes on."), []).pull
    assert pull is not None
    assert f"{begins} It stands. `/resume` goes on.\n" in pull.body


def test_a_merged_pull_request_leaves_nothing_to_decide() -> None:
    pull = view(a_run(State.DONE), []).pull
    assert pull is not None
    assert "How to decide" not in pull.body


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (State.VALIDATING, False),
        (State.BLOCKED, False),
        (State.AWAITING_REVIEW, True),
        (State.MERGING, True),
        (State.DONE, True),
    ],
)
def test_the_pull_request_is_a_draft_until_people_may_decide(state: State, ready: bool) -> None:
    pull = view(a_run(state), []).pull
    assert pull is not None
    assert pull.ready is ready


def test_without_drafts_the_body_says_what_is_not_ready() -> None:
    pull = view(a_run(State.VALIDATING), [], drafts=False).pull
    assert pull is not None
    assert "**Not ready for review.**" in pull.body
    ready = view(a_run(State.AWAITING_REVIEW), [], drafts=False).pull
    assert ready is not None
    assert "Not ready" not in ready.body


def test_a_cancelled_run_closes_its_pull_request() -> None:
    pull = view(a_run(State.CANCELLED), []).pull
    assert pull is not None
    assert not pull.is_open


# -- people


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (State.QUEUED, None),
        (State.RUNNING, None),
        (State.VALIDATING, None),
        (State.PAUSED, None),
        (State.DONE, None),
        (State.CANCELLED, None),
        (State.AWAITING_APPROVAL, "mention"),
        (State.AWAITING_REVIEW, "review"),
        (State.BLOCKED, "mention"),
        (State.FAILED, "mention"),
    ],
)
def test_people_are_called_only_when_they_must_act(state: State, kind: str | None) -> None:
    attention = view(a_run(state), []).attention
    assert (attention.kind if attention else None) == kind
    if attention:
        assert attention.text.splitlines()[1].startswith("@writer **")


def test_a_call_is_the_same_until_the_run_gets_there_again() -> None:
    once = view(a_run(), []).attention
    later = view(a_run(seq=9, updated_at=AT.replace(year=2027)), []).attention
    again = view(a_run(segment=2), []).attention
    assert once
    assert later
    assert again
    assert once.key == later.key != again.key


@pytest.mark.parametrize("requester", ["orchestrate", "dependabot[bot]", "a b", "x\n@y", ""])
def test_nobody_but_a_person_is_called(requester: str) -> None:
    assert view(a_run(requester=requester), []).attention is None


def test_a_scheduled_run_speaks_only_in_its_pull_request() -> None:
    source = Source(kind="schedule", key="nightly")
    shown = view(a_young_run(State.BLOCKED, source=source, issue=9), [])
    assert (shown.comment, shown.attention) == (None, None)
    comment = view(a_run(source=source, issue=9), []).comment
    assert comment is not None
    assert comment.number == 3


def test_a_review_thread_is_answered_with_the_commit_that_answered_it() -> None:
    answers = (Answer(comment=11, sha=HEAD), Answer(comment=12))
    (answer,) = view(a_run(answers=answers), []).answers
    assert answer.review_comment == 11
    assert "Answered by checkpoint 1, [`abc1234`]" in answer.text


# -- hostile text


@st.composite
def hostile_runs(draw: st.DrawFn) -> tuple[Run, list[dict[str, Any]]]:
    made = a_checkpoint(
        title=draw(HOSTILE), author=draw(HOSTILE), kind=draw(st.sampled_from(["agent", "human"]))
    )
    run = a_run(
        draw(st.sampled_from(list(State))),
        requester=draw(HOSTILE),
        request=draw(HOSTILE),
        title=draw(HOSTILE),
        agent=draw(HOSTILE),
        reason=draw(HOSTILE),
        next_step=draw(HOSTILE),
        refused=tuple(draw(st.lists(HOSTILE, max_size=3))),
        checkpoints=draw(st.sampled_from([(), (made,), (made,) * 40])),
        attempt=draw(st.integers(0, 2)),
    )
    results = [
        a_result(
            draw(HOSTILE) or "x",
            draw(st.sampled_from(["success", "failure", "odd"])),
            summary=draw(HOSTILE),
            text=draw(HOSTILE) * draw(st.sampled_from([1, 500])),
            annotations=[
                a_note(
                    draw(st.integers()),
                    path=draw(HOSTILE),
                    message=draw(HOSTILE),
                    title=draw(HOSTILE),
                )
            ],
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    return run, results


@given(hostile_runs())
def test_no_run_breaks_a_limit_or_mentions_a_stranger(
    drawn: tuple[Run, list[dict[str, Any]]],
) -> None:
    run, results = drawn
    shown = view(run, results)
    bodies = [shown.comment.body if shown.comment else "", shown.pull.body if shown.pull else ""]
    for body in bodies:
        assert len(body) <= BODY_LIMIT
        html = rendered(re.sub(r"^<!--.*-->\n", "", body))
        text = unescape(re.sub(r"<[^>]*>", "", html))
        assert not LIVE.search(re.sub(r"(?::|in|Closes) #[13]\b", "", text))
    if shown.pull:
        assert 0 < len(shown.pull.title) <= 256
    for check in shown.checks:
        assert 0 < len(check.name) <= 255
        assert 0 < len(check.title) <= 255
        assert len(check.external_id) <= 255
        assert 0 < len(check.summary) <= OUTPUT_LIMIT
        assert len(check.text) <= OUTPUT_LIMIT
        assert len(check.actions) <= 3


def test_a_run_of_very_many_words_keeps_github_s_limit() -> None:
    run = a_run(request="@a " * 50_000, title="t" * 1_000, checkpoints=(a_checkpoint(),) * 60)
    results = [a_result(f"check {n}", summary="@" * 10_000) for n in range(60)]
    shown = view(run, results)
    assert shown.comment
    assert shown.pull
    assert max(len(shown.comment.body), len(shown.pull.body)) <= BODY_LIMIT
    assert shown.comment.body.startswith("<!-- orchestrate:run:")
    assert BASE not in shown.comment.body


def test_output_that_is_cut_says_where_all_of_it_is() -> None:
    whole = a_result("tests", text="```\nfine\n```")
    cut = a_result("lint", text=f"{OUTPUT_CUT}\n\n```\n…\n```")
    run = a_run(checkpoints=(a_checkpoint(),))
    shown = {each.name: each.summary for each in view(run, [whole, cut]).checks}
    assert f"`orchestrate logs {run.id}` prints all of it" in shown["orchestrate / lint"]
    assert "orchestrate logs" not in shown["orchestrate / tests"]
