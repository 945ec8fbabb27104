"""A sandbox whose jobs find the programs and variables of a workspace's environment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bot.sandbox.model import Ended, Job, OnOutput, Places, Sandbox, Talk
from bot.sandbox.tools import expand, search_path
from policies.setup import WORKSPACE


@dataclass(frozen=True, slots=True)
class Within:
    """Runs jobs in `inner`, with an environment's variables and its programs first on the path.

    env: variables; `{workspace}` in a value is the workspace as the job sees it. path: folders of
    the workspace. A job's own variables win.
    """

    inner: Sandbox
    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()

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
        return await self.inner.run(self._prepared(job), stop=stop, on_output=on_output)

    def talk(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> AbstractAsyncContextManager[Talk]:
        """Talk to `job`; see `Sandbox.talk`."""
        return self.inner.talk(self._prepared(job), stop=stop, on_output=on_output)

    def _prepared(self, job: Job) -> Job:
        root = self.inner.places(job.workspace, job.home).workspace
        env = {**self.env, **job.env}
        for name in self.env:
            env[name] = env[name].replace(WORKSPACE, root)
        if self.path and "PATH" not in job.env:
            ours = [f"{root}/{folder}" for folder in self.path]
            env["PATH"] = ":".join([*ours, search_path(expand(job.readable))])
        return replace(job, env=env)
