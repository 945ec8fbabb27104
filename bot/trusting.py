"""Whether trust of a stranger's commit counts now: the words stand, and whoever wrote them may.

That a run checked the commit is not enough: whoever may push to a repository may push a record, of
which a server that lost its own is rebuilt.
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.commands import Usage
from bot.confirm import doubt_of_trust
from bot.errors import Refused, UserError
from bot.runs.model import Run
from bot.runs.store import Store
from bot.standing import Asked
from bot.threads import Threads
from policies.config import Config
from policies.roles import may_act
from policies.trust import RULE


async def counts(
    threads: Threads, store: Store, usages: Sequence[Usage], run: Run, config: Config
) -> bool:
    """Say whether the trust by which a run checked its commit counts for agents to work on it.

    Raises `TransientError` when GitHub cannot say.
    """
    requested = (await store.events(run.id))[0]
    try:
        if await doubt_of_trust(threads, usages, run, requested):
            return False
        asked = Asked(threads, run.repository, RULE, config)
        person = await asked.person(requested.actor)
    except (Refused, UserError):
        return False
    return may_act(RULE, person, config).allowed
