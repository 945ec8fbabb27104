"""Says what was tampered with in a run's record: here, at the remote and in the database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.app import address_by, reach
from bot.errors import OperatorError, Refused
from bot.events import Event
from bot.git import objects
from bot.git.checkpoint import Identity
from bot.git.mirror import Mirror
from bot.git.records import Address, Records
from bot.git.remote import Remote
from bot.git.verify import parting
from bot.github.forge import GitHubForge
from bot.local import find_run, reading
from bot.runs.model import Repository, Run
from bot.runs.recheck import recheck
from bot.runs.store import Store
from bot.settings import Settings

NOBODY = Identity("orchestrate", "orchestrate@localhost")
"""Who signs where nothing is written."""


async def verify_run(settings: Settings, run_id: str) -> dict[str, Any]:
    """Verify a run's record; `problems` are sentences, and none where it is whole.

    `events` counts those of the record, `published` those of them that the remote has, `decisions`
    the approvals, overrides and merges that were checked again.
    """
    run, home = await find_run(settings, run_id)
    async with reading(home, settings) as store, _address(settings, run, store) as address:
        found = await Records(home / "mirrors", address, NOBODY).audit(run)
        problems = [*found.problems]
        decisions = 0
        if found.events:
            problems += await _against_database(run, found.events, store)
            decisions, wrong = await decided(run.repository, found.events, home / "mirrors")
            problems += wrong
    return {
        "run": run.id,
        "ok": not problems,
        "events": len(found.events),
        "published": found.published,
        "decisions": decisions,
        "problems": problems,
    }


async def decided(
    repository: Repository, events: Sequence[Mapping[str, Any]], mirrors: Path
) -> tuple[int, list[str]]:
    """Check the decisions of a whole record again, against the commits in a mirror."""
    held = Mirror(mirrors / f"{repository.id}.git")

    def tree_of(sha: str) -> str | None:
        try:
            return objects.tree_of(held, sha)
        except (Refused, KeyError, ValueError):
            return None

    try:
        record = [Event.model_validate(each) for each in events]
    except ValidationError:
        return 0, []  # The walk has said which is not whole.
    return await asyncio.to_thread(recheck, record, repository, tree_of)


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
