"""The buttons of a check run are the commands of that name, for the commit that it belongs to.

GitHub's own "Re-run" is `/retry` of that check, and "Re-run all checks" of all.
"""

from __future__ import annotations

from bot.commands import Command
from bot.payloads import ButtonPressed, CheckRerun, SuiteRerun
from bot.router import Conversation, Router, Spoken, repository_of
from bot.runs.model import Run

BUTTONS = frozenset({"approve", "undo", "retry", "resume", "cancel", "pause"})
"""The commands that a button may give: those that need no words."""


async def on_button(router: Router, arrival: ButtonPressed) -> None:
    """Obey the command that a button stands for."""
    run = await _run(router, arrival)
    if run is not None and arrival.identifier in BUTTONS:
        await _press(router, arrival, run, Command(arrival.identifier, line=0))


async def on_rerun(router: Router, arrival: CheckRerun) -> None:
    """Run one check again."""
    run, name = await _run(router, arrival), arrival.external_id.split(":", 3)[-1]
    if run is not None:
        is_check = name in [each.name for each in run.outcomes]
        await _press(router, arrival, run, Command("retry", (name,) if is_check else (), line=0))


async def on_suite(router: Router, arrival: SuiteRerun) -> None:
    """Run all checks of a commit again, where it is the head of a run."""
    for run in await router.desk.store.of_repository(arrival.where.repository):
        if run.head == arrival.head_sha and run.checkpoints:
            await _press(router, arrival, run, Command("retry", line=0))


async def _run(router: Router, arrival: ButtonPressed | CheckRerun) -> Run | None:
    """Find the run of a check run: ours carry its id, and those of others have none."""
    run_id = arrival.external_id.split(":", 1)[0]
    runs = await router.desk.store.of_repository(arrival.where.repository)
    return next((each for each in runs if each.id == run_id), None)


async def _press(
    router: Router, arrival: ButtonPressed | CheckRerun | SuiteRerun, run: Run, command: Command
) -> None:
    if arrival.sender_is_bot:
        return
    spoken = Spoken(
        # A button may be pressed again, and GitHub numbers its presses nowhere else.
        cause=f"button:{arrival.delivery}:{command.verb}",
        login=arrival.sender,
        at=router.desk.clock(),
        how="button",
        repository=repository_of(arrival.where),
        conversation=Conversation(run.pull_request or run.issue or 0, is_pull=True),
        seen=arrival.head_sha,
    )
    await router.order(spoken, command)
