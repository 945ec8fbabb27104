"""The records of runs: kept in the mirror as things happen, pushed apart from the branch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from bot.errors import TransientError
from bot.git import ledger, mirror
from bot.git.checkpoint import Identity
from bot.git.mirror import Mirror
from bot.git.push import PushRejected, Update, push
from bot.git.remote import Remote
from bot.runs.model import Repository, Run

log = structlog.get_logger()

PUBLISH_TRIES = 3
"""Pushes of a record: whoever else pushes it pushes the same chain, and has soon done so."""

Address = Callable[[Repository], Awaitable[Remote]]
"""Says where a repository is fetched from and pushed to, with the token that this takes."""


class Records:
    """The ledgers of the runs whose repositories have their mirrors under `mirrors`."""

    def __init__(self, mirrors: Path, address: Address, identity: Identity) -> None:
        self._mirrors = mirrors
        self._address = address
        self._identity = identity
        self._record_locks: dict[str, asyncio.Lock] = {}
        self._publish_locks: dict[str, asyncio.Lock] = {}

    async def recorded(self, run: Run) -> int:
        """Return the last sequence number in the local ledger; 0 when there is none."""
        return await asyncio.to_thread(ledger.last_seq, self._mirror(run), run.id)

    async def record(self, run: Run, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events to the local ledger; those that it holds already are passed over."""
        made = [e["data"]["sha"] for e in events if e["type"] == "checkpointed"]
        async with self._record_locks.setdefault(run.id, asyncio.Lock()):
            await asyncio.to_thread(
                ledger.append,
                self._mirror(run),
                run.id,
                events,
                checkpoints=made,
                identity=self._identity,
                at=datetime.now(UTC),
            )

    async def publish(self, run: Run) -> None:
        """Push the ledger's ref, apart from the branch."""
        async with self._publish_locks.setdefault(run.id, asyncio.Lock()):
            await self._publish(run, ledger.ref_of(run.id))

    async def _publish(self, run: Run, ref: str) -> None:
        held, remote = self._mirror(run), await self._address(run.repository)
        for _ in range(PUBLISH_TRIES):
            new = await asyncio.to_thread(ledger.tip, held, run.id)
            there = (await mirror.remote_refs(remote, ref)).get(ref) if new else None
            if new is None or there == new:
                return
            try:
                await push(held, remote, [Update(ref, new, there)])
            except PushRejected as rejected:
                # A push that outlived its killed server may come in between.
                log.info("record moved meanwhile", run=run.id, now=rejected.now.get(ref))
            else:
                return
        raise TransientError(f"The record of run {run.id} is being pushed by many at once.")

    def _mirror(self, run: Run) -> Mirror:
        return Mirror(self._mirrors / f"{run.repository.id}.git")
