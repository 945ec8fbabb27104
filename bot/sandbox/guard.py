"""Holds a job to its limits: by control groups, and by watching where there are none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.errors import OperatorError
from bot.sandbox.cgroups import Cgroups, Group
from bot.sandbox.model import How, Limits

WATCH_SECONDS: Final = 0.25
"""Between two looks: a program fills a gigabyte in about this time, and a look at a job of fifty
processes takes two milliseconds."""

_PAGE: Final = 4096
_PROC = Path("/proc")


@dataclass(slots=True)
class Guard:
    """Watches one job, whose first process is known after `begin`."""

    limits: Limits
    group: Group | None
    memory_held: bool
    processes_held: bool
    first: int = 0
    ended_by: How | None = None

    async def begin(self, first: int) -> None:
        """Take the job's first process in, before it has started others."""
        self.first = first
        if self.group is not None:
            # A thread, since a kernel that is busy lets this wait for some milliseconds.
            await asyncio.to_thread(self.group.add, first)

    async def exceeded(self) -> How:
        """Return when the job takes more than it may; otherwise never."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if how := self.broke() or await self._looked():
                return how

    def broke(self) -> How | None:
        """What the kernel has ended some of the job for."""
        if self.group is not None and self.group.out_of_memory():
            self.ended_by = "out_of_memory"
        return self.ended_by

    async def end(self) -> None:
        """Kill what is left in the job's group, and take the group away."""
        self.broke()
        if self.group is not None:
            group, self.group = self.group, None
            if not group.remove_now():
                group.kill()
                await group.remove()

    async def _looked(self) -> How | None:
        if (self.memory_held and self.processes_held) or not self.first:
            return None
        memory, processes = await asyncio.to_thread(usage, self.first, self.limits.memory_bytes)
        if not self.memory_held and memory > self.limits.memory_bytes:
            return "out_of_memory"
        if not self.processes_held and processes > self.limits.processes:
            return "too_many_processes"
        return None


def guard(cgroups: Cgroups, limits: Limits) -> Guard:
    """A guard for one job; OperatorError where its control group is refused."""
    try:
        group, held = cgroups.make(limits), cgroups.controllers
    except OSError as error:
        raise OperatorError(
            f"The job's control group cannot be made ({error.strerror}): run `orchestrate doctor` "
            "to see which there are, and start the server anew."
        ) from error
    return Guard(limits, group, "memory" in held, "pids" in held)


def usage(first: int, enough: int) -> tuple[int, int]:
    """Bytes of memory, and threads, that a process and all below it take.

    Memory that several share is counted once for each, which is quick; only where that is more
    than `enough` bytes, it is divided among them.
    """
    found = [first, *tree(first)]
    used = [_used(pid) for pid in found]
    memory = sum(resident for resident, _ in used)
    if memory > enough:
        memory = sum(_share(pid, each[0]) for pid, each in zip(found, used, strict=True))
    return memory, sum(threads for _, threads in used)


def tree(first: int) -> list[int]:
    """All processes below a process, the nearest first."""
    found = _children(first)
    for pid in found:
        found += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            found += [int(each) for each in (task / "children").read_text().split()]
    except OSError:
        pass  # it has ended meanwhile
    return found


def _used(pid: int) -> tuple[int, int]:
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0, 0
    return int(fields[21]) * _PAGE, int(fields[17])


def _share(pid: int, resident: int) -> int:
    """What a process takes when shared memory is divided among those who share it."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return resident
    shares = [int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")]
    return shares[0] if shares else resident
