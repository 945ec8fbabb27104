"""The buttons of a check run are the commands of that name, for the commit that it belongs to.

GitHub's own "Re-run" is `/retry` of that check.
"""

from __future__ import annotations

from bot.commands import Command
from bot.payloads import ButtonPressed, CheckRerun
from bot.router import Conversation, Router, Spoken, repository_of

BUTTONS = frozenset({"approve", "undo", "retry", "resume", "cancel", "pause"})
"""The commands that a button may give: those that need no words."""


async def on_button(router: Router, arrival: ButtonPressed) -> None:
    """Obey the command that a button stands for."""
    if arrival.identifier in BUTTONS:
        await _press(router, arrival, arrival.identifier, ())


async def on_rerun(router: Router, arrival: CheckRerun) -> None:
    """Run one check again."""
    name = arrival.external_id.split(":", 3)[-1]
    await _press(router, arrival, "retry", (name,) if name != "rules" else ())


async def _press(
    router: Router, arrival: ButtonPressed | CheckRerun, verb: str, arguments: tuple[str, ...]
) -> None:
    # Our check runs carry the run's id; the checks of others are none of our business.
    run_id = arrival.external_id.split(":", 1)[0]
    repository = repository_of(arrival.where)
    runs = await router.desk.store.of_repository(repository.id)
    run = next((each for each in runs if each.id == run_id), None)
    if run is None or arrival.sender_is_bot:
        return
    spoken = Spoken(
        cause=f"button:{arrival.check_run}:{verb}:{arrival.sender}",
        login=arrival.sender,
        at=router.desk.clock(),
        how="button",
        repository=repository,
        conversation=Conversation(run.pull_request or run.issue or 0, is_pull=True),
        seen=arrival.head_sha,
    )
    await router.order(spoken, Command(verb, arguments, line=0))
