"""Jobs in namespaces of their own, by the bubblewrap program.

A job sees /usr, a few files of /etc, its tools, its workspace and its home: no network, no other
process, no other file, no capability. Everything but workspace, home, /tmp and /dev/shm is
read-only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bot.errors import OperatorError
from bot.sandbox.model import Ended, Job, OnOutput, Places
from bot.sandbox.process import DEATH_SECONDS, Started, readable, spawn, supervise
from bot.sandbox.shell import NOT_FOUND
from bot.sandbox.tools import expand, search_path

WORKSPACE: Final = "/workspace"
HOME: Final = "/home/agent"
USER: Final = 1000

TMP_BYTES: Final = 512 * 1024**2  # /tmp is memory: enough for a build's scratch, not for a machine
SHM_BYTES: Final = 64 * 1024**2  # what container engines give
FILE_BYTES: Final = 2 * 1024**3  # no single file of a source tree is larger
OPEN_FILES: Final = 8192  # build tools for JavaScript open thousands
START_SECONDS: Final = 10.0  # bubblewrap needs milliseconds; a machine that swaps needs more

_FILES: Final = {
    "/etc/passwd": f"root:x:0:0:root:/:/bin/sh\nagent:x:{USER}:{USER}:agent:{HOME}:/bin/sh\n",
    "/etc/group": f"root:x:0:\nagent:x:{USER}:\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
# Never all of /etc/ssl: a bot that runs as root would show its private keys.
_FROM_HOST: Final = (
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/alternatives",
    "/etc/ld.so.cache",
)
_MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """Runs jobs by the program `program`.

    `disable_userns` forbids user namespaces within the job; kernels and versions exist that
    cannot, and the probe finds out.
    """

    program: str = "bwrap"
    disable_userns: bool = True
    name: str = field(default="bubblewrap", init=False)

    def places(self, workspace: Path, home: Path) -> Places:
        """The same for every job."""
        return Places(WORKSPACE, HOME)

    async def run(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> Ended:
        """Run `job`; see `Sandbox.run`."""
        job.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        status, told = os.pipe()
        os.set_blocking(status, False)
        descriptors = [told]
        try:
            argv = self._argv(job, told, descriptors)
            started = spawn(
                argv, env={}, cwd=Path("/"), with_input=bool(job.stdin), pass_fds=descriptors
            )
        except (OSError, OperatorError):
            os.close(status)
            raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        tree = _Namespace(started, status)
        return await supervise(started, tree, job, stop=stop, on_output=on_output)

    def _argv(self, job: Job, told: int, descriptors: list[int]) -> list[str]:
        """The command line; the job's own part goes through a descriptor, out of sight of `ps`."""
        entered = _entered(job.namespace)
        arguments = [*self._namespaces(), *_system(descriptors), *_own(job)]
        arguments += ["--json-status-fd", str(told)]
        hidden = _memory("\0".join(arguments).encode())
        descriptors.append(hidden)
        program = [_found(self.program), "--args", str(hidden), "--"]
        return [*entered, *_limits(), *program, *job.argv]

    def _namespaces(self) -> list[str]:
        nested = ["--disable-userns"] if self.disable_userns else []
        return [
            *("--unshare-all", "--unshare-user", *nested),
            *("--uid", str(USER), "--gid", str(USER), "--hostname", "sandbox"),
            *("--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv"),
        ]


def _entered(namespace: int | None) -> list[str]:
    """Go where the workspace is seen; the user that we are stays the same."""
    if namespace is None:
        return []
    if not Path(f"/proc/{namespace}/ns/mnt").exists():
        raise OperatorError(
            "The workspace is gone, since the process that held it has ended: resume the run."
        )
    which = ("--preserve-credentials", "--user", "--mount", "--target", str(namespace))
    return [_found("nsenter"), *which, "--"]


def _limits() -> list[str]:
    """Limits that every process of the job inherits, never above what the bot itself has."""
    wanted = (
        ("core", resource.RLIMIT_CORE, 0),
        ("fsize", resource.RLIMIT_FSIZE, FILE_BYTES),
        ("nofile", resource.RLIMIT_NOFILE, OPEN_FILES),
    )
    return [
        _found("prlimit"),
        *(f"--{name}={_allowed(kind, most)}" for name, kind, most in wanted),
        "--",
    ]


def _found(program: str) -> str:
    """The program's full path, since it is started without the bot's own PATH."""
    found = shutil.which(program)
    if found is None:
        raise OperatorError(
            f"The sandbox's program `{program}` is missing: run `orchestrate doctor` to see what "
            "to install."
        )
    return found


