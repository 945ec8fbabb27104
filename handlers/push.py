"""A push: somebody's commits on a run's branch, or a new configuration on the default branch.

While a run waits for review, commits of people become a checkpoint of theirs and are checked. At
any other time their push pauses the run, and `/resume` takes the commits in. Nothing of theirs is
overwritten: the bot pushes only onto what it pushed itself.
"""

from __future__ import annotations

from typing import Any

from bot.configuration import OF_ALL, check_proposed, check_pushed, kinds_in
from bot.errors import UserError
from bot.events import GHOST, Event, Type
from bot.payloads import PullChanged, Pushed
from bot.router import Desk, Router, repository_of
from bot.runs.model import Repository, Run
from bot.runs.onto import voided
from bot.runs.transitions import State
from bot.runs.waking import wake
from policies.config import PATH

NOTHING = "0" * 40

LEFT = ("dequeued", "auto_merge_disabled", "labeled")
"""What says that GitHub does not merge by itself any more, or that a label may hold it."""


async def on_push(router: Router, arrival: Pushed) -> None:
    """Take a push in; those of the bot itself say nothing new."""
    desk, repository = router.desk, repository_of(arrival.where)
    if arrival.branch == repository.default_branch:
        if arrival.after != NOTHING:
            await _on_default(desk, repository, arrival)
        return
    if arrival.branch is None or arrival.sender == desk.bot or arrival.after == NOTHING:
        return
    run = await desk.store.of_branch(repository.id, arrival.branch)
    if run is not None:
        # Deliveries come late and in any order: what counts is where the branch is now.
        tip = await desk.threads.tip(repository, arrival.branch)
        if tip is not None:
            await pushed(desk, run, tip, arrival.sender if tip == arrival.after else GHOST)


async def _on_default(desk: Desk, repository: Repository, arrival: Pushed) -> None:
    """Take in what a push to the default branch changes of what holds."""
    if arrival.paths_cut or PATH in arrival.paths:
        await desk.repositories.learn_schedules(repository)
        await check_pushed(desk, repository, arrival.after)
    if OF_ALL in kinds_in(repository) and (arrival.paths_cut or OF_ALL.path in arrival.paths):
        desk.repositories.organisation_changed(repository)
        await check_pushed(desk, repository, arrival.after, OF_ALL)


async def on_pull(router: Router, arrival: PullChanged) -> None:
    """Take in that a run's pull request was closed, or merged by hand; look at the configuration.

    A pull request that would change the configuration says on its lines whether it can be read.
    """
    desk, repository = router.desk, repository_of(arrival.where)
    if arrival.action in LEFT:
        for run in await desk.runs_of_pull(repository, arrival.number):
            await wake(desk.store, run, f"left:{arrival.delivery}", desk.clock())
        return
    if arrival.action != "closed" and arrival.base_ref == repository.default_branch:
        await check_proposed(desk, repository, arrival.number, arrival.head_sha)
    runs = await desk.runs_of_pull(repository, arrival.number)
    if arrival.action == "synchronize":
        for run in runs:
            # A run that goes on from a stranger's head has a pull request of its own as well.
            if run.onto is None or run.onto.pull == arrival.number:
                await outdated(desk, run, arrival.head_sha, arrival.sender)
    if arrival.action != "closed":
        return
    for run in runs:
        # What GitHub merges later it merges in the name of who asked for that: of the bot.
        ours = arrival.sender == desk.bot and not run.waits_to_merge
        if run.pull_request == arrival.number and not ours:
            # The order of deliveries is not the order of events: ask how things stand now.
            pull = await desk.threads.pull(repository, arrival.number)
            await closed(
                desk, run, pull.state, pull.merge_sha if pull.merged else "", arrival.sender
            )


async def pushed(desk: Desk, run: Run, after: str, who: str) -> None:
    """Record that somebody pushed `after` to a run's branch."""
    if after in {run.base_sha, run.foreign, *(each.sha for each in run.checkpoints)}:
        return
    data: dict[str, Any] = {"before": run.head, "after": after, "who": _name(who)}
    await _record(desk, run, f"push:{after}", who, Type.HUMAN_PUSHED, data)


async def outdated(desk: Desk, run: Run, head: str, who: str) -> None:
    """End the checks of a stranger's commit that is the head no more, and pause work on it."""
    if run.onto and run.onto.sha != head and run.onto.moved != head:
        stopped = run.state in (State.PAUSED, State.BLOCKED)
        kind = Type.BLOCKED if stopped else Type.PAUSED
        await _record(desk, run, f"outdated:{head}", who, kind, voided(run, head, _name(who)))
    if run.trusted and run.trusted != head:
        data = {
            "reason": f"{_name(who)} pushed {head[:7]}, which nobody trusts yet.",
            "next_step": "`/orchestrate trust SHA` trusts the head as it is now.",
        }
        await _record(desk, run, f"outdated:{head}", who, Type.CANCELLED, data)


async def closed(desk: Desk, run: Run, state: str, merge_sha: str, who: str) -> None:
    """Record that a run's pull request was merged by hand, or closed."""
    cause = f"closed:{run.pull_request}"
    if merge_sha:
        landed = {"sha": merge_sha, "by_hand": not run.waits_to_merge}
        await _record(desk, run, cause, who, Type.MERGED, landed)
    elif state == "closed":
        data = {
            "reason": f"{_name(who)} closed the pull request.",
            "next_step": "`/orchestrate REQUEST` on the issue starts a new run.",
        }
        await _record(desk, run, cause, who, Type.CANCELLED, data)


def _name(login: str) -> str:
    """Name who did it; what was found by looking, or came of a deleted account, has nobody."""
    return "Somebody" if login == GHOST else f"@{login}"


async def _record(
    desk: Desk, run: Run, cause: str, who: str, kind: Type, data: dict[str, Any]
) -> None:
    event = Event(id=cause, at=desk.clock(), actor=who, type=kind, data=data)

    def decide(now: Run) -> list[Event]:
        # What is being merged finds out for itself that it is merged.
        under_way = now.state is State.MERGING and not now.waits_to_merge
        return [] if kind is Type.MERGED and under_way else [event]

    try:
        await desk.store.append(run.id, decide)
    except UserError:
        return  # The run has ended: what happens to its branch is no longer its matter.
