"""Control groups: what the processes of one job may take together, held by the kernel.

Of version 1, where root may make them, or of version 2, where this process's group is its own: as
root, or as a service with `Delegate=yes`. A controller that cannot be had is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from bot.sandbox.model import Limits

Controller = Literal["memory", "pids", "cpu"]
CONTROLLERS: Final[tuple[Controller, ...]] = ("memory", "pids", "cpu")
PREFIX: Final = "orchestrate-"

_PERIOD = 100_000  # microseconds in which the share of the processor is counted; the kernel's own
_OURSELVES = "orchestrate"  # the group that the bot moves to, since those with members cannot share
_AGAIN_SECONDS = 0.01
_GONE_SECONDS = 2.0
_SWEEP_SECONDS = 0.5
_counter = itertools.count()


class Place(NamedTuple):
    """A group in which groups of jobs are made, and what those limit."""

    folder: Path
    version: Literal[1, 2]
    controllers: frozenset[Controller]


class _Mount(NamedTuple):
    root: str
    point: Path
    version: Literal[1, 2]
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The groups that this process can make."""

    places: tuple[Place, ...] = ()

    @property
    def controllers(self) -> frozenset[Controller]:
        """What they limit."""
        return frozenset(each for place in self.places for each in place.controllers)

    def version(self, controller: Controller) -> int:
        """The version of the hierarchy that limits it."""
        return next(each.version for each in self.places if controller in each.controllers)

    def make(self, limits: Limits) -> Group | None:
        """Make the group of one job; None where there are none to be had."""
        if not self.places:
            return None
        name = f"{_own_prefix()}{next(_counter)}"
        group = Group(tuple(Place(each.folder / name, *each[1:]) for each in self.places))
        try:
            for place in group.places:
                place.folder.mkdir()
                for file, value in _values(place, limits):
                    (place.folder / file).write_text(value)
        except OSError:
            group.remove_now()
            raise
        return group

    def sweep(self) -> None:
        """End and remove what bots of this machine left that were killed."""
        for place in self.places:
            for folder in _entries(place.folder):
                if folder.name.startswith(PREFIX) and _is_orphan(folder.name):
                    _end(Place(folder, place.version, place.controllers))
                    _await_removed(folder)


