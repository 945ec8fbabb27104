"""A bare copy of a remote repository, and what the remote has.

The remote's branches lie under `refs/remotes/origin/`, its tags under `refs/tags/`. Our own refs
(`refs/heads/orchestrate/…`, `refs/orchestrate/…`) lie outside what a fetch writes or prunes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from bot.errors import Refused, TransientError

from .program import NETWORK_TIMEOUT, format_refusal, git
from .remote import Remote
from .repository import Mirror

__all__ = ["Mirror", "default_branch", "ensure", "fetch", "heads", "remote_refs"]

HEADS = "refs/heads/"
BRANCHES = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
LEDGERS = "refs/orchestrate/*:refs/orchestrate/*"  # no "+": a record is only ever added to
LOCK_POLL = 0.05
"""Seconds between two looks at a lock that another process holds."""
SHA1_DIGITS = 40

# On a local path git starts these itself, without the environment's configuration.
_SAFE = "git -c safe.directory=* -c core.hooksPath=/dev/null -c core.fsmonitor=false"
UPLOAD_PACK = f"--upload-pack={_SAFE} upload-pack"
RECEIVE_PACK = (
    f"--receive-pack={_SAFE} -c receive.denyCurrentBranch=refuse"
    " -c receive.denyDeleteCurrent=refuse -c receive.autogc=false -c gc.auto=0 receive-pack"
)


async def ensure(path: Path, remote: Remote) -> Mirror:
    """Return the mirror of `remote` at `path`, fetched; made where it is absent.

    A mirror appears under its name when it is complete, so that one killed on the way leaves no
    half. Raises Refused for a repository in SHA-256 or reftable format, before anything is made.
    """
    if not _present(path):
        await heads(remote)
        async with _locked(path):
            if not _present(path):
                await _make(path, remote)
                return Mirror(path)
    await fetch(Mirror(path), remote)
    return Mirror(path)


async def fetch(mirror: Mirror, remote: Remote, *, ledgers: bool = False) -> None:
    """Bring in the remote's branches and tags; with `ledgers` the runs' records as well.

    What the remote dropped is dropped under `refs/remotes/origin/` and `refs/tags/`; refs of our
    own stay. A record that differs from ours, other than by being longer, raises Refused.
    """
    async with _locked(mirror.path):
        await _fetch(mirror.path, remote, "--prune", *BRANCHES)
        if ledgers:
            await _fetch(mirror.path, remote, LEDGERS)


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


async def _make(path: Path, remote: Remote) -> None:
    making = path.with_name(f".{path.name}.making")
    # What one that was killed left behind; the lock says that nobody is at it now.
    await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
    making.parent.mkdir(parents=True, exist_ok=True)
    await git("init", "--bare", "--quiet", "--template=", str(making))
    await _fetch(making, remote, *BRANCHES)
    if await git("rev-parse", "--show-object-format", git_dir=making) != b"sha1\n":
        raise Refused(format_refusal(remote.url))
    making.rename(path)


async def _fetch(path: Path, remote: Remote, *args: str) -> None:
    options = [arg for arg in args if arg.startswith("--")]
    refspecs = [arg for arg in args if not arg.startswith("--")]
    await git(
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
        UPLOAD_PACK,
        *options,
        "--end-of-options",
        remote.url,
        *refspecs,
        git_dir=path,
        remote=remote,
        timeout=NETWORK_TIMEOUT,
    )


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold the one lock under which a mirror is made or fetched, by any process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            async with asyncio.timeout(NETWORK_TIMEOUT):
                while not _try_lock(descriptor):  # noqa: ASYNC110 - another process holds it
                    await asyncio.sleep(LOCK_POLL)
        except TimeoutError as error:
            raise TransientError(f"The mirror {path.name} is busy with another fetch.") from error
        yield
    finally:
        os.close(descriptor)


def _present(path: Path) -> bool:
    return (path / "HEAD").is_file()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
