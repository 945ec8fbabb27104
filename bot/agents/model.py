"""What an agent is asked, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Outcome = Literal[
    "ended",
    "failed",
    "timed_out",
    "stopped",
    "too_much_output",
    "out_of_memory",
    "too_many_processes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One prompt to an agent.

    number: counted from 1 within the run.
    workspace: the folder that it may change, seen in the namespace of the process `namespace`.
    home: what it keeps between the turns of a run.
    log: a file outside the workspace that its raw output is appended to.
    seconds, output_bytes: its limits.
    """

    number: int
    prompt: str
    workspace: Path
    home: Path
    log: Path | None
    seconds: float
    output_bytes: int
    namespace: int | None = None


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """How a turn ended, as the agent's program shows it; what it changed is for others to see.

    code: the exit code, or None when we ended it.
    summary: the last lines of its output, without control characters.
    seconds: how long it took.
    """

    outcome: Outcome
    code: int | None
    summary: str
    seconds: float


class Agent(Protocol):
    """Carries out turns. After a turn, no process of the agent is alive."""

    @property
    def name(self) -> str:
        """The word by which people choose it."""

    async def turn(
        self,
        turn: Turn,
        *,
        stop: asyncio.Event | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> TurnEnded:
        """Give one prompt, and wait until the agent stops or must.

        `on_output` is given each line as it comes. Raises OperatorError when the agent cannot be
        started for a reason that lies with the server.
        """
