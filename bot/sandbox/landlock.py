"""Jobs under Landlock: where namespaces are refused.

A job sees the host's own paths and processes, but opens only what it was given, connects only to
its doors, and reaches no process but its own. It has no scratch space in memory, no servers of its
own, no datagrams and no unix sockets. docs/sandbox.md says what else it lacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import resource
import secrets
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bot.errors import OperatorError
from bot.sandbox import launcher, seccomp
from bot.sandbox.bubblewrap import FILE_BYTES, OPEN_FILES, entering
from bot.sandbox.cgroups import Cgroups
from bot.sandbox.doors import listen_on_host, serve, told
from bot.sandbox.guard import Guard, guard
from bot.sandbox.model import How, Job, Limits, Places
from bot.sandbox.none import environment, kill_marked
from bot.sandbox.process import DEATH_SECONDS, Started, Starter, Tree, spawn
from bot.sandbox.rights import check_readable, give, give_whole, uid_for_jobs
from bot.sandbox.tools import expand

PORTS_VERSION: Final = 4
"""The version of Landlock that can tell TCP ports apart: without it there can be no doors."""
SCRATCH: Final = ".scratch"
"""The folder in a job's home that is its TMPDIR; what an earlier job left there is taken away."""

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc")
# What programs ask of the system; never all of /etc.
_FROM_HOST: Final = (
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki"),
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/passwd", "/etc/group", "/etc/hosts"),
    *("/etc/nsswitch.conf", "/etc/localtime", "/sys/devices/system/cpu"),
    # pip and Python end where one of these is there and cannot be read.
    *("/etc/mime.types", "/etc/os-release", "/etc/debian_version", "/etc/lsb-release"),
    "/etc/redhat-release",
)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_STATUS_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Landlock(Starter):
    """Runs jobs by a program of ours that takes rights away; see `Bubblewrap` for the fields."""

    uid: int | None = field(default_factory=uid_for_jobs)
    limits: Limits = field(default_factory=Limits)
    cgroups: Cgroups = field(default_factory=Cgroups)
    name: str = field(default="landlock", init=False)

    def places(self, workspace: Path, home: Path) -> Places:
        """The real paths."""
        return Places(str(workspace), str(home))

    def filter(self) -> bytes | None:
        """The filter of system calls: of sockets, only those whose ports Landlock looks at."""
        return seccomp.program("tcp" if launcher.version() >= PORTS_VERSION else "none")

    def handled(self) -> tuple[bool, bool]:
        """Whether TCP ports are held, and whether signals and abstract sockets are."""
        return True, True

    def rules(self, job: Job) -> list[tuple[str, int]]:
        """Paths, and what may be done below each."""
        reading = [*_SYSTEM, *_FROM_HOST, *map(str, expand(job.readable))]
        devices = launcher.READ_FILE | launcher.WRITE_FILE | launcher.EVERYTHING & ~0x7FFF
        return [
            *((path, launcher.READING) for path in reading),
            *((f"/dev/{name}", devices) for name in _DEVICES),
            *((str(path), launcher.EVERYTHING) for path in (job.workspace, job.home)),
        ]

    async def start(self, job: Job, *, talks: bool) -> tuple[Started, Tree]:
        """Start `job`; see `Starter.start`."""
        if job.doors and launcher.version() < PORTS_VERSION:
            raise OperatorError(
                "This kernel's Landlock cannot hold a job to its doors: install bubblewrap, or "
                "Linux 6.7 or newer."
            )
        uid = self.uid if job.namespace is None else None
        await asyncio.to_thread(_prepare, job, uid)
        mark = secrets.token_hex(16)
        watched = guard(self.cgroups, job.limits or self.limits)
        served = contextlib.AsyncExitStack()
        try:
            sockets = listen_on_host(job.doors)
            served = await serve(job.doors, sockets)
            ports = [each.getsockname()[1] for each in sockets]
            return self._launch(told(job, ports), uid, mark, ports, watched, served, talks=talks)
        except BaseException:
            await served.aclose()
            await watched.end()
            raise

    def _launch(
        self,
        job: Job,
        uid: int | None,
        mark: str,
        ports: Sequence[int],
        watched: Guard,
        served: contextlib.AsyncExitStack,
        *,
        talks: bool,
    ) -> tuple[Started, _Adopted]:
        plan = {
            "argv": list(job.argv),
            "env": environment(job, mark) | {"TMPDIR": str(job.home / SCRATCH)},
            "workspace": str(job.workspace),
            "uid": uid,
            "limits": _resources(watched, uid),
            "handled": self.handled(),
            "paths": self.rules(job),
            "ports": list(ports),
            "filter": self.filter(),
        }
        status, say = os.pipe()
        control, go = os.pipe()
        os.set_blocking(status, False)
        hidden = os.memfd_create("sandbox")
        try:
            os.write(hidden, marshal.dumps({**plan, "status": say, "control": control}))
            os.lseek(hidden, 0, os.SEEK_SET)
            started = spawn(
                [*entering(job.namespace), *_program(), str(hidden)],
                env={},
                cwd=Path("/"),
                with_input=bool(job.stdin),
                talks=talks,
                pass_fds=(say, control, hidden),
            )
        except BaseException:
            os.close(status)
            os.close(go)
            raise
        finally:
            for descriptor in (say, control, hidden):
                os.close(descriptor)
        return started, _Adopted(started, status, go, mark, watched, served)


