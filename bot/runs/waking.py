"""A merge that waits is told that there may be news; it then asks GitHub itself.

What a webhook says is no more than a hint: the merge believes what GitHub answers now.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from bot.errors import UserError
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.model import Run
from bot.runs.store import Store

AGAIN = timedelta(minutes=2)
"""How long after its last news a merge that waits is looked after though nothing was heard …"""

AGAIN_PART = 0.25
"""… or this part of how long it has waited: each look is two lines of the record …"""

AGAIN_MOST = timedelta(minutes=15)
"""… but this at the most: a time of `freeze:` may begin, of which nobody tells."""


async def wake(store: Store, run: Run, cause: str, now: datetime) -> None:
    """Let a run that waits to be merged ask again; any other is left alone."""
    if not run.waits_to_merge and not run.active:
        return
    event = Event(id=cause, at=now, actor=ORCHESTRATE, type=Type.REPORTED)

    def decide(current: Run) -> list[Event]:
        is_merging = current.state is run.state and current.approved_head() is not None
        return [event] if is_merging and (current.waits_to_merge or current.active) else []

    try:
        await store.append(run.id, decide)
    except UserError:
        return  # It is not being merged any more.


def is_due(run: Run, now: datetime) -> bool:
    """Say whether a run that waits to be merged is to ask again, though nothing was heard."""
    approval = run.approved_head()
    if not run.waits_to_merge or approval is None:
        return False
    return now - run.updated_at >= min(max(AGAIN, (now - approval.at) * AGAIN_PART), AGAIN_MOST)
