"""No sandbox: jobs run with the bot's own rights on the machine.

Only for operators who chose it. The environment is clean and the processes are ended, as far as
they can be found; files, network and other processes are within the job's reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from dataclasses import dataclass, field
from pathlib import Path

from bot.errors import OperatorError
from bot.sandbox.model import Ended, Job, OnOutput, Places
from bot.sandbox.process import DEATH_SECONDS, Started, spawn, supervise
from bot.sandbox.shell import NOT_FOUND
from bot.sandbox.tools import expand, search_path

# Carried by every process of a job, so that one that left the session can be found.
_MARK = "ORCHESTRATE_JOB"
_PROC = Path("/proc")
_AGAIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class NoSandbox:
    """Runs jobs as plain processes."""

    name: str = field(default="none", init=False)

    def places(self, workspace: Path, home: Path) -> Places:
        """The real paths."""
        return Places(str(workspace), str(home))

    async def run(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> Ended:
        """Run `job`; see `Sandbox.run`. A process that hides its environment can survive."""
        if job.namespace is not None:
            raise OperatorError(
                "Without a sandbox no job can enter a workspace's namespace: set "
                "ORCHESTRATE_WORKSPACES=auto."
            )
        job.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = secrets.token_hex(16)
        env = {
            "PATH": search_path(expand(job.readable)),
            "HOME": str(job.home),
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp",  # noqa: S108
            **job.env,
            _MARK: mark,
        }
        try:
            started = spawn(job.argv, env=env, cwd=job.workspace, with_input=bool(job.stdin))
        except OperatorError as error:
            # As a shell says that there is no such program; the job is at fault, not the server.
            return Ended(NOT_FOUND, "exited", str(error), 0.0)
        return await supervise(
            started, _Session(started, mark), job, stop=stop, on_output=on_output
        )


@dataclass(slots=True)
class _Session:
    """The processes of a job: its session, and whoever carries its mark."""

    started: Started
    mark: str

    async def ready(self) -> None:
        return

    async def exited(self) -> None:
        await self.started.wait()

    async def kill(self) -> None:
        process = self.started.process
        if process.returncode is None:
            # Not yet reaped, so the number is still that of the job's own group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        until = asyncio.get_running_loop().time() + DEATH_SECONDS
        while (alive := self._alive()) and asyncio.get_running_loop().time() < until:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(_AGAIN_SECONDS)
        await self.started.wait()

    async def code(self, tail: str) -> int:
        returned = self.started.process.returncode
        assert returned is not None, "the code is asked for after the end"
        return 128 - returned if returned < 0 else returned

    def _alive(self) -> list[int]:
        if not _PROC.is_dir():
            return []
        pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
        return [pid for pid in pids if self._ours(pid)]

    def _ours(self, pid: int) -> bool:
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
            # Fields after the name, which may hold anything: state, parent, group, session.
            fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return False
        marked = f"{_MARK}={self.mark}".encode() in environment.split(b"\0")
        return fields[0] != b"Z" and (marked or int(fields[3]) == self.started.process.pid)
