"""Overlay mounts: read-only files below, what changed above, in a millisecond for any size.

As root by mount(2), in the namespace of the server. Without, in a user namespace of its own that a
process of ours holds open: it and the mount end with us, however we end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.errors import OperatorError

from . import quota
from .removal import remove

Kind = Literal["overlay", "rootless", "checkout"]

OPAQUE: dict[Kind, str] = {
    "overlay": "trusted.overlay.opaque",
    "rootless": "user.overlay.opaque",
    "checkout": "",
}
"""The attribute that marks a folder which hides what lies below it, by kind."""

MAX_OPTIONS = 4095
"""Bytes of a mount's options: mount(2) takes one page of 4096 with the zero at its end."""
HOLDER_SECONDS = 10.0
"""A holder is ready in 10 ms; a machine that swaps needs more."""
PROBE_QUOTA = 256 * 1024
"""Bytes that the probe allows itself, to see whether it is stopped when it writes more."""

# Renames are copies and deletions, files are copied whole, and nothing outlives the mount: what is
# above can be read by itself. `volatile` leaves out the flush at unmounting, which takes seconds on
# a busy disk. Redirects are off by themselves in a user namespace, and naming that is refused.
_COMMON = "metacopy=off,index=off,volatile"
_OPTIONS: dict[Kind, str] = {
    "overlay": f"redirect_dir=off,{_COMMON}",
    "rootless": f"userxattr,{_COMMON}",
}
_NOSUID, _NODEV = 2, 4
_DETACH, _NOFOLLOW = 2, 8
_OCTAL = re.compile(rb"\\([0-7]{3})")
_PROGRAMS = ("unshare", "nsenter", "mount", "sh")
_NEW_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")
_HOLD = (
    'mount -n -t overlay -o "$1" overlay "$2" && echo ready && exec cat >/dev/null 2>&1'  # till EOF
)
_TRY = (
    'mount -n -t overlay -o "$1" overlay "$2" && cd "$2" && rm gone && echo new > new'
    " && mkdir -m 700 new-folder && chmod 600 changed"
)

_BY_ROOT = "Overlay mounts, made by root: the same cost for any size."
_CHOSEN = "ORCHESTRATE_WORKSPACES=checkout: each workspace is a full copy."
_ENFORCED = "The disk limit is enforced by a project quota."
_WATCHED = "The disk limit is watched."

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Means:
    """How workspaces are made on this machine, and `sentence`, which says so to people.

    `quota` says that the file system itself holds a workspace to its limit.
    """

    kind: Kind
    sentence: str
    quota: bool = False


# -- mounts of this process's namespace


def mount(lowers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """Mount `lowers` (the top one first) below `upper` at `target`; raises OSError."""
    options = _options("overlay", lowers, upper, work)
    done = _libc.mount(
        b"overlay", os.fsencode(target), b"overlay", ctypes.c_ulong(_NOSUID | _NODEV), options
    )
    if done:
        raise _error(target)


def unmount(target: Path) -> bool:
    """Take a mount away, at once, even from those who use it; False where there is none."""
    if _libc.umount2(os.fsencode(target), _DETACH | _NOFOLLOW) == 0:
        return True
    # Who may not take mounts away has made none.
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOENT, errno.EPERM):
        return False
    raise _error(target)


def mounts_below(folder: Path) -> list[Path]:
    """List the mount points below `folder` in this process's namespace, the last one first."""
    top = os.fsencode(folder.resolve()) + b"/"
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    points = [_OCTAL.sub(lambda code: bytes([int(code[1], 8)]), line.split()[4]) for line in lines]
    return [Path(os.fsdecode(point)) for point in reversed(points) if point.startswith(top)]


# -- mounts of a namespace that somebody holds


