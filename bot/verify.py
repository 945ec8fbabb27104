"""Says what was tampered with in a run's record: here, at the remote and in the database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.app import address_by, reach
from bot.errors import OperatorError, Refused
from bot.events import Event
from bot.git import history, objects, refs
from bot.git.checkpoint import Identity
from bot.git.local import open_repository
from bot.git.mirror import Mirror
from bot.git.records import Address, Records
from bot.git.remote import Remote
from bot.git.verify import parting
from bot.git.workbench import READ_LIMIT
from bot.github.forge import GitHubForge
from bot.local import find_run, reading
from bot.runs.model import Repository, Run
from bot.runs.recheck import Rechecked, recheck
from bot.runs.store import Store
from bot.settings import Settings
from policies.config import PATH

NOBODY = Identity("orchestrate", "orchestrate@localhost")
"""Who signs where nothing is written."""

NOTHING = Rechecked(0, [], 0, [])
"""What was checked again of a record that cannot be read."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files that policies are made of, in mirrors and clones. Fulfils `recheck.Sources`.

    `default` is the full name of the default branch's ref in the last of `places`, empty where it
    is not known, and None where what was checked out holds, as on somebody's own machine; `of_all`
    is a clone of what the organisation says.
    """

    places: tuple[Mirror, ...]
    default: str | None
    of_all: Mirror | None = None

    def own(self, commit: str) -> str | None:
        """Read the repository's file at a commit, empty where none is; None without the commit."""
        for place in self.places:
            with contextlib.suppress(*_ABSENT):
                objects.tree_of(place, commit)
                found = objects.read(place, commit, PATH, READ_LIMIT)
                return (found or b"").decode("utf-8", "replace")
        return None

    def was_default(self, commit: str) -> bool | None:
        """Whether the default branch ever stood at a commit; None where that cannot be told."""
        if self.default is None:
            return True
        place = self.places[-1]
        tip = refs.tip(place, self.default) if self.default else None
        if tip is None:
            return None
        try:
            if history.is_followed(place, commit, tip):
                return True
            # By another parent, as where people pull before they push; or ahead of a clone that
            # lags behind: it may be so, and so it is for who forged it.
            near = {objects.is_ancestor(place, *each) for each in ((commit, tip), (tip, commit))}
        except _ABSENT:
            return None
        return None if True in near else False

    def organisation(self, blob: str) -> str | None:
        """Read an organisation's file by the id of its content; None where that is not at hand."""
        for place in (self.of_all,) if self.of_all else ():
            with contextlib.suppress(*_ABSENT):
                return objects.read_blob(place, blob, READ_LIMIT).decode("utf-8", "replace")
        return None


_ABSENT = (Refused, KeyError, ValueError)


async def clone_of(folder: Path | None) -> Mirror | None:
    """Open the clone of an organisation's repository, where one is given."""
    if folder is None:
        return None
    return Mirror(Path((await open_repository(folder)).url))


async def verify_run(
    settings: Settings, run_id: str, organisation: Path | None = None
) -> dict[str, Any]:
    """Verify a run's record; `problems` are sentences, and none where it is whole.

    `events` counts those of the record, `published` those of them that the remote has, `decisions`
    the approvals, overrides and merges that were checked again, `policies` those that hold by the
    policy made again; `unchecked` says of which it could not be made. `organisation` is a clone of
    what the organisation says.
    """
    run, home = await find_run(settings, run_id)
    async with reading(home, settings) as store, _address(settings, run, store) as address:
        found = await Records(home / "mirrors", address, NOBODY).audit(run)
        problems = [*found.problems]
        again = NOTHING
        if found.events:
            problems += await _against_database(run, found.events, store)
            held = Mirror(home / "mirrors" / f"{run.repository.id}.git")
            default = f"refs/remotes/origin/{run.repository.default_branch}"
            # What is on somebody's own machine is configured by what was checked out there.
            files = Files((held,), None if run.is_local else default, await clone_of(organisation))
            again = await decided(run.repository, found.events, held, files)
            problems += again.problems
    return {
        "run": run.id,
        "ok": not problems,
        "events": len(found.events),
        "published": found.published,
        **told(again),
        "problems": problems,
    }


def told(found: Rechecked) -> dict[str, Any]:
    """Say what was checked again, and what could not be."""
    return {
        "decisions": found.decisions,
        "policies": found.policies,
        "unchecked": found.unchecked,
    }


async def decided(
    repository: Repository, events: Sequence[Mapping[str, Any]], held: Mirror, files: Files
) -> Rechecked:
    """Check the decisions of a whole record again, against the commits in a mirror."""

    def tree_of(sha: str) -> str | None:
        try:
            return objects.tree_of(held, sha)
        except _ABSENT:
            return None

    try:
        record = [Event.model_validate(each) for each in events]
    except ValidationError:
        return NOTHING  # The walk has said which is not whole.
    return await asyncio.to_thread(recheck, record, repository, tree_of, files)


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
