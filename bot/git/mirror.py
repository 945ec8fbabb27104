"""A bare copy of a remote repository, and what the remote has.

The remote's branches lie under `refs/remotes/origin/`, its tags under `refs/tags/`. Our own refs
(`refs/heads/…`, `refs/orchestrate/…`, `refs/quarantine/…`, `refs/leases/…`) lie outside what a
fetch writes or prunes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bot.errors import Refused

from .listing import is_current
from .locks import writing
from .partial import hydrate, is_blobless
from .program import NETWORK_TIMEOUT, format_refusal, git
from .remote import Remote
from .repository import Mirror
from .transfer import BRANCHES, LEDGERS, RECEIVE_PACK, SHALLOW, UPLOAD_PACK, make
from .transfer import fetch as transfer

__all__ = [
    "RECEIVE_PACK",
    "Mirror",
    "default_branch",
    "ensure",
    "fetch",
    "heads",
    "hydrate",
    "is_blobless",
    "remote_refs",
]

HEADS = "refs/heads/"
SHA1_DIGITS = 40


async def ensure(path: Path, remote: Remote, *, blobless: bool = False) -> Mirror:
    """Return the mirror of `remote` at `path`, fetched; made where it is absent.

    One that is made `blobless` has no contents of files until `hydrate` brings them in. A mirror
    appears under its name when it is complete, so that one killed on the way leaves no half.
    Raises Refused for a repository in SHA-256 or reftable format, before anything is made.
    """
    if not _present(path):
        await heads(remote)
        async with writing(path) as lock:
            if not _present(path):
                (await make(path, remote, blobless=blobless, lock=lock)).rename(path)
                return Mirror(path)
    await fetch(Mirror(path), remote)
    return Mirror(path)


async def fetch(mirror: Mirror, remote: Remote, *, ledgers: bool = False) -> None:
    """Bring in the remote's branches and tags; with `ledgers` the runs' records as well.

    What the remote dropped is dropped under `refs/remotes/origin/` and `refs/tags/`; refs of our
    own stay. A record that differs from ours, other than by being longer, raises Refused. Where
    there is nothing new, no program is started and no lock is taken.
    """
    path = mirror.path
    # A history that is cut off may have become longer without any ref having moved.
    whole = not (path / SHALLOW).exists()
    if whole and await asyncio.to_thread(is_current, mirror, remote, ledgers=ledgers):
        return
    async with writing(path) as lock:
        blobless = is_blobless(mirror)
        await transfer(path, remote, *BRANCHES, prune=True, blobless=blobless, lock=lock)
        if ledgers:
            await transfer(path, remote, LEDGERS, blobless=blobless, lock=lock)


async def heads(remote: Remote) -> dict[str, str]:
    """Return the remote's branches: short name to commit. Raises as `remote_refs` does."""
    found = await remote_refs(remote, HEADS + "*")
    return {name.removeprefix(HEADS): sha for name, sha in found.items()}


async def remote_refs(remote: Remote, *patterns: str) -> dict[str, str]:
    """Return what the remote's refs point to, by full name; `patterns` as `git ls-remote` has them.

    Raises Refused for a SHA-256 repository, TransientError where it cannot be reached.
    """
    listed = await _list(remote, "--refs", patterns)
    lines = (line.partition("\t") for line in listed.split("\n") if line)
    refs = {name: sha for sha, _, name in lines}
    if any(len(sha) != SHA1_DIGITS for sha in refs.values()):
        raise Refused(format_refusal(remote.url))
    return refs


async def default_branch(remote: Remote) -> str | None:
    """Return the short name of the branch that the remote's HEAD names, or None."""
    listed = await _list(remote, "--symref", ("HEAD",))
    for line in listed.splitlines():
        if line.startswith("ref: ") and line.endswith("\tHEAD"):
            return line[5:-5].removeprefix(HEADS)
    return None


async def _list(remote: Remote, option: str, patterns: tuple[str, ...]) -> str:
    out = await git(
        "ls-remote",
        option,
        UPLOAD_PACK,
        "--end-of-options",
        remote.url,
        *patterns,
        remote=remote,
        timeout=NETWORK_TIMEOUT,
    )
    return out.decode("utf-8", "surrogateescape")


def _present(path: Path) -> bool:
    return (path / "HEAD").is_file()
