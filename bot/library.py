"""What handlers ask of repositories: their policy, their schedules, and what a run changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from bot.errors import ConfigError, Refused, UserError
from bot.runs.grounds import Grounds, grounds_of
from bot.runs.inforce import (
    Above,
    InForce,
    NoOrganisations,
    Organisations,
    in_force,
    read_config,
)
from bot.runs.model import Repository, Run
from bot.runs.ports import Base, Difference, Git
from bot.runs.revisions import Kept, Stuck, what_passes, with_base
from bot.runs.store import Store
from bot.runs.work import own
from policies.bounds import bounded
from policies.config import PATH, Config, digest
from policies.facts import Change
from policies.owners import PLACES, Owned, owned, parse_owners
from policies.verdict import code

log = structlog.get_logger()

PATCH_BYTES = 40_000
"""Bytes of a patch in an answer: with the files it stays below GitHub's 65,536 characters."""

FILES_LISTED = 100
"""Files named in an answer."""

ReadFile = Callable[[Repository, str], Awaitable[bytes | None]]


class History(Git, Protocol):
    """What runs ask of git, and the patch between two commits."""

    async def compare(self, run: Run, old: str, new: str, limit: int) -> Difference:
        """Compare two trees or commits, with the patch, cut at `limit` bytes."""


class Library:
    """Reads repositories for handlers; `read` reads a file of a default branch as it is now.

    `bounds` is what no repository's configuration can loosen, and `organisations` what theirs say.
    """

    def __init__(
        self,
        store: Store,
        read: ReadFile,
        git: History,
        bounds: Config | None = None,
        organisations: Organisations | None = None,
    ) -> None:
        self._organisations = organisations or NoOrganisations()
        self._bounds = bounds or Config()
        self._store = store
        self._read = read
        self._git = git
        self._wrong: dict[int, tuple[tuple[str, Above], InForce]] = {}

    async def policy(self, repository: Repository) -> Config:
        """Read the configuration that holds on the default branch now, the last good one.

        `ConfigError` says what is wrong where there never was a good one.
        """
        return (await self.in_force(repository)).config

    async def in_force(self, repository: Repository) -> InForce:
        """Read the configuration that holds now, within what the server lays down."""
        text, above = await self._newest(repository)
        known = self._wrong.get(repository.id)
        if known is None or known[0] != (text, above):
            found = await in_force(self._git, repository, text, above=above)
            known = ((text, above), replace(found, config=bounded(found.config, self._bounds)))
            # The past is looked through once for each text that is wrong.
            if found.commit:
                self._wrong[repository.id] = known
            else:
                self._wrong.pop(repository.id, None)
        return known[1]

    async def _newest(self, repository: Repository) -> tuple[str, Above]:
        """Read the file, and what is above it, side by side."""
        data, above = await asyncio.gather(
            self._read(repository, PATH), self._organisations.now(repository)
        )
        return (data or b"").decode("utf-8", "replace"), above

    async def grounds(self, run: Run, config: Config) -> Grounds | None:
        """Say what the policy `config` of a run is made of; None where git has another one by now.

        Then no decision is held up: a merge compares the policy of that moment in any case.
        """
        try:
            base, above = await asyncio.gather(
                self._git.base(run, run.base), self._organisations.now(run.repository)
            )
            text = await self._git.config(run, base.config)
            found = await in_force(self._git, run.repository, text, base.config, above)
        except (ConfigError, Refused, UserError) as error:
            log.info("policy not found in git", run=run.id, error=str(error))
            return None
        if digest(own(run, bounded(found.config, self._bounds))) != digest(config):
            return None
        return grounds_of(found, base, above, self._bounds)

    async def is_configured(self, repository: Repository) -> bool:
        """Say whether a repository has a configuration, its own or its organisation's."""
        text, above = await self._newest(repository)
        return bool(text.strip() or above.blob or above.wrong)

    def organisation_changed(self, repository: Repository) -> None:
        """Take in that somebody changed what a repository's organisation says for all."""
        self._organisations.forget(repository)

    async def learn_schedules(self, repository: Repository) -> None:
        """Keep the schedules that the configuration names now; a wrong one changes nothing."""
        try:
            config = bounded(read_config(*await self._newest(repository)), self._bounds)
        except ConfigError as error:
            log.info("schedules not learned", repository=repository.id, error=str(error))
            return
        await self._store.save_repository(repository)
        schedules = [schedule.model_dump(mode="json") for schedule in config.schedule]
        await self._store.keep_schedules(repository.id, schedules)

    async def owners(self, run: Run) -> tuple[Owned, ...]:
        """Say whose the paths are that a run changes, by the base's CODEOWNERS as it is now."""
        base = await self._git.base(run, run.base)
        there = await self._git.ids(run, base.sha, PLACES)
        place = next((each for each in PLACES if each in there), None)
        if place is None:
            return ()
        text = await self._owners_file(run, base.sha, place)
        if text is None:
            raise UserError(
                f"{code(place)} is no file of at most 8 MB, so nobody can tell who owns what was "
                "changed; mend it on the base branch, then approve again."
            )
        lines = parse_owners(text.decode("utf-8", "replace"))
        paths = await self._git.touched(run, run.base_sha, run.head)
        # Thousands of paths by hundreds of lines take a while, in which others are answered.
        return await asyncio.to_thread(owned, paths, lines)

    async def _owners_file(self, run: Run, commit: str, place: str) -> bytes | None:
        try:
            return await self._git.read(run, commit, place)
        except Refused:
            return None

    async def differences(self, run: Run, old: str, new: str) -> str:
        """Describe in Markdown what changed between two commits of a run."""
        found = await self._git.compare(run, old, new, PATCH_BYTES)
        page = run.repository.page
        whole = f"{page}/compare/{old}...{new}" if page else ""
        return describe(old, new, found.files, found.patch, cut=found.cut, whole=whole)

    async def restored(self, run: Run, target: str, globs: Sequence[str]) -> str:
        """Return the head's tree with what globs mean as it is in the tree `target`."""
        return await self._git.restored(run, target, globs)

    async def passing(self, run: Run) -> Kept:
        """Take out of the refused candidate what breaks a rule; `UserError` says why not."""
        found = await what_passes(
            self._git, run, await self._config(run), self._store.redactor.known
        )
        if isinstance(found, Stuck):
            raise UserError(found.sentence)
        return found

    async def pushed(self, run: Run) -> str:
        """Return the commit that people pushed on top of the head, as it is now, or nothing."""
        human = await self._git.human_work(run)
        return human.sha if human else ""

    async def newer_base(self, run: Run) -> Base | None:
        """Return the base as it is now, where it merges into the head; None where it is there.

        `UserError` says what conflicts.
        """
        base = await self._git.base(run, run.base)
        if await self._git.holds(run, base.sha):
            return None
        found = await with_base(self._git, run, await self._config(run), base.sha)
        if isinstance(found, Stuck):
            raise UserError(found.sentence)
        return base

    async def _config(self, run: Run) -> Config:
        text = await self._git.config(run, run.config)
        above = await self._organisations.at(run.repository, run.organisation)
        return own(run, bounded(read_config(text, above), self._bounds))


