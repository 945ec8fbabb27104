"""Says what was tampered with in a run's record: here, at the remote and in the database."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from bot.app import address_by, reach
from bot.errors import OperatorError
from bot.events import Event
from bot.git.checkpoint import Identity
from bot.git.records import Address, Records
from bot.git.remote import Remote
from bot.git.verify import parting
from bot.github.forge import GitHubForge
from bot.local import find_run, reading
from bot.runs.model import Run
from bot.runs.store import Store
from bot.settings import Settings

NOBODY = Identity("orchestrate", "orchestrate@localhost")
"""Who signs where nothing is written."""


async def verify_run(settings: Settings, run_id: str) -> dict[str, Any]:
    """Verify a run's record; `problems` are sentences, and none where it is whole.

    `events` counts those of the record, `published` those of them that the remote has.
    """
    run, home = await find_run(settings, run_id)
    async with reading(home, settings) as store, _address(settings, run, store) as address:
        found = await Records(home / "mirrors", address, NOBODY).audit(run)
        problems = [*found.problems]
        if found.events:
            problems += await _against_database(run, found.events, store)
    return {
        "run": run.id,
        "ok": not problems,
        "events": len(found.events),
        "published": found.published,
        "problems": problems,
    }


@contextlib.asynccontextmanager
async def _address(settings: Settings, run: Run, store: Store) -> AsyncIterator[Address]:
    """Say where the run's repository is; without the App's key what is here is verified alone."""

    async def local(_: object) -> Remote:
        return Remote(run.repository.url)

    if run.is_local:
        yield local
        return
    try:
        github = reach(settings)
    except OperatorError as error:
        missing = error

        async def nowhere(_: object) -> Remote:
            raise missing

        yield nowhere
        return
    try:
        yield address_by(GitHubForge(github, store))
    finally:
        await github.close()


async def _against_database(
    run: Run, record: Sequence[Mapping[str, Any]], store: Store
) -> list[str]:
    known = [event.model_dump(mode="json") for event in await store.events(run.id)]
    # As the database has them: a newer version may write the same time in another way.
    told = [Event.model_validate(each).model_dump(mode="json") for each in record]
    problems = parting(told, known, "the database")
    now = await store.load(run.id)
    is_behind = now.active or run.id in {id for id, _ in await store.dirty()}
    if len(told) > len(known):
        problems.append(f"The record has {len(told)} events, the database {len(known)}.")
    elif len(told) < len(known) and not is_behind:
        problems.append(f"The database has {len(known)} events, the record {len(told)}.")
    return problems
