"""A damaged mirror is set aside and cloned anew, and what was only there is brought over.

Branches and tags come from the remote. Our own refs (runs' branches, records, candidates that were
refused) come from the damaged mirror, each by itself, with whatever of it git can still read; a
record that is lost there comes from the remote, or is found again among its commits.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from bot.errors import OrchestrateError

from . import lfs
from .program import NETWORK_TIMEOUT, git, run
from .remote import Remote
from .soundness import damaged_packs, own_refs
from .transfer import ORIGIN, fetching, make

log = structlog.get_logger()

RECORDS = "refs/orchestrate/"
RECORD_BRANCHES = "refs/remotes/origin/orchestrate-records/"
"""Where a remote keeps records that takes no refs of other kinds."""
BRANCHES = "refs/heads/"

UNPACK_BYTES = 64 * 1024 * 1024
"""Damaged packs up to here are searched object by object: ours are smaller, and what is in a large
one is the remote's."""

# What is missing is no reason to look for something like it.
_UPLOAD = (
    "--upload-pack=git -c safe.directory=* -c core.hooksPath=/dev/null -c pack.window=0 upload-pack"
)
_RECORD = re.compile(r"(?:Begin the record|Record|Record checkpoints) of run ([0-9A-Za-z_-]+)")


@dataclass(frozen=True, slots=True)
class Mended:
    """What was brought over from a damaged mirror, by the names of refs, and what was not."""

    saved: tuple[str, ...]
    lost: tuple[str, ...]
    aside: Path


async def replace(path: Path, remote: Remote, fault: str, *, blobless: bool, lock: int) -> Mended:
    """Clone the mirror at `path` anew and bring over our own refs; who calls holds its lock.

    Until the new one is complete the old one stays where it is, so that nothing is worse than
    before where the remote cannot be reached.
    """
    fresh = await make(path, remote, blobless=blobless, lock=lock)
    before = own_refs(path)
    saved = await _bring_over(path, fresh, before, remote, lock, blobless=blobless)
    aside = await asyncio.to_thread(_swap, path, fresh)
    # Whoever wrote in between wrote to the old one.
    late = {name: sha for name, sha in own_refs(aside).items() if before.get(name) != sha}
    saved |= await _bring_over(aside, path, late, remote, lock, blobless=blobless)
    lost = (before.keys() | late.keys()) - saved
    log.warning(
        "mirror was damaged and made anew",
        mirror=path.name,
        fault=fault,
        saved=sorted(saved),
        lost=sorted(lost),
        aside=aside.name,
    )
    return Mended(tuple(sorted(saved)), tuple(sorted(lost)), aside)


def was_blobless(path: Path) -> bool:
    """Whether a mirror was without contents, as far as its packs say."""
    return any([*(path / "objects" / "pack").glob("*.promisor")])


async def _bring_over(
    damaged: Path,
    fresh: Path,
    wanted: dict[str, str | None],
    remote: Remote,
    lock: int,
    *,
    blobless: bool,
) -> set[str]:
    """Bring refs from a damaged mirror into a fresh one; return the names of those that came."""
    if not wanted:
        return set()
    view = await _view(damaged, fresh, remote, blobless=blobless)
    try:
        known = {name: sha for name, sha in wanted.items() if sha}
        saved = await _bring(fresh, view, known, lock)
        lost = wanted.keys() - saved
        saved |= await _from_remote(fresh, remote, lost, lock)
        records = [name for name in lost - saved if name.startswith(RECORDS)]
        if records:
            found = await _search(view, records)
            saved |= await _bring(fresh, view, found, lock)
        for name in lost - saved:
            if name.startswith(BRANCHES) and await _from_record(fresh, name):
                saved.add(name)
    finally:
        await asyncio.to_thread(shutil.rmtree, view, ignore_errors=True)
    return saved


async def _view(damaged: Path, fresh: Path, remote: Remote, *, blobless: bool) -> Path:
    """Make a repository that sees what is left of a damaged one, on top of what the fresh one has.

    It has nothing else of it: no configuration, and no refs but those that are asked for.
    """
    view = fresh.with_name(f".{fresh.name}.view")
    await asyncio.to_thread(shutil.rmtree, view, ignore_errors=True)
    await git("init", "--bare", "--quiet", "--template=", str(view))
    seen = [fresh / "objects", damaged / "objects"]
    (view / "objects" / "info" / "alternates").write_text("".join(f"{each}\n" for each in seen))
    if blobless:  # or git takes what was never there for lost
        await git("config", f"remote.{ORIGIN}.url", remote.url, git_dir=view)
        await git("config", f"remote.{ORIGIN}.promisor", "true", git_dir=view)
    for pack in await asyncio.to_thread(damaged_packs, damaged):
        if pack.exists() and pack.stat().st_size <= UNPACK_BYTES:
            data = await asyncio.to_thread(pack.read_bytes)
            await run("unpack-objects", "-r", "-q", git_dir=view, input=data)
    return view


