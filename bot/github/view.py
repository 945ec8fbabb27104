"""GitHub is a view: what should stand there for a run, and nothing about how it gets there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bot.events import ORCHESTRATE
from bot.github.checks import check_runs
from bot.github.comment import commit, headline, marker, status_comment
from bot.github.markup import cut_body
from bot.github.pull_text import pull_request
from bot.github.shown import Attention, SpentLabel, StatusComment, ThreadAnswer, View
from bot.runs.model import Answer, Run
from bot.runs.transitions import State

CALLS = frozenset({State.AWAITING_REVIEW, State.AWAITING_APPROVAL, State.BLOCKED, State.FAILED})
"""States in which people must act, and are told once."""

LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?")
"""A person's login, with the underscore that managed users have; apps' end in `[bot]`."""

NO_LINKS: Mapping[str, str] = MappingProxyType({})


def view(
    run: Run,
    results: Sequence[Mapping[str, Any]],
    *,
    links: Mapping[str, str] = NO_LINKS,
    drafts: bool = True,
) -> View:
    """Say what should stand on GitHub for a run.

    `results` are those of the head, as the store keeps them; `links` the addresses of check runs
    by the check's name; `drafts` whether the repository has draft pull requests.
    """
    number = thread(run)
    text = status_comment(run, results, links)
    return View(
        comment=StatusComment(number, marker(run), text) if number else None,
        pull=pull_request(run, results, drafts=drafts),
        checks=check_runs(run, results),
        attention=_attention(run, number),
        answers=_answers(run),
        label=SpentLabel(run.issue, run.label) if run.label and run.issue else None,
    )


def thread(run: Run) -> int | None:
    """Name the conversation that the run's comment stands in: where it was asked for.

    A run that nobody asked for in a conversation, such as a scheduled one, speaks in its pull
    request, and before there is one not at all.
    """
    return run.pull_request if run.source.kind == "schedule" else run.issue or run.pull_request


def _attention(run: Run, number: int | None) -> Attention | None:
    if run.state not in CALLS or number is None or not is_person(run.requester):
        return None
    # The same as long as the run stands where it does, and another each time it gets there.
    place = f"{run.segment}.{run.turns}.{run.attempt}.{len(run.checkpoints)}"
    key = f"attention:{run.state}:{place}"
    asks_review = run.state is State.AWAITING_REVIEW and run.pull_request is not None
    name = f"<!-- orchestrate:run:{run.id}:{key} -->"
    return Attention(
        key=key,
        kind="review" if asks_review else "mention",
        number=run.pull_request or number if asks_review else number,
        login=run.requester,
        marker=name,
        text=cut_body(f"{name}\n@{run.requester} {headline(run)}\n"),
    )


def is_person(login: str) -> bool:
    """Say whether a name can be mentioned: not ours, not an app's, and nothing but a login."""
    return login != ORCHESTRATE and LOGIN.fullmatch(login) is not None


def _answers(run: Run) -> tuple[ThreadAnswer, ...]:
    """Answer the review's threads whose turn has become a checkpoint."""
    if run.pull_request is None:
        return ()
    return tuple(_answer(run, each) for each in run.answers if each.sha)


def _answer(run: Run, answer: Answer) -> ThreadAnswer:
    name = f"<!-- orchestrate:run:{run.id}:answer:{answer.comment} -->"
    made = next((each for each in run.checkpoints if each.sha == answer.sha), None)
    which = (
        f"checkpoint {made.number}, {commit(run, made.sha)}" if made else commit(run, answer.sha)
    )
    return ThreadAnswer(answer.comment, name, f"{name}\nAnswered by {which}.")
