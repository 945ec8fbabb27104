"""`/trust SHA` lets the checks run on a pull request that no run made, on that commit alone.

    /orchestrate trust 1a2b3c4

There the bare word means nothing yet, so `/orchestrate` stands before it.
It is off until the configuration says `trust: checks`. The checks are those of the default branch;
they run in the sandbox, without the network and without any secret, on what the default branch has
installed, so that dependencies which the pull request adds are not there. The results are check
runs on the commit. No agent works on it, and nothing is pushed. A push ends it: the new head must
be trusted anew. With `trust: agents` whoever may start a run may then write `/orchestrate REQUEST`
there, which goes on from that commit in a pull request of its own.
"""

from __future__ import annotations

from bot.commands import Usage
from bot.errors import UserError
from bot.events import Event, Type
from bot.router import Desk, Feature, Order
from bot.runs.model import Source
from bot.runs.transitions import TERMINAL
from policies.facts import TrustFacts
from policies.trust import check_trust


async def handle(desk: Desk, order: Order) -> str | None:
    """Start a run that does nothing but check the head that is trusted."""
    spoken, run = order.spoken, order.run
    here = spoken.conversation
    if not here.is_pull:
        raise UserError("Only pull requests are trusted; give the command on one.")
    if run is not None and not run.trusted:
        raise UserError(f"This pull request is run `{run.id}`'s own, and needs no trust.")
    pull = await desk.threads.pull(spoken.repository, here.number)
    seen = order.command.argument() or ""
    facts = TrustFacts(seen, pull.head_sha, is_open=pull.state == "open")
    verdict = check_trust(facts, order.config)
    if not verdict.allowed:
        raise UserError(verdict.reason)
    if run is not None and run.trusted == pull.head_sha and run.state not in TERMINAL:
        raise UserError(f"`{pull.head_sha[:7]}` is being checked already, by run `{run.id}`.")
    source = Source(kind="trust", key=order.cause, url=spoken.url)
    data = {
        "request": f"Check #{here.number} at {pull.head_sha[:7]}",
        "source": source.model_dump(),
        "trusted": pull.head_sha,
        "pull": here.number,
        "by": pull.author,
    }
    event = Event(
        id=source.key, at=desk.clock(), actor=spoken.login, type=Type.REQUESTED, data=data
    )
    await desk.store.create(spoken.repository, event)
    return None


FEATURE = Feature(
    Usage(
        "trust",
        "lets the checks run on a pull request that no run made, on that commit alone",
        arguments=("SHA",),
        examples=("/orchestrate trust 1a2b3c4",),
    ),
    handle,
)
