"""Mirrors that no run has used for long, and that can be made again from the remote."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from . import leases, ledger, locks, removal
from .mirror import remote_refs
from .remote import Remote
from .repository import Mirror

log = structlog.get_logger()

PATIENCE = 1.0
"""Seconds that another's fetch is waited for: who fetches has a use for the mirror."""


async def retire(mirror: Mirror, remote: Remote, *, dry_run: bool = False) -> bool:
    """Remove a mirror, or with `dry_run` only say whether it would be.

    Not while a run holds a lease or somebody fetches, nor while a record in it holds more than the
    remote's. Raises Refused or TransientError where the remote cannot be asked.
    """
    if not await _may_go(mirror, remote):
        return False
    if dry_run:
        return True
    try:
        async with locks.writing(mirror.path, PATIENCE):
            with locks.removing(mirror.path) as alone:
                # A lease that was taken since is seen here; a later one finds no mirror to pin.
                if alone is None or not await _may_go(mirror, remote):
                    return False
                await asyncio.to_thread(removal.remove, mirror.path)
    except locks.Busy:
        return False
    return True


async def _may_go(mirror: Mirror, remote: Remote) -> bool:
    if await asyncio.to_thread(leases.is_held, mirror):
        return False
    ours = await asyncio.to_thread(_tips, mirror)
    if not ours:
        return True
    there = await remote_refs(remote, f"{ledger.REFS}*", f"{ledger.BRANCHES}*")
    return ours <= set(there.values())


def _tips(mirror: Mirror) -> set[str]:
    """Return the newest commit of each record that is kept here."""
    found = (ledger.tip(mirror, run) for run in ledger.runs(mirror))
    return {tip for tip in found if tip is not None}


def remains(mirrors: Path, repository: int) -> list[Path]:
    """Return all that lies beside one another for a repository: mirror, remains and locks."""
    name = f"{repository}.git"
    return sorted([*mirrors.glob(name), *mirrors.glob(f"{name}.*"), *mirrors.glob(f".{name}.*")])
