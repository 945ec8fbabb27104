"""The label `orchestrate` on an issue starts a run of what the issue says, as the command does.

Another name for the label is `label:` in the configuration. Whoever sets the label must be allowed
to start runs, and so must the issue's author, whose words become the request. The label is taken
off again, so that setting it once more asks once more.
"""

from __future__ import annotations

from bot.commands import Command
from bot.errors import UserError
from bot.payloads import Labeled
from bot.requests import speaks, start_run
from bot.router import Conversation, Desk, Order, Router, Spoken, repository_of
from bot.runs.model import Source


async def on_label(router: Router, arrival: Labeled) -> None:
    """Start a run, when the label is the one for that."""
    if arrival.sender_is_bot or arrival.is_pull:
        return
    repository = repository_of(arrival.where)
    config = await router.policy(repository)
    if arrival.label.lower() != config.label.lower():
        return
    spoken = Spoken(
        cause=f"label:{arrival.number}:{arrival.labeled_at.isoformat()}",
        login=arrival.sender,
        at=arrival.labeled_at,
        how="command",
        repository=repository,
        conversation=Conversation(
            arrival.number, arrival.issue_title, arrival.issue_body, arrival.issue_author
        ),
        url=arrival.url,
    )
    await router.order(spoken, Command("orchestrate", line=0), start)


async def start(desk: Desk, order: Order) -> str | None:
    """Start a run with the issue itself as the request."""
    spoken, here = order.spoken, order.spoken.conversation
    if not await speaks(desk, spoken.repository, here.author, order.config):
        raise UserError(
            f"This issue is by @{here.author}, who may not speak to agents here; "
            "comment `/orchestrate REQUEST` in your own words."
        )
    source = Source(kind="label", key=spoken.cause, url=spoken.url)
    data = {"request": here.title, "label": order.config.label}
    await start_run(desk, spoken, order.config, source, data)
    return None
