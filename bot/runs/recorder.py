"""Keeps a run's ledger: written locally as things happen, pushed when the run rests."""

from __future__ import annotations

from bot.runs.model import Run
from bot.runs.ports import Git
from bot.runs.store import Store


class Recorder:
    """Copies a run's events into its ledger; doing it again adds nothing."""

    def __init__(self, store: Store, git: Git) -> None:
        self._store = store
        self._git = git

    async def record(self, run: Run) -> None:
        """Append to the local ledger what it does not hold yet."""
        if not run.base_sha:
            return  # Before its start a run has no mirror, so nowhere to write.
        held = await self._git.recorded(run)
        new = await self._store.events(run.id, after=held)
        if new:
            await self._git.record(run, [event.model_dump(mode="json") for event in new])

    async def publish(self, run: Run) -> None:
        """Append, then push the ledger's ref."""
        if run.base_sha:
            await self.record(run)
            await self._git.publish(run)
