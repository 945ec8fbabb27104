"""A bare copy of a remote repository, and what the remote has.

The remote's branches lie under `refs/remotes/origin/`, its tags under `refs/tags/`. Our own refs
(`refs/heads/…`, `refs/orchestrate/…`, `refs/quarantine/…`, `refs/leases/…`) lie outside what a
fetch writes or prunes.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bot.errors import Refused

from .listing import is_current
from .locks import is_unsettled, writing
from .mend import replace, was_blobless
from .partial import hydrate, is_blobless
from .program import NETWORK_TIMEOUT, format_refusal, git
from .remote import Remote
from .repository import Mirror
from .soundness import check, is_told, lacks_a_pack, look
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
    "mend",
    "recover",
    "remote_refs",
]

HEADS = "refs/heads/"
SHA1_DIGITS = 40


CHECK_SECONDS = 3600.0
"""How long the same words of an error are no reason to check the same mirror again: that reads all
of it."""

_checked: dict[Path, tuple[str, float]] = {}
"""What made each mirror be checked last, and when."""
_looked: set[tuple[Path, int]] = set()
"""The mirrors, by path and inode, that were looked at since this process began."""


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
    there is nothing new, no program is started and no lock is taken. A mirror that turns out to be
    damaged is mended first.
    """
    if not _present(mirror.path):
        await ensure(mirror.path, remote)
    # What a machine leaves behind that lost its power was damaged before this process began.
    known = (mirror.path, mirror.path.stat().st_ino)
    if known not in _looked:
        await mend(mirror, remote)
        _looked.add(known)
    try:
        await _fetch(mirror, remote, ledgers=ledgers)
    except Refused as error:
        # Git may have looked for an object just where an upkeep had taken it from.
        moved = await asyncio.to_thread(is_unsettled, mirror.path)
        if not await mend(mirror, remote, error) and not moved:
            raise
        await _fetch(mirror, remote, ledgers=ledgers)


async def mend(mirror: Mirror, remote: Remote, error: BaseException | None = None) -> bool:
    """Set the mirror aside and clone it anew if it is damaged; say whether it was.

    `error` is what made somebody suspect it: where its words are those of damage, or a pack is
    missing, git checks everything, else a look must do.
    """
    path = mirror.path
    told = error is not None and (is_told(error) or lacks_a_pack(path))
    suspected = await asyncio.to_thread(look, path)
    if suspected is None and not told:
        return False
    async with writing(path) as lock:
        fault = await asyncio.to_thread(look, path)
        if fault is None and told and not _is_known(path, str(error)):
            fault = await check(path)
        if fault is None:  # if it was suspected, another has mended it meanwhile
            return suspected is not None
        await replace(path, remote, fault, blobless=was_blobless(path), lock=lock)
    return True


async def recover(mirror: Mirror, remote: Remote, error: BaseException, *revisions: str) -> bool:
    """Do what may let a call succeed that failed with `error`; say whether to call again.

    `revisions` are the commits and trees that the call was about: in a blobless mirror their
    contents may be what it missed. Where an upkeep was at work, to call again is enough.
    """
    if isinstance(error, KeyError) and is_blobless(mirror):
        return await hydrate(mirror, remote, *revisions) > 0
    return await mend(mirror, remote, error) or await asyncio.to_thread(is_unsettled, mirror.path)


def _is_known(path: Path, words: str) -> bool:
    """Whether a check found nothing behind these very words a while ago; it is noted for the next.

    A remote that is damaged itself is told in the same words, again and again.
    """
    now, before = time.monotonic(), _checked.get(path)
    if before is not None and before[0] == words and now - before[1] < CHECK_SECONDS:
        return True
    _checked[path] = (words, now)
    return False


async def _fetch(mirror: Mirror, remote: Remote, *, ledgers: bool) -> None:
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
    return path.is_dir()
