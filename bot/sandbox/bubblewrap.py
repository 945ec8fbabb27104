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
from bot.sandbox import seccomp
from bot.sandbox.cgroups import Cgroups
from bot.sandbox.doors import Doorman, numbered, serve, told
from bot.sandbox.guard import Guard, guard
from bot.sandbox.model import Door, How, Job, Limits, Places
from bot.sandbox.process import (
    DEATH_SECONDS,
    Started,
    Starter,
    Tree,
    readable,
    spawn,
    waiting,
)
from bot.sandbox.rights import UserNamespace, check_readable, give, give_whole, uid_for_jobs
from bot.sandbox.tools import expand, search_path

WORKSPACE: Final = "/workspace"
HOME: Final = "/home/agent"
USER: Final = 1000

TMP_BYTES: Final = 512 * 1024**2  # /tmp is memory: enough for a build's scratch, not for a machine
SHM_BYTES: Final = 64 * 1024**2  # what container engines give
FILE_BYTES: Final = 2 * 1024**3  # no single file of a source tree is larger
OPEN_FILES: Final = 8192  # build tools for JavaScript open thousands
START_SECONDS: Final = 10.0  # bubblewrap needs milliseconds; a machine that swaps needs more
TIED_SECONDS: Final = 0.001  # between two looks, of which one is enough unless the machine is busy
_ASLEEP_OR_GONE: Final = frozenset("SZX")

_LIMITS: Final = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, FILE_BYTES),
    (resource.RLIMIT_NOFILE, OPEN_FILES),
)
# With which root inside enters the workspace, becomes the job's user, and gives up being another.
_TO_BECOME: Final = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_READ_SEARCH")
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
class Bubblewrap(Starter):
    """Runs jobs by the program `program`.

    disable_userns: forbid user namespaces within the job; kernels and versions exist that cannot,
        and the probe finds out.
    uid: the number that jobs have on the host; None for the bot's own, which then is not root's.
    limits: those of jobs that have none of their own.
    cgroups: the control groups that can be had.
    """

    program: str = "bwrap"
    disable_userns: bool = True
    uid: int | None = field(default_factory=uid_for_jobs)
    limits: Limits = field(default_factory=Limits)
    cgroups: Cgroups = field(default_factory=Cgroups)
    name: str = field(default="bubblewrap", init=False)
    doorman: Doorman = field(default_factory=Doorman, init=False, compare=False, repr=False)
    _namespace: UserNamespace = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_namespace", UserNamespace(self.uid or 0, USER))

    def places(self, workspace: Path, home: Path) -> Places:
        """The same for every job."""
        return Places(WORKSPACE, HOME)

    async def start(self, job: Job, *, talks: bool) -> tuple[Started, Tree]:
        """Start `job`; see `Starter.start`."""
        uid = self._uid(job)
        job.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if uid is not None:
            await asyncio.to_thread(_give, job, uid)
        ports = numbered(job.doors)
        told_of = told(job, ports)
        watched = guard(self.cgroups, job.limits or self.limits)
        descriptors = Descriptors()
        try:
            argv = self._argv(told_of, uid, descriptors)
            started = spawn(
                argv,
                env={},
                cwd=Path("/"),
                waits=True,
                talks=talks,
                pass_fds=descriptors.passed,
            )
        except BaseException:
            descriptors.close_ours()
            await watched.end()
            raise
        finally:
            descriptors.close_passed()
        opened = _Opening(job.doors, ports, self.doorman)
        return started, _Namespace(started, descriptors.status, descriptors.go, watched, opened)

    def _uid(self, job: Job) -> int | None:
        # The namespace of a workspace has no number but root's own.
        return self.uid if job.namespace is None else None

    def _argv(self, job: Job, uid: int | None, descriptors: Descriptors) -> list[str]:
        """The command line; the job's own part goes through a descriptor, out of sight of `ps`."""
        entered = entering(job.namespace) if uid is None else self._namespace.entering()
        arguments = self.arguments(job, uid, descriptors)
        arguments += ["--json-status-fd", str(descriptors.told)]
        arguments += ["--block-fd", str(descriptors.wait)]
        hidden = descriptors.holding("\0".join(arguments).encode())
        program = [_found(self.program), "--args", str(hidden), "--"]
        return [*entered, *program, *(_becoming() if uid is not None else ()), *waiting(job.argv)]

    def arguments(self, job: Job, uid: int | None, descriptors: Descriptors) -> list[str]:
        """What bubblewrap is told of the job."""
        return [*self._options(uid, descriptors), *_system(descriptors), *_own(job)]

    def filter(self) -> bytes | None:
        """The filter of system calls."""
        return seccomp.program()

    def _options(self, uid: int | None, descriptors: Descriptors) -> list[str]:
        """What takes away: namespaces, capabilities, system calls."""
        if uid is None:
            nested = ["--disable-userns"] if self.disable_userns else []
            user = ["--unshare-user", *nested, "--uid", str(USER), "--gid", str(USER)]
        else:
            user = [word for each in _TO_BECOME for word in ("--cap-add", each)]
        filtered = self.filter()
        calls = ["--seccomp", str(descriptors.holding(filtered))] if filtered else []
        return [
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
            *("--unshare-cgroup-try", "--hostname", "sandbox", "--cap-drop", "ALL", *user, *calls),
            *("--die-with-parent", "--new-session", "--clearenv"),
        ]