def _allowed(kind: int, most: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def _system(descriptors: list[int]) -> list[str]:
    """The part of the file system that is the same for every job."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in _MERGED:
        folder = Path("/", name)
        if folder.is_symlink():
            arguments += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            arguments += ["--ro-bind", str(folder), str(folder)]
    for path, text in _FILES.items():
        descriptors.append(_memory(text.encode()))
        arguments += ["--perms", "0444", "--file", str(descriptors[-1]), path]
    # Made by itself, the folder above a mount would be open to root alone.
    arguments += ["--perms", "0755", "--dir", "/etc/ssl"]
    for path in _FROM_HOST:
        arguments += ["--ro-bind-try", path, path]
    # /proc is read-only as a whole: a job started by root has root's number behind its own, with
    # which the kernel lets it write to /proc/sys, and bubblewrap covers that only where it may
    # itself write to the folder.
    arguments += ["--proc", "/proc", "--remount-ro", "/proc"]
    arguments += ["--dev", "/dev", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm"]  # noqa: S108
    arguments += ["--remount-ro", "/dev", "--size", str(TMP_BYTES), "--tmpfs", "/tmp"]  # noqa: S108
    return arguments


def _own(job: Job) -> list[str]:
    """The part that is the job's. Tools come first, so that no folder of them covers the rest."""
    tools = expand(job.readable)
    arguments: list[str] = []
    for tool in tools:
        if not tool.is_relative_to("/usr"):
            arguments += ["--ro-bind", str(tool), str(tool)]
    arguments += ["--bind", str(job.workspace), WORKSPACE, "--bind", str(job.home), HOME]
    arguments += ["--remount-ro", "/", "--chdir", WORKSPACE]
    env = {"PATH": search_path(tools), "HOME": HOME, "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108
    for name, value in (env | dict(job.env)).items():
        arguments += ["--setenv", name, value]
    return arguments


def _memory(data: bytes) -> int:
    """A descriptor that reads `data`; of any size, unlike a pipe."""
    descriptor = os.memfd_create("sandbox")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@dataclass(slots=True)
class _Namespace:
    """The processes of a job: bubblewrap's own, and a process namespace that dies with its first.

    `first` is a pidfd of that first process: the kernel makes it readable when the process has
    ended, and it ends only after every other process of the namespace.
    """

    started: Started
    status: int
    told: bytes = b""
    first: int | None = None
    known: bool = False

    async def ready(self) -> None:
        if self.known:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first_line(), START_SECONDS)
        self.known = True
        with contextlib.suppress(ValueError, KeyError, ProcessLookupError):
            self.first = os.pidfd_open(json.loads(self.told)["child-pid"])

    async def _first_line(self) -> None:
        while b"\n" not in self.told:
            await readable(self.status)
            if not self._read():
                return

    def _read(self) -> bool:
        """Take what bubblewrap told since; False at the end, which comes with its death."""
        try:
            data = os.read(self.status, 4096)
        except BlockingIOError:
            return True  # woken for nothing
        self.told += data
        return bool(data)

    async def exited(self) -> None:
        await self.started.wait()

    async def kill(self) -> None:
        # First the number, then the blow: bubblewrap killed while it starts could leave a child
        # that does not yet know that it must die with its parent.
        await self.ready()
        self.started.kill()
        if self.first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
        await self.started.wait()
        await self._gone()
        if self.status >= 0:
            while self._read():
                pass
            os.close(self.status)
            self.status = -1

    async def code(self, tail: str) -> int:
        """bubblewrap tells the code only of a program that it really started."""
        for line in self.told.splitlines():
            code = json.loads(line).get("exit-code")
            if isinstance(code, int):
                return code
        return _failed(tail, self.started.process.returncode, begun=bool(self.told))

    async def _gone(self) -> None:
        if self.first is None:
            return
        first, self.first = self.first, None
        try:
            await asyncio.wait_for(readable(first), DEATH_SECONDS)
        except TimeoutError as error:
            raise OperatorError(
                "Processes in the sandbox do not die though they were killed: "
                "look for a hanging disk."
            ) from error
        finally:
            os.close(first)


def _failed(tail: str, returned: int | None, *, begun: bool) -> int:
    """The code of a job that never ran, or whose namespace was killed by someone else."""
    last = tail.rpartition("\n")[2]
    if last.startswith("bwrap: execvp "):
        return NOT_FOUND
    if not begun or last.startswith("bwrap: "):
        reason = last.removeprefix("bwrap: ").rstrip(".") or f"code {returned}"
        raise OperatorError(
            f"The sandbox did not start ({reason}): run `orchestrate doctor` to see what it lacks."
        )
    return 128 + signal.SIGKILL if returned is None or returned < 0 else returned
