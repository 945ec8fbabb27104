"""What a candidate newly depends on, read from its manifests and lock files in git."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.errors import Refused
from bot.runs.model import Run
from bot.runs.ports import Git
from policies.dependencies import ecosystem_of, new_dependencies
from policies.facts import Change, Dependency

MANIFESTS_MAX = 200
"""Manifests that are read of one candidate; those beyond count as unreadable."""

BYTES_MAX = 64 * 1024 * 1024
"""Bytes of them all that are held at once; those beyond count as unreadable, too."""


async def brought_by(
    git: Git, run: Run, old: str, new: str, changes: Sequence[Change]
) -> tuple[Dependency, ...]:
    """Return the dependencies that `new` names and `old` does not; `changes` are between them."""
    before = {each.old_path or each.path for each in changes if each.status != "added"}
    after = {each.path for each in changes if each.status != "deleted"}
    return new_dependencies(await _read(git, run, old, before), await _read(git, run, new, after))


async def _read(git: Git, run: Run, tree: str, paths: Iterable[str]) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    size = 0
    for path in sorted(path for path in paths if ecosystem_of(path)):
        is_much = len(found) >= MANIFESTS_MAX or size >= BYTES_MAX
        data = None if is_much else await _one(git, run, tree, path)
        size += len(data or b"")
        found[path] = data
    return found


async def _one(git: Git, run: Run, tree: str, path: str) -> bytes | None:
    try:
        return await git.read(run, tree, path)
    except Refused:
        return None