def _program() -> list[str]:
    # The bot's own interpreter, which is there in any case, without anything that is installed.
    return [sys.executable, "-I", "-S", str(Path(launcher.__file__))]


def _resources(watched: Guard, uid: int | None) -> list[tuple[int, int]]:
    found = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ]
    if uid is not None and not watched.processes_held:
        # Of all jobs together, which is better than none; a bot's own user has other processes.
        found.append((resource.RLIMIT_NPROC, watched.limits.processes))
    return found


def _prepare(job: Job, uid: int | None) -> None:
    """Make the job's folders, and let them belong to it."""
    job.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = job.home / SCRATCH
    if scratch.is_symlink():
        scratch.unlink()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700, exist_ok=True)
    if uid is None:
        return
    tools = expand(job.readable)
    check_readable(tools, uid)
    give(job.home, uid)
    give_whole(job.workspace, uid)
    for folder in {job.home.parent, job.workspace.parent}:
        _let_through(folder, uid)
    for folder in (job.home, job.workspace, *tools):
        _check_way(folder, uid)


def _let_through(folder: Path, uid: int) -> None:
    """Let the user pass a run's folder, which is closed to all others, without looking into it."""
    mode = folder.stat().st_mode
    if not mode & stat.S_IXOTH:
        os.chown(folder, -1, uid)
        folder.chmod(stat.S_IMODE(mode) | stat.S_IXGRP)


def _check_way(folder: Path, uid: int) -> None:
    for parent in folder.resolve().parents:
        status = parent.stat()
        passes = status.st_mode & stat.S_IXOTH or (
            status.st_gid == uid and status.st_mode & stat.S_IXGRP
        )
        if not passes:
            raise OperatorError(
                f"Jobs have the user {uid}, which may not pass {parent} on the way to {folder}: "
                "set ORCHESTRATE_DATA_DIR, and the folder of each tool, to one that all may enter, "
                "such as /var/lib/orchestrate."
            )


@dataclass(slots=True)
class _Adopted:
    """The processes of a job: all below the launcher, which ends when `go` is closed."""

    started: Started
    status: int
    go: int
    mark: str
    guard: Guard
    served: contextlib.AsyncExitStack
    told: bytes = b""

    async def ready(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            await self.guard.begin(self.started.process.pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(self.go, b"1")

    async def tied(self) -> None:
        """The launcher saw to it before it became what waits."""

    async def exited(self) -> None:
        await self.started.wait()

    async def exceeded(self) -> How:
        return await self.guard.exceeded()

    def broke(self) -> How | None:
        return self.guard.broke()

    async def kill(self) -> None:
        if self.go < 0:
            return
        os.close(self.go)
        self.go = -1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.started.wait(), DEATH_SECONDS)
        self.started.kill()
        await self.started.wait()
        with contextlib.suppress(BlockingIOError):
            self.told = os.read(self.status, _STATUS_BYTES)
        if b"exit " not in self.told:
            # It was killed itself, and what was below it was not.
            await kill_marked(self.mark, self.started.process.pid)
        os.close(self.status)
        await self.served.aclose()
        await self.guard.end()

    async def code(self, tail: str) -> int:
        lines = self.told.decode(errors="replace").splitlines()
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "exit" and "begun" in lines:
                return int(rest)
            if word == "error":
                raise OperatorError(
                    f"The sandbox did not start ({rest}): run `orchestrate doctor` to see what it "
                    "lacks."
                )
        last = tail.rpartition("\n")[2] or "it told nothing"
        raise OperatorError(
            f"The sandbox did not start ({last}): run `orchestrate doctor` to see what it lacks."
        )