@dataclass(frozen=True, slots=True)
class Holder:
    """A process of ours whose namespace has the mount; `pid` names the namespace.

    It reads from a pipe that we hold and ends at its end. Its number is not given to another
    process before `end`.
    """

    process: subprocess.Popen[bytes]
    pidfd: int

    @classmethod
    async def start(cls, lowers: Sequence[Path], upper: Path, work: Path, target: Path) -> Holder:
        """Mount as `mount` does, in a new namespace; raises OperatorError."""
        options = os.fsdecode(_options("rootless", lowers, upper, work))
        process = _held(options, target)
        holder = cls(process, os.pidfd_open(process.pid))
        said = b""
        try:
            async with asyncio.timeout(HOLDER_SECONDS):
                said = await _said(process)
        except TimeoutError:
            said = f"it was not ready within {HOLDER_SECONDS:g} seconds".encode()
        finally:
            if said != b"ready\n":
                await holder.end()
        if said != b"ready\n":
            raise OperatorError(
                f"The workspace cannot be mounted ({_last_line(said)}): run `orchestrate doctor` "
                "to see what it lacks."
            )
        return holder

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the mount is still there."""
        return not select.select([self.pidfd], [], [], 0)[0]

    async def end(self) -> None:
        """End the process, and with it the mount."""
        # By its descriptor and not by `Popen.kill`, which looks whether it ended and so frees its
        # number.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        try:
            await _readable(self.pidfd)
        finally:
            os.close(self.pidfd)
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe:
                    pipe.close()


def entering(pid: int) -> tuple[str, ...]:
    """Return the beginning of a command line that runs the rest in the namespace of `pid`."""
    return ("nsenter", "--preserve-credentials", "-U", "-m", "-t", str(pid), "--")


# -- what is to be had here


def probe(
    folder: Path, wanted: Kind | Literal["auto"] = "auto", *, contained: bool = True
) -> Means:
    """Find out, by doing it in `folder`, how workspaces can be made there.

    `contained` says that jobs run in a sandbox that can enter a namespace. Raises OperatorError
    where a kind is `wanted` that cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if wanted == "checkout":
        return Means("checkout", f"{_CHOSEN} {_WATCHED}")
    refused: list[str] = []
    if wanted in ("auto", "overlay"):
        problem, enforced = _try_overlay(folder)
        if not problem:
            return Means("overlay", f"{_BY_ROOT} {_ENFORCED if enforced else _WATCHED}", enforced)
        refused.append(f"as root: {problem}")
    if wanted in ("auto", "rootless"):
        problem = _try_rootless(folder) if contained else "jobs without a sandbox cannot enter it"
        if not problem:
            return Means("rootless", _in_namespace(refused))
        refused.append(f"in a user namespace: {problem}")
    why = "; ".join(refused)
    if wanted == "auto":
        return Means("checkout", _full_copies(why))
    raise OperatorError(
        f"ORCHESTRATE_WORKSPACES={wanted} cannot be had here ({why}): set it to auto, which takes "
        "the best that there is."
    )


def _in_namespace(refused: list[str]) -> str:
    why = f" ({refused[0]})" if refused else ""
    return f"Overlay mounts, each in a user namespace{why}: the same cost for any size. {_WATCHED}"


def _full_copies(why: str) -> str:
    return (
        f"Each workspace is a full copy, since overlay mounts are refused ({why}): keep "
        "ORCHESTRATE_DATA_DIR on ext4, xfs or btrfs, and let this user make user namespaces. "
        f"{_WATCHED}"
    )


def _try_overlay(folder: Path) -> tuple[str, bool]:
    """Why mounting as root does not work, or nothing; and whether a quota would be enforced."""
    place = _Trial(folder)
    try:
        limited = not os.geteuid() and place.limit(PROBE_QUOTA)
        place.fill()
        mount([place.lower], place.upper, place.work, place.target)
        (place.target / "gone").unlink()
        (place.target / "new").write_bytes(b"new\n")
        (place.target / "new-folder").mkdir()
        (place.target / "changed").chmod(0o600)
        enforced = limited and _stopped(place.target / "much", PROBE_QUOTA)
        return place.verdict(), enforced
    except OSError as error:
        return str(error.strerror), False
    finally:
        place.close()


