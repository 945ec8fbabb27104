"""How objects and refs come into a bare repository of ours; who calls holds the mirror's lock.

A large repository is mirrored without the contents of its files (`blobless`, git's partial clone):
all commits and trees are there, contents come as they are asked for (`partial.hydrate`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bot.errors import Refused

from .listing import REDIRECTS
from .locks import clear
from .program import NETWORK_TIMEOUT, format_refusal, git
from .remote import Remote

BRANCHES = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
LEDGERS = "refs/orchestrate/*:refs/orchestrate/*"  # no "+": a record is only ever added to

WITHOUT_BLOBS = "--filter=blob:none"

# On a local path git starts these itself, without the environment's configuration.
_SAFE = "git -c safe.directory=* -c core.hooksPath=/dev/null -c core.fsmonitor=false"
_UPLOAD = (
    f"{_SAFE} -c uploadpack.allowFilter=true -c uploadpack.allowAnySHA1InWant=true upload-pack"
)
UPLOAD_PACK = f"--upload-pack={_UPLOAD}"
RECEIVE_PACK = (
    f"--receive-pack={_SAFE} -c receive.denyCurrentBranch=refuse"
    " -c receive.denyDeleteCurrent=refuse -c receive.autogc=false -c gc.auto=0 receive-pack"
)
ORIGIN = "origin"
"""What a blobless mirror calls its remote: git asks it by itself for what is missing."""
SHALLOW = "shallow"
"""The file that says where the history of a repository is cut off."""

_CONFIG = {"gc.auto": "0", "maintenance.auto": "false", REDIRECTS: "false"}


async def make(path: Path, remote: Remote, *, blobless: bool, lock: int) -> Path:
    """Clone `remote` into a folder beside `path`, to be renamed to it; return that folder."""
    making = path.with_name(f".{path.name}.making")
    # What one that was killed left behind; the lock says that nobody is at it now.
    await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
    making.parent.mkdir(parents=True, exist_ok=True)
    await git("init", "--bare", "--quiet", "--template=", str(making))
    settings = _CONFIG | (_promised(remote) if blobless else {})
    for key, value in settings.items():
        await git("config", key, value, git_dir=making)
    await fetch(making, remote, *BRANCHES, blobless=blobless, lock=lock)
    if await git("rev-parse", "--show-object-format", git_dir=making) != b"sha1\n":
        raise Refused(format_refusal(remote.url))
    return making


async def fetch(
    path: Path, remote: Remote, *refspecs: str, prune: bool = False, blobless: bool, lock: int
) -> None:
    """Bring the refs of `refspecs` into the repository at `path`, with what they point to."""
    options = ["--prune"] if prune else []
    was_cut_off = (path / SHALLOW).exists()
    await asyncio.to_thread(clear, path)
    if blobless:
        await _point(path, remote)
        options.append(WITHOUT_BLOBS)
    await git(
        *fetching(),
        *options,
        *_depth(path, remote),
        "--end-of-options",
        ORIGIN if blobless else remote.url,
        *refspecs,
        git_dir=path,
        remote=remote,
        timeout=NETWORK_TIMEOUT,
        keep_open=(lock,),
    )
    if was_cut_off:
        # Old commits may have parents now: whoever has the mirror open must open it anew, and looks
        # at this file's time to know.
        os.utime(path / "config")


def fetching() -> Sequence[str]:
    """Return how every fetch begins."""
    return (
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
        UPLOAD_PACK,
    )


def _promised(remote: Remote) -> dict[str, str]:
    # Without extensions.partialClone, which git does not need and libgit2 does not open.
    return {
        f"remote.{ORIGIN}.url": remote.url,
        f"remote.{ORIGIN}.promisor": "true",
        f"remote.{ORIGIN}.partialCloneFilter": WITHOUT_BLOBS.removeprefix("--filter="),
        f"remote.{ORIGIN}.uploadpack": _UPLOAD,
    }


async def _point(path: Path, remote: Remote) -> None:
    """Have git ask the remote's present address for what is missing."""
    if f"\turl = {remote.url}\n" not in (path / "config").read_text("utf-8", "replace"):
        await git("config", f"remote.{ORIGIN}.url", remote.url, git_dir=path)


def _depth(path: Path, remote: Remote) -> Sequence[str]:
    """Say what becomes of a cut-off history: only a repository on this machine can have one."""
    if remote.is_http:
        return ()
    if (path / SHALLOW).exists() and not (Path(remote.url) / SHALLOW).exists():
        return ("--unshallow",)
    # Without it git fetches no ref of a shallow repository, and calls that success.
    return ("--update-shallow",)
