"""What a sandbox is asked, and what it answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

How = Literal[
    "exited", "timed_out", "stopped", "too_much_output", "out_of_memory", "too_many_processes"
]
OnOutput = Callable[[str], None]

MEGABYTE: Final = 1024 * 1024
MEMORY_MEGABYTES: Final = 4096
"""A coding agent peaks at 0.3 to 0.7 GB; the rest is for the compiler or the browser it starts."""
PROCESSES: Final = 2048
"""Threads count, and an agent has forty, a build with a JVM some hundreds: far above both, and far
below what a fork bomb needs to stop a machine."""
CPUS: Final = 4.0
"""Cores that one job may keep busy: what a build makes use of, so that no job has a large machine
to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all processes of one job may take together; `processes` counts threads, too."""

    memory_bytes: int = MEMORY_MEGABYTES * MEGABYTE
    processes: int = PROCESSES
    cpus: float = CPUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A port of the job's own loopback, behind which something of ours listens.

    name: `{door:NAME}` in the job's arguments and variables becomes the door's address as the job
        sees it, `http://127.0.0.1:PORT`.
    port: where the job finds it; 0 takes any. A sandbox that shares the host's network takes
        any in every case.
    serve: given the listening socket, which it owns from then on; entered before the job's program
        starts, left after its last process has ended.
    """

    name: str
    port: int
    serve: Callable[[socket.socket], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One program to run, and everything that it may touch.

    argv: the program and its arguments, looked up on the job's own PATH.
    workspace: an existing folder of the host; writable, and where the program starts.
    home: a folder of the host that the program has as its HOME; made when it is missing.
    env: variables on top of PATH, HOME, LANG and TMPDIR, which the sandbox sets.
    stdin: what the program reads on its standard input.
    readable: folders that it may read, at their own paths; the `bin` of each is on its PATH.
    seconds: wall clock; then every process of the job is killed.
    output_bytes: how much standard output and error may come, together, before the same happens.
    log: a file of the host, outside the workspace, that the raw output is appended to.
    namespace: the process in whose namespace alone the workspace is seen; None for the host's own.
    doors: the only ways out, where the sandbox takes the network away.
    limits: what its processes may take together; None for what the operator's settings say.
    secrets: texts that are kept out of the log, the tail and what `on_output` is given.
    """

    argv: tuple[str, ...]
    workspace: Path
    home: Path
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    readable: tuple[Path, ...] = ()
    seconds: float
    output_bytes: int
    log: Path | None = None
    namespace: int | None = None
    doors: tuple[Door, ...] = ()
    limits: Limits | None = None
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended.

    code: the exit code, 128 + N after signal N; None when the job was killed by us.
    tail: the last output as clean text, without control characters.
    seconds: how long it ran.
    """

    code: int | None
    how: How
    tail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Places:
    """The paths under which a job sees its workspace and its home."""

    workspace: str
    home: str


class Talk(Protocol):
    """A job that is talked to over its standard input and output.

    What it prints on standard output comes raw from `reader`; standard error goes to the log and
    the tail. `Job.stdin` is not written: what is to be said is written to `writer`.
    """

    @property
    def reader(self) -> asyncio.StreamReader:
        """The job's standard output. The job waits while nobody reads."""

    @property
    def writer(self) -> asyncio.StreamWriter:
        """The job's standard input."""

    async def ended(self) -> Ended:
        """Wait until the job ends, a limit is reached or `stop` is set; nothing of it lives then.

        What the job had printed before can still be read.
        """

    async def kill(self) -> None:
        """Kill every process of the job; `ended` then says `stopped`."""


class Sandbox(Protocol):
    """Runs jobs. When `run` is over, however it ended, no process of the job is alive."""

    @property
    def name(self) -> str:
        """The word that chooses this sandbox in the operator's settings."""

    def places(self, workspace: Path, home: Path) -> Places:
        """Say under which paths a job would see these two folders of the host."""

    async def run(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> Ended:
        """Run `job` until it ends, a limit is reached or `stop` is set.

        `on_output` is given each clean line as it comes. Raises OperatorError when the sandbox
        itself cannot start.
        """

    def talk(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> AbstractAsyncContextManager[Talk]:
        """Start `job` to talk to it; leaving the context kills every process of it.

        Time, output and memory are limited as in `run`; `on_output` is given each clean line of
        standard error. Raises OperatorError when the sandbox itself cannot start.
        """
