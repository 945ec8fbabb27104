"""What a sandbox is asked, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

How = Literal["exited", "timed_out", "stopped", "too_much_output"]
OnOutput = Callable[[str], None]


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
