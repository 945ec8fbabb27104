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
from bot.sandbox.cgroups import Cgroups
from bot.sandbox.doors import listen_on_host, serve, told
from bot.sandbox.guard import Guard, guard
from bot.sandbox.model import How, Job, Limits, Places
from bot.sandbox.process import DEATH_SECONDS, Started, Starter, Tree, spawn, waiting
from bot.sandbox.tools import expand, search_path

# Carried by every process of a job, so that one that left the session can be found.
MARK = "ORCHESTRATE_JOB"
_PROC = Path("/proc")
_AGAIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class NoSandbox(Starter):
    """Runs jobs as plain processes; see `Bubblewrap` for `limits` and `cgroups`."""

    limits: Limits = field(default_factory=Limits)
    cgroups: Cgroups = field(default_factory=Cgroups)
    name: str = field(default="none", init=False)

    def places(self, workspace: Path, home: Path) -> Places:
        """The real paths."""
        return Places(str(workspace), str(home))

    async def start(self, job: Job, *, talks: bool) -> tuple[Started, Tree]:
        """Start `job`; see `Starter.start`. A process that hides its environment can survive."""
        if job.namespace is not None:
            raise OperatorError(
                "Without a sandbox no job can enter a workspace's namespace: set "
                "ORCHESTRATE_WORKSPACES=auto."
            )
        job.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = secrets.token_hex(16)
        watched = guard(self.cgroups, job.limits or self.limits)
        served = contextlib.AsyncExitStack()
        try:
            sockets = listen_on_host(job.doors)
            served = await serve(job.doors, sockets)
            told_of = told(job, [each.getsockname()[1] for each in sockets])
            started = spawn(
                waiting(told_of.argv),
                env=environment(told_of, mark),
                cwd=job.workspace,
                waits=True,
                talks=talks,
            )
        except BaseException:
            await served.aclose()
            await watched.end()
            raise
        return started, _Session(started, mark, watched, served)


def environment(job: Job, mark: str) -> dict[str, str]:
    """The variables of a job that sees the host's own paths, and that is known by `mark`."""
    return {
        "PATH": search_path(expand(job.readable)),
        "HOME": str(job.home),
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108
        **job.env,
        MARK: mark,
    }


@dataclass(slots=True)
class _Session:
    """The processes of a job: its session, and whoever carries its mark."""

    started: Started
    mark: str
    guard: Guard
    served: contextlib.AsyncExitStack

    async def ready(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            await self.guard.begin(self.started.process.pid)

    async def tied(self) -> None:
        """Nothing ties them: see the table."""

    async def exited(self) -> None:
        await self.started.wait()

    async def exceeded(self) -> How:
        return await self.guard.exceeded()

    def broke(self) -> How | None:
        return self.guard.broke()

    async def kill(self) -> None:
        process = self.started.process
        if process.returncode is None:
            # Not yet reaped, so the number is still that of the job's own group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await kill_marked(self.mark, process.pid)
        await self.started.wait()
        await self.served.aclose()
        await self.guard.end()

    async def code(self, tail: str) -> int:
        returned = self.started.process.returncode
        assert returned is not None, "the code is asked for after the end"
        return 128 - returned if returned < 0 else returned


async def kill_marked(mark: str, session: int) -> None:
    """Kill every process that carries `mark` or is of `session`, until none is left."""
    until = asyncio.get_running_loop().time() + DEATH_SECONDS
    while (alive := _alive(mark, session)) and asyncio.get_running_loop().time() < until:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(_AGAIN_SECONDS)


def _alive(mark: str, session: int) -> list[int]:
    if not _PROC.is_dir():
        return []
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if _ours(pid, mark, session)]


def _ours(pid: int, mark: str, session: int) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
        # Fields after the name, which may hold anything: state, parent, group, session.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    marked = f"{MARK}={mark}".encode() in environment.split(b"\0")
    return fields[0] != b"Z" and (marked or int(fields[3]) == session)
