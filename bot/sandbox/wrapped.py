"""Sandboxes that run their jobs in another one, each job changed first."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from bot.sandbox.model import Ended, Job, OnOutput, Places, Sandbox, Talk


@dataclass(frozen=True, slots=True)
class Wrapped(ABC):
    """Runs jobs in `inner`, as `changed` has them."""

    inner: Sandbox

    @abstractmethod
    def changed(self, job: Job) -> Job:
        """The job that is run in the place of `job`."""

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
        return await self.inner.run(self.changed(job), stop=stop, on_output=on_output)

    def talk(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> AbstractAsyncContextManager[Talk]:
        """Talk to `job`; see `Sandbox.talk`."""
        return self.inner.talk(self.changed(job), stop=stop, on_output=on_output)