def _give(job: Job, uid: int) -> None:
    """Let the job's folders belong to it, and see that it can read the others."""
    check_readable(expand(job.readable), uid)
    give(job.home, uid)
    with contextlib.suppress(FileNotFoundError):  # bubblewrap says so
        give_whole(job.workspace, uid)


def _becoming() -> list[str]:
    """Inside, where root has made everything ready: become the user, for good."""
    user = (f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    return [_found("setpriv"), *user, "--bounding-set=-all", "--inh-caps=-all", "--"]


@dataclass(slots=True)
class Descriptors:
    """What bubblewrap is started with; `told` and `wait` are the ends of `status` and `go`."""

    passed: list[int] = field(default_factory=list)
    status: int = field(init=False)
    told: int = field(init=False)
    go: int = field(init=False)
    wait: int = field(init=False)

    def __post_init__(self) -> None:
        self.status, self.told = os.pipe()
        self.wait, self.go = os.pipe()
        os.set_blocking(self.status, False)
        self.passed += [self.told, self.wait]

    def holding(self, data: bytes) -> int:
        """A descriptor that reads `data`; of any size, unlike a pipe."""
        descriptor = os.memfd_create("sandbox")
        self.passed.append(descriptor)
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def close_passed(self) -> None:
        """Close what only bubblewrap needs."""
        for descriptor in self.passed:
            os.close(descriptor)

    def close_ours(self) -> None:
        """Close what is for us."""
        os.close(self.status)
        os.close(self.go)


def entering(namespace: int | None) -> list[str]:
    """Go where the workspace is seen; the user that we are stays the same."""
    if namespace is None:
        return []
    if not Path(f"/proc/{namespace}/ns/mnt").exists():
        raise OperatorError(
            "The workspace is gone, since the process that held it has ended: resume the run."
        )
    which = ("--preserve-credentials", "--user", "--mount", "--target", str(namespace))
    return [_found("nsenter"), *which, "--"]


def _found(program: str) -> str:
    """The program's full path, since it is started without the bot's own PATH."""
    found = shutil.which(program)
    if found is None:
        raise OperatorError(
            f"The sandbox's program `{program}` is missing: run `orchestrate doctor` to see what "
            "to install."
        )
    return found


def _limit(pid: int, guard: Guard) -> None:
    """Limits that every process of the job inherits, never above what it has anyway."""
    # Counted in the job's own user namespace; where the bot is root, for all jobs together.
    counted = () if guard.processes_held else ((resource.RLIMIT_NPROC, guard.limits.processes),)
    for kind, most in (*_LIMITS, *counted):
        hard = resource.prlimit(pid, kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(pid, kind, (allowed, allowed))


def _system(descriptors: Descriptors) -> list[str]:
    """The part of the file system that is the same for every job."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in _MERGED:
        folder = Path("/", name)
        if folder.is_symlink():
            arguments += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            arguments += ["--ro-bind", str(folder), str(folder)]
    for path, text in _FILES.items():
        arguments += ["--perms", "0444", "--file", str(descriptors.holding(text.encode())), path]
    # Made by itself, the folder above a mount would be open to root alone.
    arguments += ["--perms", "0755", "--dir", "/etc/ssl"]
    for path in _FROM_HOST:
        arguments += ["--ro-bind-try", path, path]
    # /proc is read-only as a whole: a job started by root has root's number behind its own, with
    # which the kernel lets it write to /proc/sys, and bubblewrap covers that only where it may
    # itself write to the folder.
    arguments += ["--proc", "/proc", "--remount-ro", "/proc"]
    arguments += ["--dev", "/dev", *_scratch("/dev/shm", SHM_BYTES), "--remount-ro", "/dev"]  # noqa: S108
    return [*arguments, *_scratch("/tmp", TMP_BYTES)]  # noqa: S108


def _scratch(path: str, size: int) -> list[str]:
    return ["--perms", "1777", "--size", str(size), "--tmpfs", path]


def _own(job: Job) -> list[str]:
    """The part that is the job's. Tools come first, so that no folder of them covers the rest."""
    tools = expand(job.readable)
    arguments: list[str] = []
    for tool in tools:
        if not tool.is_relative_to("/usr"):
            arguments += [*_way_to(tool), "--ro-bind", str(tool), str(tool)]
    arguments += ["--bind", str(job.workspace), WORKSPACE]
    arguments += [*_way_to(Path(HOME)), "--bind", str(job.home), HOME]
    arguments += ["--remount-ro", "/", "--chdir", WORKSPACE]
    env = {"PATH": search_path(tools), "HOME": HOME, "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108
    for name, value in (env | dict(job.env)).items():
        arguments += ["--setenv", name, value]
    return arguments


def _way_to(folder: Path) -> list[str]:
    """Open the way to a mount: bubblewrap closes the parents of what is itself closed to others."""
    return ["--perms", "0755", "--dir", str(folder.parent)]


@dataclass(slots=True)
class _Opening:
    """The doors of a job: listening in its network, and served until it has ended."""

    doors: tuple[Door, ...]
    ports: tuple[int, ...]
    doorman: Doorman
    served: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def open(self, pid: int) -> None:
        if self.doors:
            sockets = await self.doorman.listen(pid, self.ports)
            self.served = await serve(self.doors, sockets)

    async def close(self) -> None:
        await self.served.aclose()


@dataclass(slots=True)
class _Namespace:
    """The processes of a job: bubblewrap's own, and a process namespace that dies with its first.

    `first` is a pidfd of that first process: the kernel makes it readable when the process has
    ended, and it ends only after every other process of the namespace. It waits for a byte at `go`.
    """

    started: Started
    status: int
    go: int
    guard: Guard
    opening: _Opening
    told: bytes = b""
    first: int | None = None
    known: bool = False

    async def ready(self) -> None:
        pid = await self._known()
        if pid is None:
            return
        try:
            _limit(pid, self.guard)
            await self.guard.begin(pid)
        except (ProcessLookupError, FileNotFoundError):
            return  # it has died, and says why
        await self.opening.open(pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(self.go, b"1")

    async def tied(self) -> None:
        # The first process makes the one that waits, asks to die with bubblewrap, and sleeps until
        # something of the job has ended. That it sleeps is seen, what it asked for is not.
        pid = await self._known()
        while pid is not None and _state(pid) not in _ASLEEP_OR_GONE:  # noqa: ASYNC110
            await asyncio.sleep(TIED_SECONDS)

    async def exceeded(self) -> How:
        return await self.guard.exceeded()

    def broke(self) -> How | None:
        return self.guard.broke()

    async def _known(self) -> int | None:
        """Learn the number of the first process; None where there is none any more."""
        if not self.known:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._first_line(), START_SECONDS)
            self.known = True
        with contextlib.suppress(ValueError, KeyError, ProcessLookupError):
            pid: int = json.loads(self.told.partition(b"\n")[0])["child-pid"]
            if self.first is None:
                self.first = os.pidfd_open(pid)
            return pid
        return None

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
        if self.status >= 0:
            await self._known()
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
            os.close(self.go)
            self.status = self.go = -1
        await self.opening.close()
        await self.guard.end()

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


def _state(pid: int) -> str:
    """The letter with which the kernel tells what a process does."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _failed(tail: str, returned: int | None, *, begun: bool) -> int:
    """The code of a job that never ran, or whose namespace was killed by someone else."""
    last = tail.rpartition("\n")[2]
    if not begun or last.startswith("bwrap: "):
        reason = last.removeprefix("bwrap: ").rstrip(".") or f"code {returned}"
        raise OperatorError(
            f"The sandbox did not start ({reason}): run `orchestrate doctor` to see what it lacks."
        )
    return 128 + signal.SIGKILL if returned is None or returned < 0 else returned
