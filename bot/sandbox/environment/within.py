"""A sandbox whose jobs find the programs and variables of a workspace's environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bot.sandbox.model import Job
from bot.sandbox.tools import expand, search_path
from bot.sandbox.wrapped import Wrapped
from policies.setup import WORKSPACE


@dataclass(frozen=True, slots=True)
class Within(Wrapped):
    """Runs jobs in `inner`, with an environment's variables and its programs first on the path.

    env: variables; `{workspace}` in a value is the workspace as the job sees it. path: folders of
    the workspace. A job's own variables win.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()

    def changed(self, job: Job) -> Job:
        """The job, with these variables and this path."""
        root = self.inner.places(job.workspace, job.home).workspace
        env = {**self.env, **job.env}
        for name in self.env:
            env[name] = env[name].replace(WORKSPACE, root)
        if self.path and "PATH" not in job.env:
            ours = [f"{root}/{folder}" for folder in self.path]
            env["PATH"] = ":".join([*ours, search_path(expand(job.readable))])
        return replace(job, env=env)
