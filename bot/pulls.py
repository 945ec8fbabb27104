"""Whose a pull request is: a run's from the moment that GitHub has it, not from when we record it.

GitHub may open a pull request and its answer be lost, or what is drawn next fail for an hour. The
people there see the pull request all the same, and speak to the run in it.
"""

from __future__ import annotations

from bot.errors import Refused
from bot.events import ORCHESTRATE, Event, Type
from bot.runs.model import Repository, Run
from bot.runs.ports import Clock
from bot.runs.store import Store
from bot.threads import Threads


def opened(number: int, clock: Clock) -> Event:
    """Return the event that a run's pull request has this number; whoever learns of it first."""
    return Event(
        id=f"pull-request:{number}",
        at=clock(),
        actor=ORCHESTRATE,
        type=Type.PULL_REQUEST_OPENED,
        data={"number": number},
    )


async def runs_of_pull(
    store: Store, threads: Threads, clock: Clock, repository: Repository, number: int
) -> list[Run]:
    """Return the runs of a pull request, the newest first.

    Where none is recorded, and a run waits to learn the number of its own, GitHub is asked whether
    this is of its branch; that is recorded then. Raises `TransientError` when GitHub cannot say.
    """
    known = await store.of_thread(repository.id, number)
    if known or not (lacking := await store.without_pull(repository.id)):
        return known
    try:
        pull = await threads.pull(repository, number)
    except Refused:
        return known  # It is gone, or not for our eyes.
    if pull.head_repository != repository.id:
        return known  # A fork may have a branch of the same name.
    for run in lacking:
        if run.branch == pull.head_ref:
            return [await store.append(run.id, lambda _: [opened(number, clock)])]
    return known
