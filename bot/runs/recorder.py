"""Keeps a run's ledger: written locally as things happen, pushed when the run rests."""

from __future__ import annotations

from bot.errors import Refused
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
        if not run.base_sha and run.active:
            return  # Before its start a run has no record, unless it stopped there.
        held = await self._git.recorded(run)
        if held is None or (held and held == run.seq):
            return
        # With the last one that it holds: where the record has another, that comes to light.
        new = await self._store.events(run.id, after=max(held - 1, 0))
        if held and not new:
            raise Refused(
                f"The record of run {run.id} goes on to event {held}, which the database does not "
                "know: restore a newer copy of it, or begin with an empty one and "
                "`orchestrate rebuild`."
            )
        if new and new[-1].seq > held:
            await self._git.record(run, [event.model_dump(mode="json") for event in new])

    async def publish(self, run: Run) -> None:
        """Append, then push the ledger's ref."""
        await self.record(run)
        if run.base_sha or not run.active:
            await self._git.publish(await self._store.load(run.id))
