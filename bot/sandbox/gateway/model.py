"""What a gateway is told about one job, and what it tells about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bot.usage import Usage

if TYPE_CHECKING:
    from bot.sandbox.model import Door


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a job may still use; None for no limit of that kind. See `Usage.tokens` and `.usd`."""

    usd: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """What one job may reach.

    makers: `anthropic`, `openai`, `gemini`, `copilot`: whose models may be used, with our keys.
    hosts: `host` (ports 80 and 443), `host:port`, `*.host`; anything else is refused.
    allowance: asked before each request to a model.
    """

    makers: frozenset[str] = frozenset()
    hosts: tuple[str, ...] = ()
    allowance: Allowance = Allowance()


@dataclass(frozen=True, slots=True)
class Blocked:
    """A host that a job asked for and may not reach; told once for each host and port.

    program: the command that asked, without its options, or else as it names itself, or empty.
    at: seconds since the epoch.
    """

    host: str
    port: int
    program: str
    at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A request to a model that was not answered with success.

    status: what the endpoint answered, or 0 when it could not be reached; sentence: what to do.
    """

    maker: str
    status: int
    sentence: str
    at: float


class Visit(Protocol):
    """One job's time at the gateway. What it tells is what stands at that moment."""

    @property
    def doors(self) -> tuple[Door, ...]:
        """The doors to give to the job."""

    @property
    def env(self) -> Mapping[str, str]:
        """Addresses and placeholders of keys, by the names that the makers' programs read."""

    @property
    def placeholder(self) -> str:
        """What the job has in place of every key."""

    @property
    def usage(self) -> Usage:
        """What was used until now."""

    @property
    def blocked(self) -> tuple[Blocked, ...]:
        """The hosts that were refused."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The requests to models that failed since the last that did not, oldest first."""

    def allow(self, allowance: Allowance) -> None:
        """Let the job use so much in all, from its beginning; holds from the next request on."""

    @property
    def spent(self) -> asyncio.Event:
        """Set when the allowance stopped a request."""

    @property
    def reason(self) -> str:
        """The sentence with which the allowance stopped a request; empty until then."""

    @property
    def unpriced(self) -> bool:
        """Whether that was for want of a price, and not of money."""

    @property
    def secrets(self) -> frozenset[str]:
        """The real values, so that no output shows them."""
