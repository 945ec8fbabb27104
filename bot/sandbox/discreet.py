"""A sandbox whose jobs' output shows none of the secrets that the server knows."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from bot.sandbox.model import Ended, Job, OnOutput, Places, Sandbox, Talk


@dataclass(frozen=True, slots=True)
class Discreet:
    """Runs jobs in `inner`, and keeps `secrets` out of their logs, tails and lines.

    A job is given none of them; but one without a sandbox may find them, and print them.
    """

    inner: Sandbox
    secrets: frozenset[str]

    @property
    def name(self) -> str:
        """The name of the sandbox itself."""
        return self.inner.name

    def places(self, workspace: Path, home: Path) -> Places:
        """The same as without."""
        return self.inner.places(workspace, home)

    async def run(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> Ended:
        """Run `job`; see `Sandbox.run`."""
        return await self.inner.run(self._kept(job), stop=stop, on_output=on_output)

    def talk(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> AbstractAsyncContextManager[Talk]:
        """Talk to `job`; see `Sandbox.talk`."""
        return self.inner.talk(self._kept(job), stop=stop, on_output=on_output)

    def _kept(self, job: Job) -> Job:
        return replace(job, secrets=job.secrets | self.secrets)
