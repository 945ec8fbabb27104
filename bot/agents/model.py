"""What an agent is asked, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from bot.runs.ports import Steering, Unsteered
from bot.sandbox.gateway import Failure
from bot.sandbox.model import Door
from bot.usage import Usage
from policies.config import Config

Outcome = Literal[
    "ended",
    "failed",
    "timed_out",
    "stopped",
    "too_much_output",
    "out_of_memory",
    "too_many_processes",
    "budget",  # the allowance stopped a request to a model
    "refused",  # a model's server refuses the key
    "login",  # it wants a person to log in
    "silent",  # it gave no sign of life for too long
    "looped",  # it did the same over and over
    "died",  # its program ended in mid-turn
    "garbled",  # it says what its protocol does not know
    "nothing",  # it ended its turn without a word or a deed
]


class Watched(Protocol):
    """What is seen of a turn from outside, at the gateway."""

    @property
    def usage(self) -> Usage:
        """What was used until now."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The last requests to models that failed, oldest first."""

    @property
    def spent(self) -> asyncio.Event:
        """Set when the allowance stopped a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One prompt to an agent.

    number: counted from 1 within the run.
    workspace: the folder that it may change, seen in the namespace of the process `namespace`.
    home: what it keeps between the turns of a run.
    log: a file outside the workspace that its output is appended to, for people to read.
    seconds, output_bytes: its limits.
    session: what it goes on with, or empty.
    env, readable, doors: what its job has beside what the agent itself needs.
    secrets: texts that are written nowhere.
    watched: what the gateway sees; None where it has no doors.
    on_session: told the session's name as soon as it is known.
    """

    number: int
    prompt: str
    workspace: Path
    home: Path
    log: Path | None
    seconds: float
    output_bytes: int
    namespace: int | None = None
    session: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    readable: tuple[Path, ...] = ()
    doors: tuple[Door, ...] = ()
    secrets: frozenset[str] = frozenset()
    config: Config = field(default_factory=Config)
    steer: Steering = field(default_factory=Unsteered)
    watched: Watched | None = None
    on_session: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """How a turn ended, as the agent's program shows it; what it changed is for others to see.

    code: the exit code, or None when we ended it.
    summary: the last lines of its output, without control characters.
    seconds: how long it took.
    session: what a next turn can go on with.
    detail: what more there is to say of the outcome.
    """

    outcome: Outcome
    code: int | None
    summary: str
    seconds: float
    session: str = ""
    detail: str = ""


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