async def _bring(fresh: Path, view: Path, wanted: dict[str, str], lock: int) -> set[str]:
    """Fetch refs from the view: all at once, and by halves where that does not work."""
    await asyncio.to_thread(_point, view, wanted)
    return await _fetch(fresh, _UPLOAD, str(view), sorted(wanted), None, lock)


async def _from_remote(fresh: Path, remote: Remote, lost: set[str], lock: int) -> set[str]:
    """Take what the remote has of lost refs: records, and runs' branches that were pushed."""
    saved = set[str]()
    records = sorted(name for name in lost if name.startswith(RECORDS))
    upload = next(arg for arg in fetching() if arg.startswith("--upload-pack="))
    saved |= await _fetch(fresh, upload, remote.url, records, remote, lock)
    for name in lost - saved:
        pushed = name.replace(BRANCHES, "refs/remotes/origin/", 1)
        pushed = pushed.replace(RECORDS, RECORD_BRANCHES, 1)
        if pushed == name:
            continue
        done = await run("update-ref", name, pushed, git_dir=fresh)
        if done.status == 0:
            saved.add(name)
    return saved


async def _fetch(
    fresh: Path, upload: str, source: str, names: Sequence[str], remote: Remote | None, lock: int
) -> set[str]:
    if not names:
        return set()
    options = [arg for arg in fetching() if not arg.startswith("--upload-pack=")]
    try:
        await git(
            *options,
            upload,
            "--stdin",
            "--end-of-options",
            source,
            git_dir=fresh,
            remote=remote,
            input="".join(f"+{name}:{name}\n" for name in names).encode(),
            timeout=NETWORK_TIMEOUT,
            keep_open=(lock,),
        )
    except OrchestrateError:
        if len(names) == 1:
            return set()
        middle = len(names) // 2
        saved = set[str]()
        for half in (names[:middle], names[middle:]):
            saved |= await _fetch(fresh, upload, source, half, remote, lock)
        return saved
    return set(names)


async def _search(view: Path, records: Sequence[str]) -> dict[str, str]:
    """Find the newest commit of each record among all commits that can still be read."""
    listed = await run(
        "cat-file",
        "--batch-all-objects",
        "--batch-check=%(objecttype) %(objectname)",
        "--unordered",
        git_dir=view,
    )
    commits = re.findall(rb"^commit ([0-9a-f]{40})$", listed.out, re.M)
    told = await run(
        "log",
        "--no-walk=unsorted",
        "--ignore-missing",
        "--format=%H %P%x00%s",
        "--extended-regexp",
        "--grep=^(Begin the record|Record|Record checkpoints) of run ",
        "--stdin",
        git_dir=view,
        input=b"\n".join(commits) + b"\n",
    )
    chains: dict[str, dict[str, str]] = {}
    for line in told.out.decode("utf-8", "replace").splitlines():
        ids, _, subject = line.partition("\0")
        match = _RECORD.match(subject)
        name = f"{RECORDS}{match[1]}" if match else ""
        if name in records:
            sha, *parents = ids.split()
            chains.setdefault(name, {})[sha] = parents[0] if parents else ""
    return {name: _longest(parent) for name, parent in chains.items()}


def _longest(parent: dict[str, str]) -> str:
    """Return the commit that has the most of a record behind it."""

    def length(sha: str) -> int:
        steps = 0
        while sha in parent:
            sha, steps = parent[sha], steps + 1
        return steps

    return max(sorted(parent), key=length)


async def _from_record(fresh: Path, branch: str) -> bool:
    """Let a run's branch point to the newest checkpoint that its record names."""
    record = RECORDS + branch.rpartition("-")[2]
    asked = ("log", "-1", "--first-parent", "--min-parents=2", "--format=%P", record)
    found = await run(*asked, git_dir=fresh)
    ids = found.out.decode().split()
    if found.status or not ids:
        return False
    done = await run("update-ref", branch, ids[-1], git_dir=fresh)
    return done.status == 0


def _point(view: Path, refs: dict[str, str]) -> None:
    """Write the view's refs, those of objects that are gone as well: git passes over them."""
    lines = "".join(f"{sha} {name}\n" for name, sha in sorted(refs.items()))
    (view / "packed-refs").write_text(lines)


def _swap(path: Path, fresh: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    if path.exists():  # what was lost altogether leaves nothing to look at
        path.rename(aside)
    fresh.rename(path)
    lfs.carry_over(aside, path)
    return aside
