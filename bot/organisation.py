"""What organisations say for their repositories, kept at hand.

It stands in `orchestrate.yml` of an account's `.github` repository, and is read where the App is
installed there. Whoever asks is answered from memory for a minute, then GitHub is asked whether it
is still so, beside what else is asked at that moment; a push there is known at once. While the
newest version is wrong, the last good one holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from bot.errors import ConfigError, Refused, TransientError
from bot.runs.inforce import NOTHING_ABOVE, Above, Earlier
from bot.runs.model import Repository
from policies.organisation import PATH, REPOSITORY, Said, parse_organisation

log = structlog.get_logger()

FRESH_SECONDS = 60.0
"""How long an answer is believed: as long as a repository's name is, and much longer than a command
takes to become a run, whose path to the agent it is kept off."""

VERSIONS_KEPT = 64
"""Earlier versions kept for the runs that began with them; another one is asked for again."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is now: `blob` is the id of its content, empty where there is no file."""

    blob: str = ""
    text: str = ""
    etag: str | None = None


class Reading(Protocol):
    """Reads organisations' files. Every call may raise `TransientError` or `Refused`."""

    async def look(self, repository: Repository, etag: str | None) -> Found | None:
        """Read the file of a repository's organisation; None where it is as at `etag`."""

    def earlier(self, repository: Repository) -> AsyncIterator[Earlier]:
        """Yield what the file was before what it is now, the newest first."""

    async def content(self, repository: Repository, blob: str) -> str | None:
        """Read a version of the file by the id of its content; None where there is none."""


@dataclass(frozen=True, slots=True)
class _Known:
    above: Above
    etag: str | None
    at: float
    never_good: bool = False


class Organisations:
    """Fulfils `bot.runs.inforce.Organisations`; an account is known by its installation."""

    def __init__(self, reading: Reading, clock: Callable[[], float] = time.monotonic) -> None:
        self._reading = reading
        self._clock = clock
        self._known: dict[int, _Known] = {}
        self._versions: dict[tuple[int, str], Above] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    async def now(self, repository: Repository, *, sure: bool = False) -> Above:
        """Say what holds now; `sure` asks GitHub even if it was asked a moment ago.

        `ConfigError` says what is wrong where there never was a good version. While GitHub does not
        answer, what was known holds for all but who must be `sure`.
        """
        asked = self._clock()
        lock = self._locks.setdefault(repository.installation, asyncio.Lock())
        async with lock:
            known = self._known.get(repository.installation)
            until = asked if sure else asked - FRESH_SECONDS
            if known is None or known.at <= until:
                known = await self._asked(repository, known, sure=sure)
        if known.never_good:
            raise ConfigError(known.above.wrong)
        return known.above

    def forget(self, repository: Repository) -> None:
        """Ask anew next time: somebody changed what the organisation says."""
        if known := self._known.get(repository.installation):
            self._known[repository.installation] = replace(known, at=float("-inf"))

    async def at(self, repository: Repository, blob: str) -> Above:
        """Say what an earlier version said, by the id of its content."""
        if not blob:
            return NOTHING_ABOVE
        key = (repository.installation, blob)
        if key not in self._versions:
            try:
                text = await self._reading.content(repository, blob)
            except Refused as refusal:
                log.warning("organisation not read", error=str(refusal))
                text = None
            said = parse_organisation(text, name_of(repository)) if text is not None else None
            if said is None or said.problems:
                raise ConfigError(
                    f"What `{name_of(repository)}` said when this run began cannot be read any "
                    "more; install the App there again, or `/cancel` and start anew."
                )
            self._keep(key, Above(said, blob, name=name_of(repository)))
        return self._versions[key]

    def _keep(self, key: tuple[int, str], above: Above) -> None:
        self._versions.pop(key, None)
        self._versions[key] = above
        for old in list(self._versions)[:-VERSIONS_KEPT]:
            del self._versions[old]

    async def _asked(self, repository: Repository, known: _Known | None, *, sure: bool) -> _Known:
        at = self._clock()
        try:
            found = await self._reading.look(repository, known.etag if known else None)
            if found is None and known:
                made = replace(known, at=at)
            else:
                made = await self._made(repository, found or Found(), at)
        except TransientError as error:
            if known is None or sure:
                raise
            log.warning("organisation not asked", error=str(error))
            return known
        self._known[repository.installation] = made
        if made.above.blob:
            self._keep((repository.installation, made.above.blob), replace(made.above, wrong=""))
        return made

    async def _made(self, repository: Repository, found: Found, at: float) -> _Known:
        name = name_of(repository)
        said = parse_organisation(found.text, name)
        if not said.problems:
            return _Known(Above(said, found.blob, name=name), found.etag, at)
        first = said.problems[0]
        wrong = f"{name}: {PATH}, line {first.line}: {first.message}"
        log.info("organisation's configuration is wrong", error=wrong)
        async for each in self._reading.earlier(repository):
            good = parse_organisation(each.text, name)
            if not good.problems:
                return _Known(Above(good, each.blob, wrong, name), found.etag, at)
        return _Known(Above(Said(), "", wrong, name), found.etag, at, never_good=True)


def name_of(repository: Repository) -> str:
    """Name the repository that speaks for all of an account's."""
    return f"{repository.owner}/{REPOSITORY}"
