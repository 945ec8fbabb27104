"""A review of a run's pull request: approving it counts as `/approve` of the commit that was seen.

Requesting changes is the agent's next turn, with the review's text and its comments on lines; each
of those threads is answered with the commit that answered it. Commands in a review's text are
obeyed as in any comment.
"""

from __future__ import annotations

from bot.commands import Command
from bot.payloads import ReviewSubmitted
from bot.router import Conversation, Router, Spoken, repository_of
from bot.runs.transitions import TERMINAL, State
from bot.runs.waking import wake

DECIDES = {"approved": ("approve",), "changes_requested": ("orchestrate", "reject")}
"""The commands that a review of this state stands for."""


async def on_review(router: Router, arrival: ReviewSubmitted) -> None:
    """Take a review in."""
    if arrival.author_is_bot:
        return
    spoken = Spoken(
        cause=f"review:{arrival.review}",
        login=arrival.author,
        at=arrival.submitted_at,
        how="review",
        repository=repository_of(arrival.where),
        conversation=Conversation(arrival.number, arrival.pull_title, is_pull=True),
        url=arrival.url,
        seen=arrival.commit_sha,
        found=not arrival.delivery,
    )
    run = await router.run_of(spoken)
    if run is not None and run.pull_request == arrival.number:
        spoken = await router.catch_up(spoken)
        run = await router.run_of(spoken)
    ours = run is not None and run.pull_request == arrival.number and run.state not in TERMINAL
    if ours and run is not None and run.state is State.MERGING and arrival.state == "approved":
        # It is approved already; GitHub's own rules may have waited for this.
        await wake(router.desk.store, run, spoken.cause, router.desk.clock())
    elif ours and arrival.state == "approved":
        await router.order(spoken, Command("approve", line=0))
    elif ours and arrival.state == "changes_requested":
        await router.order(spoken, await _changes(router, spoken, arrival))
    # What the review decides by itself is not decided again by the words in it.
    await router.hear(spoken, arrival.body, besides=DECIDES.get(arrival.state, ()) if ours else ())


async def _changes(router: Router, spoken: Spoken, arrival: ReviewSubmitted) -> Command:
    """Make one request of a review's text and its comments on lines."""
    comments = await router.desk.threads.review_comments(
        spoken.repository, arrival.number, arrival.review
    )
    parts = [arrival.body.strip()]
    for each in comments:
        line = f", line {each.line}" if each.line else ""
        parts.append(f"On `{each.path}`{line}: {each.body.strip()}")
    text = "\n\n".join(part for part in parts if part) or "The review asks for changes."
    threads = ",".join(str(each.id) for each in comments)
    options = {"threads": threads} if threads else {}
    return Command(
        "orchestrate", text=text or "The review asks for changes.", options=options, line=0
    )
