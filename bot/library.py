"""What handlers ask of repositories: their policy, their schedules, and what a run changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from bot.errors import ConfigError
from bot.runs.model import Repository, Run
from bot.runs.ports import Difference
from bot.runs.store import Store
from bot.runs.work import read_config
from policies.config import PATH, Config
from policies.facts import Change
from policies.verdict import code

log = structlog.get_logger()

PATCH_BYTES = 40_000
"""Bytes of a patch in an answer: with the files it stays below GitHub's 65,536 characters."""

FILES_LISTED = 100
"""Files named in an answer."""

ReadFile = Callable[[Repository, str], Awaitable[bytes | None]]
Compare = Callable[[Run, str, str, int], Awaitable[Difference]]


class Library:
    """Reads repositories for handlers; `read` reads a file of a default branch as it is now."""

    def __init__(self, store: Store, read: ReadFile, compare: Compare) -> None:
        self._store = store
        self._read = read
        self._compare = compare

    async def policy(self, repository: Repository) -> Config:
        """Read the configuration on the default branch now; `ConfigError` when it is wrong."""
        data = await self._read(repository, PATH)
        return read_config((data or b"").decode("utf-8", "replace"))

    async def learn_schedules(self, repository: Repository) -> None:
        """Keep the schedules that the configuration names now; a wrong one changes nothing."""
        try:
            config = await self.policy(repository)
        except ConfigError as error:
            log.info("schedules not learned", repository=repository.id, error=str(error))
            return
        await self._store.save_repository(repository)
        schedules = [schedule.model_dump(mode="json") for schedule in config.schedule]
        await self._store.keep_schedules(repository.id, schedules)

    async def differences(self, run: Run, old: str, new: str) -> str:
        """Describe in Markdown what changed between two commits of a run."""
        found = await self._compare(run, old, new, PATCH_BYTES)
        return describe(old, new, found.files, found.patch, cut=found.cut)


def describe(old: str, new: str, files: Sequence[Change], patch: str, *, cut: bool) -> str:
    """Write a comparison: a line a file, and the patch folded away."""
    if not files:
        return f"`{old[:7]}` and `{new[:7]}` have the same files."
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    lines = [f"`{old[:7]}..{new[:7]}` changes {count}:", ""]
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