@dataclass(slots=True)
class Group:
    """The group of one job, in each hierarchy."""

    places: tuple[Place, ...]
    _memory: Place | None = field(init=False)

    def __post_init__(self) -> None:
        self._memory = next((each for each in self.places if "memory" in each.controllers), None)

    def add(self, pid: int) -> None:
        """Take a process in, and with it all that it starts from now on."""
        for place in self.places:
            (place.folder / "cgroup.procs").write_text(str(pid))

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed a process since the job took all that it may."""
        if self._memory is None:
            return False
        name = "memory.events" if self._memory.version == 2 else "memory.oom_control"
        try:
            lines = (self._memory.folder / name).read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def kill(self) -> None:
        """Kill every process in it."""
        for place in self.places:
            _end(place)

    async def remove(self) -> None:
        """Take it away once it is empty, which it is a moment after its processes are dead."""
        for _ in range(int(_GONE_SECONDS / _AGAIN_SECONDS)):
            if self.remove_now():
                return
            await asyncio.sleep(_AGAIN_SECONDS)

    def remove_now(self) -> bool:
        """Take it away; False where something still holds it."""
        gone = [_removed(place.folder) for place in self.places]
        return all(gone)


def find() -> Cgroups:
    """Find out, by making one, which groups can be had."""
    mounts = list(_mounts(Path("/proc/self/mountinfo").read_text()))
    found: list[Place] = []
    for number, named, path in _memberships(Path("/proc/self/cgroup").read_text()):
        version = 2 if number == "0" else 1
        candidates = [each for each in mounts if each.version == version and named <= each.options]
        places = (_place(mount, named, path) for mount in candidates)
        found += list(filter(None, places))[:1]
    return Cgroups(tuple(found))


def _place(mount: _Mount, named: frozenset[str], path: str) -> Place | None:
    folder = _below(mount, path)
    place = _version_1(folder, named) if mount.version == 1 else _version_2(mount, folder)
    return place if place is not None and _works(place) else None


def _version_1(folder: Path, named: frozenset[str]) -> Place | None:
    held = frozenset(each for each in CONTROLLERS if each in named)
    return Place(folder, 1, held) if held else None


def _version_2(mount: _Mount, folder: Path) -> Place | None:
    """A place below our own group if that can have some with controllers, or below the root."""
    # Where we have moved down already, it is the one above.
    above = (folder.parent,) if folder.name == _OURSELVES else ()
    for each in (*above, folder, mount.point):
        if each.is_dir() and (held := _shared(each)):
            return Place(each, 2, held)
    return None


def _shared(folder: Path) -> frozenset[Controller]:
    """The controllers that groups below `folder` have, after asking for them."""
    if not _share(folder) and _move_down(folder):
        _share(folder)
    try:
        given = (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return frozenset()
    return frozenset(each for each in CONTROLLERS if each in given)


def _share(folder: Path) -> bool:
    try:
        there = (folder / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{each}" for each in CONTROLLERS if each in there)
        if wanted:
            (folder / "cgroup.subtree_control").write_text(wanted)
    except OSError:
        return False
    return True


def _move_down(folder: Path) -> bool:
    """Move this process to a group of its own, where it and its children are alone in `folder`."""
    try:
        members = [int(each) for each in (folder / "cgroup.procs").read_text().split()]
        if os.getpid() not in members or not all(_is_ours(each) for each in members):
            return False
        below = folder / _OURSELVES
        below.mkdir(exist_ok=True)
        for each in members:
            (below / "cgroup.procs").write_text(str(each))
    except (OSError, ValueError):
        return False
    return True


def _is_ours(pid: int) -> bool:
    return pid == os.getpid() or _fields(pid)[1:2] == [str(os.getpid())]


def _works(place: Place) -> bool:
    try:
        group = Cgroups((place,)).make(Limits())
    except OSError:
        return False
    return group is not None and group.remove_now()


def _values(place: Place, limits: Limits) -> Iterator[tuple[str, str]]:
    """What to write to which file, in this order."""
    if "memory" in place.controllers:
        yield from _memory_values(place, limits.memory_bytes)
    if "pids" in place.controllers:
        yield "pids.max", str(limits.processes)
    if "cpu" in place.controllers and limits.cpus < (os.cpu_count() or 1):
        quota = max(1000, int(limits.cpus * _PERIOD))
        if place.version == 2:
            yield "cpu.max", f"{quota} {_PERIOD}"
        else:
            yield "cpu.cfs_period_us", str(_PERIOD)
            yield "cpu.cfs_quota_us", str(quota)


def _memory_values(place: Place, size: int) -> Iterator[tuple[str, str]]:
    if place.version == 1:
        yield "memory.limit_in_bytes", str(size)
        # Without it a job would go on in the swap; absent where the kernel does not count that.
        if (place.folder / "memory.memsw.limit_in_bytes").exists():
            yield "memory.memsw.limit_in_bytes", str(size)
        return
    yield "memory.max", str(size)
    if (place.folder / "memory.swap.max").exists():
        yield "memory.swap.max", "0"
    yield "memory.oom.group", "1"  # a job that lost a process is no longer what it was


def _end(place: Place) -> None:
    """Kill what is in a group; no process of it can start another one meanwhile."""
    with contextlib.suppress(OSError):
        if place.version == 2:
            (place.folder / "cgroup.kill").write_text("1")
            return
        if "pids" in place.controllers:
            (place.folder / "pids.max").write_text("0")
    with contextlib.suppress(OSError):
        for pid in (place.folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)


def _await_removed(folder: Path) -> None:
    """Remove a group whose processes were killed; what does not die stays for the next start."""
    for _ in range(int(_SWEEP_SECONDS / _AGAIN_SECONDS)):
        if _removed(folder):
            return
        time.sleep(_AGAIN_SECONDS)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


# -- names, by which one bot knows what another one left


def _own_prefix() -> str:
    """Name this process among all that there are: the number alone is given again."""
    return f"{PREFIX}{_pid_namespace()}-{os.getpid()}-{_started(os.getpid())}-"


def _is_orphan(name: str) -> bool:
    """Whether it was made by a process that is gone; those of other containers we cannot see."""
    try:
        namespace, pid, started, _ = name.removeprefix(PREFIX).split("-")
        return int(namespace) == _pid_namespace() and _started(int(pid)) != started
    except ValueError:
        return False


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> str:
    """When a process started, in ticks since the machine did; the empty string if it is gone."""
    fields = _fields(pid)
    return fields[19] if len(fields) > 19 else ""


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything: state, parent, …"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


# -- where groups are


def _memberships(text: str) -> Iterator[tuple[str, frozenset[str], str]]:
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        yield number, frozenset(controllers.split(",")) - {""}, path


def _mounts(text: str) -> Iterator[_Mount]:
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            version: Literal[1, 2] = 2 if kind == "cgroup2" else 1
            yield _Mount(fields[3], Path(fields[4]), version, frozenset(options.split(",")))


def _below(mount: _Mount, path: str) -> Path:
    """The folder of a group, as the mount shows it."""
    if mount.root == "/" or path == mount.root or path.startswith(f"{mount.root}/"):
        relative = path if mount.root == "/" else path[len(mount.root) :]
        return mount.point / relative.strip("/")
    return mount.point


def _entries(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if each.is_dir()]
    except OSError:
        return []
