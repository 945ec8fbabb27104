"""The one protocol of ours: a conversation with an agent's program, whatever the program speaks.

A session is started (or resumed), prompted, perhaps told something meanwhile or cancelled, and
closed. What happens in between comes as events, into the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from bot.agents.journal import Journal
from bot.agents.permissions import Permissions
from bot.sandbox.model import Ended, Talk

MODE = "mode"
"""An option: the session's mode, which is set where the agent offers it."""

Speaks = Literal["acp", "claude", "codex"]
"""What a program speaks; `open_session` knows who understands it."""

Why = Literal["done", "cancelled", "refused", "limit", "failed"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one can ask of an agent.

    resume: a later turn can go on with the session. steer: a message reaches it `at once`, or with
    the `next` prompt, once this one has ended. cancel: it can be asked to stop, rather than killed.
    plan, diffs, permissions, usage: it tells of these.
    """

    resume: bool = False
    steer: Literal["at once", "next"] = "next"
    cancel: bool = False
    plan: bool = False
    diffs: bool = False
    permissions: bool = False
    usage: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the agent stopped: `failed` with the agent's own words."""

    why: Why
    words: str = ""


class Broken(Exception):
    """The conversation cannot go on: the program ended, or says what nobody understands."""


class SessionLost(Broken):
    """The session that was to be resumed is not there, and nothing has begun."""


class LoginWanted(Exception):
    """The agent wants a person to log in."""


Opener = Callable[[tuple[str, ...]], AbstractAsyncContextManager[Talk]]
"""Starts the program in the sandbox with further arguments, to talk to it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a session is given: where it stands, who answers, and who listens.

    cwd: the workspace as the program sees it. options: what is peculiar to the product.
    """

    open: Opener
    cwd: str
    journal: Journal
    permissions: Permissions
    options: Mapping[str, str] = field(default_factory=dict)


class Session(Protocol):
    """A conversation with an agent's program; entering it starts nothing yet."""

    async def start(self, resume: str) -> str:
        """Start the program, and go on with the session `resume` where it can; return its name.

        The name is empty where the agent tells it later, and `name` has it then.
        """

    @property
    def name(self) -> str:
        """The name by which a later turn can go on with the session; empty until it is known."""

    async def prompt(self, text: str) -> Stop:
        """Give it a prompt; return when the agent has stopped."""

    async def steer(self, text: str) -> bool:
        """Tell it something at once; False where it can only be told with the next prompt."""

    async def cancel(self) -> None:
        """Ask it to stop; `prompt` then returns, soon."""

    async def close(self) -> None:
        """End the program, and see every process of it dead."""

    async def fate(self) -> Ended:
        """Wait until the program has ended, and say how."""
