"""What the rules would say of a pull request as if an agent had made it, and what a merge takes.

It reads a clone on this machine and asks its remote for the pull request, as the person's own git
would; nothing is run, and nothing is changed but for objects that the clone did not have.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bot.clone import git_there
from bot.errors import ConfigError, Refused, UserError
from bot.git import diff, leaks, merge, objects
from bot.git.local import known_as, open_repository
from bot.git.repository import Mirror
from bot.runs.inforce import read_config
from policies.config import PATH, Config
from policies.consent import enough
from policies.dependencies import ecosystem_of, new_dependencies
from policies.facts import Author, Change, ConsentFacts, Dependency
from policies.owners import PLACES, Owned, owned, parse_owners
from policies.rules import judge
from policies.verdict import Verdict

READ_LIMIT = 1024 * 1024
"""Bytes of a manifest, a configuration or a CODEOWNERS file, as a server reads them."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """A pull request as the rules see it.

    `rules` is the verdict on all that it changes since it left `base`; `approval` says who must
    approve it, as nobody has; `conflicts` are the paths that do not merge.
    """

    pull: int
    base: str
    head: str
    files: int
    rules: Verdict
    approval: Verdict
    conflicts: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Whether the rules allow it and it merges."""
        return self.rules.allowed and not self.conflicts

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {"ok": self.allowed, **asdict(self)}


async def simulate_pull(folder: Path, pull: int, agent: str = "") -> Simulated:
    """Judge a pull request by the configuration on the remote's default branch.

    `UserError` says what is missing: a clone, its remote, the pull request, a readable
    configuration.
    """
    repository = await open_repository(folder)
    place = known_as(repository)
    base, head = await _fetched(place, pull)
    owner = _owner(await git_there(place, "remote", "get-url", "origin"))
    mirror = Mirror(Path(repository.url))
    return await asyncio.to_thread(_judged, mirror, pull, (base, head), Author(agent), owner)


def _owner(url: str) -> str:
    """Return the owner in a remote's address, `…/owner/name.git` or `…:owner/name.git`."""
    return url.strip().rstrip("/").replace(":", "/").split("/")[-2:][0]


async def _fetched(folder: Path, pull: int) -> tuple[str, str]:
    """Fetch the default branch and the pull request; return the commits that they are at."""
    name = f"refs/pull/{pull}/head"
    listed = await git_there(folder, "ls-remote", "origin", "HEAD", name)
    at = {ref: sha for sha, _, ref in (line.partition("\t") for line in listed.splitlines())}
    if name not in at or "HEAD" not in at:
        raise UserError(f"`origin` of {folder} has no pull request #{pull}; see its number there.")
    await git_there(folder, "fetch", "--quiet", "--no-write-fetch-head", "origin", "HEAD", name)
    return at["HEAD"], at[name]


def _judged(mirror: Mirror, pull: int, ends: tuple[str, str], by: Author, owner: str) -> Simulated:
    base, head = ends
    start = merge.base_of(mirror, base, head)
    if start is None:
        raise UserError(f"#{pull} has no commit in common with the default branch.")
    config = _config(mirror, base)
    changes = diff.changes(mirror, start, head)
    secrets = leaks.leaks(mirror, start, head, frozenset())
    brought = _dependencies(mirror, start, head, changes)
    merged = merge.merge_trees(mirror, base, head)
    facts = ConsentFacts(owner, (), _owners(mirror, base, changes))
    return Simulated(
        pull=pull,
        base=start,
        head=head,
        files=len(changes),
        rules=judge(changes, (), secrets, config, by, brought),
        approval=enough(facts, config),
        conflicts=tuple(each.path for each in merged.conflicts),
    )


def _config(mirror: Mirror, commit: str) -> Config:
    text = _read(mirror, commit, PATH) or b""
    try:
        return read_config(text.decode("utf-8", "replace"))
    except ConfigError as error:
        raise UserError(f"{error} Mend it on the default branch first.") from error


def _dependencies(
    mirror: Mirror, old: str, new: str, changes: tuple[Change, ...]
) -> tuple[Dependency, ...]:
    was = {each.old_path or each.path for each in changes if each.status != "added"}
    now = {each.path for each in changes if each.status != "deleted"}
    return new_dependencies(
        {path: _read(mirror, old, path) for path in was if ecosystem_of(path)},
        {path: _read(mirror, new, path) for path in now if ecosystem_of(path)},
    )


def _owners(mirror: Mirror, base: str, changes: tuple[Change, ...]) -> tuple[Owned, ...]:
    found = (_read(mirror, base, place) for place in PLACES)
    text = next((each for each in found if each is not None), b"")
    paths = {path for each in changes for path in (each.path, each.old_path) if path}
    return owned(paths, parse_owners(text.decode("utf-8", "replace")))


def _read(mirror: Mirror, commit: str, path: str) -> bytes | None:
    try:
        return objects.read(mirror, commit, path, READ_LIMIT)
    except Refused:
        return None