def _try_rootless(folder: Path) -> str:
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"the program `{missing[0]}` is missing"
    place = _Trial(folder)
    try:
        place.fill()
        options = os.fsdecode(_options("rootless", [place.lower], place.upper, place.work))
        done = subprocess.run(
            [*_NEW_NAMESPACE, "sh", "-c", _TRY, "sh", options, str(place.target)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            cwd="/",
            timeout=HOLDER_SECONDS,
            check=False,
        )
        return _last_line(done.stdout) if done.returncode else place.verdict()
    except subprocess.TimeoutExpired:
        return f"it took longer than {HOLDER_SECONDS:g} seconds"
    except OSError as error:
        return str(error.strerror)
    finally:
        place.close()


class _Trial:
    """Folders to try a mount with; their names are known to those who clean up after a kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=".probe-", dir=folder))
        names = ("lower", "upper", "work", "target")
        self.lower, self.upper, self.work, self.target = (self.folder / name for name in names)
        self.limited = False

    def limit(self, size: int) -> bool:
        """Hold the folder to `size` bytes, if the file system can."""
        with contextlib.suppress(OSError):
            quota.limit(self.folder, size)
            self.limited = True
        return self.limited

    def fill(self) -> None:
        """Make the folders, and the files that the trial changes."""
        for each in (self.lower, self.upper, self.work, self.target):
            each.mkdir()
        for name in ("gone", "changed"):
            (self.lower / name).write_bytes(b"old\n")

    def verdict(self) -> str:
        """Say what is wrong with what the trial left above, or nothing."""
        found = {each.name: each.lstat() for each in self.upper.iterdir()}
        found.pop("much", None)
        gone = found.get("gone")
        deleted = gone and stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
        kept = (self.lower / "changed").stat().st_mode & 0o777 == 0o644
        if deleted and kept and found.keys() == {"gone", "new", "new-folder", "changed"}:
            return ""
        return "the mount does not show what was changed"

    def close(self) -> None:
        """Take all of it away again."""
        with contextlib.suppress(OSError):
            unmount(self.target)
        project = quota.project(self.folder) if self.limited else 0
        remove(self.folder)
        if project:
            quota.lift(self.folder.parent, project)


def _stopped(file: Path, size: int) -> bool:
    """Whether the file system refuses to write more than `size` bytes."""
    try:
        with file.open("wb") as writing:
            writing.write(os.urandom(2 * size))
            os.fsync(writing.fileno())
    except OSError as error:
        return error.errno in (errno.EDQUOT, errno.ENOSPC)
    return False


def _options(kind: Kind, lowers: Sequence[Path], upper: Path, work: Path) -> bytes:
    below = b":".join(_escaped(lower).replace(b":", b"\\:") for lower in lowers)
    options = b"lowerdir=%s,upperdir=%s,workdir=%s,%s" % (
        below,
        _escaped(upper),
        _escaped(work),
        _OPTIONS[kind].encode(),
    )
    if len(options) > MAX_OPTIONS:
        raise OperatorError(
            "The data folder's path is too long for overlay mounts: set ORCHESTRATE_DATA_DIR to a "
            "shorter one, or ORCHESTRATE_WORKSPACES=checkout."
        )
    return options


def _escaped(path: Path) -> bytes:
    return os.fsencode(path.absolute()).replace(b"\\", b"\\\\").replace(b",", b"\\,")


def _error(target: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(target))


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _held(options: str, target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*_NEW_NAMESPACE, "sh", "-c", _HOLD, "sh", options, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        cwd="/",
        start_new_session=True,  # a signal to our group would end it before what runs in it
    )


async def _said(process: subprocess.Popen[bytes]) -> bytes:
    """Read what the process says, up to the line `ready` or its end."""
    assert process.stdout is not None
    output, said = process.stdout.fileno(), b""
    while said != b"ready\n":
        await _readable(output)
        data = os.read(output, 4096)
        if not data:
            break
        said += data
    return said


async def _readable(descriptor: int) -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)


def _last_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].rstrip(".") if lines else "no reason given"
