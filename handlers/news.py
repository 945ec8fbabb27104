"""News of what a merge waits for: a check or a status of the repository's own CI, a queue.

Whatever it says, the merge then asks GitHub for everything anew: an event may be late, lost or of
another commit.
"""

from __future__ import annotations

from bot.payloads import CheckEnded, StatusSaid
from bot.router import Router
from bot.runs.transitions import State
from bot.runs.waking import wake


async def on_check(router: Router, arrival: CheckEnded) -> None:
    """A check run of a commit has ended."""
    if arrival.branch:
        await _heard(router, arrival, arrival.branch)


async def on_status(router: Router, arrival: StatusSaid) -> None:
    """Somebody said something of a commit."""
    for branch in arrival.branches:
        await _heard(router, arrival, branch)


async def _heard(router: Router, arrival: CheckEnded | StatusSaid, branch: str) -> None:
    desk = router.desk
    if arrival.sender == desk.bot:
        return
    for run in await desk.store.in_state(State.MERGING):
        here = run.repository.id == arrival.where.repository and run.branch == branch
        if here and run.head == arrival.sha:
            await wake(desk.store, run, f"news:{arrival.delivery}", desk.clock())