def describe(
    old: str, new: str, files: Sequence[Change], patch: str, *, cut: bool, whole: str = ""
) -> str:
    """Write a comparison: a line a file, and the patch folded away.

    `whole` is the address of all of it, told before anything that an answer may have to cut.
    """
    if not files:
        return f"`{old[:7]}` and `{new[:7]}` have the same files."
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    is_cut = cut or len(files) > FILES_LISTED
    where = f" All of it: {whole}" if is_cut and whole else ""
    lines = [f"`{old[:7]}..{new[:7]}` changes {count}:{where}", ""]
    lines += [f"- {_file(each)}" for each in files[:FILES_LISTED]]
    if len(files) > FILES_LISTED:
        lines.append(f"- and {len(files) - FILES_LISTED} more")
    fence = _fence(patch)
    note = "\n\nThe patch is longer than a comment may be; this is its beginning." if cut else ""
    lines += ["", "<details><summary>Patch</summary>", "", f"{fence}diff", patch.rstrip(), fence]
    lines += [f"{note}", "</details>"]
    return "\n".join(lines)


def _file(change: Change) -> str:
    name = code(change.path)
    if change.old_path and change.old_path != change.path:
        name = f"{code(change.old_path)} → {name}"
    size = "binary" if change.binary else f"+{change.added} −{change.deleted}"
    return f"{name} {change.status}, {size}"


def _fence(text: str) -> str:
    """Return a fence that nothing in `text` closes."""
    longest = max((len(run) for run in _backticks(text)), default=0)
    return "`" * max(3, longest + 1)


def _backticks(text: str) -> list[str]:
    return "".join(c if c == "`" else " " for c in text).split()
