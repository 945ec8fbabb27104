"""GitHub as it is on bad days: a second door to a hub, at which requests go wrong by chance.

People use the hub's own door; only who comes by this one meets faults. A storm is a kind of fault
that befalls requests while it lasts, each with a chance; a cut closes the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn

from bot.github.client import TIMEOUT_SECONDS
from bot.hub import Hub
from bot.hub.app import create_app

Storm = Literal["502", "502 after", "answer lost", "timed out after", "secondary limit", "slow"]
"""Those after come once the request has had its effect, and so is an answer lost."""

STORMS: tuple[Storm, ...] = (
    *("502", "502 after", "answer lost", "timed out after", "secondary limit", "slow"),
)

CHANCE = 0.3
"""Of one request to meet a storm: so that some get through, and some fail twice in a row."""

SLOW_SECONDS = 1.0
SILENT_SECONDS = TIMEOUT_SECONDS + 1
"""Longer than the bot waits for an answer."""

RETRY_AFTER = b"1"
"""What a secondary limit asks for, in seconds; GitHub's own are a minute."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(slots=True)
class Wire:
    """The door. `met` counts the faults that requests met."""

    hub: Hub
    port: int
    chance: random.Random
    storm: Storm | None = None
    met: Counter[str] = field(default_factory=Counter)
    _server: uvicorn.Server | None = None
    _serving: asyncio.Task[None] | None = None

    @property
    def api_url(self) -> str:
        """Where the REST begins."""
        return f"http://127.0.0.1:{self.port}/api/v3"

    async def open(self) -> None:
        """Let requests in."""
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        inner = create_app(self.hub)

        async def app(scope: Message, receive: Receive, send: Send) -> None:
            await self._pass(inner, scope, receive, send)

        config = uvicorn.Config(
            app,
            lifespan="off",
            # A lost answer is told as an error of the application, which it is not.
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=0,
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = _not_ours  # type: ignore[method-assign]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        while not self._server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Cut what is under way, and answer nobody."""
        if self._server and self._serving:
            self._server.should_exit = self._server.force_exit = True
            await self._serving
            self._server = self._serving = None

    async def cut(self, seconds: float) -> None:
        """Be out of reach for a while."""
        self.met["cut"] += 1
        await self.close()
        await asyncio.sleep(seconds)
        await self.open()

    @contextlib.contextmanager
    def weather(self, storm: Storm) -> Iterator[None]:
        """Have a storm."""
        self.storm = storm
        try:
            yield
        finally:
            self.storm = None

    async def _pass(self, inner: Any, scope: Message, receive: Receive, send: Send) -> None:
        storm = self.storm
        if storm is None or self.chance.random() >= CHANCE:
            await inner(scope, receive, send)
        else:
            self.met[storm] += 1
            await self._befall(storm, inner, scope, receive, send)

    async def _befall(
        self, storm: Storm, inner: Any, scope: Message, receive: Receive, send: Send
    ) -> None:
        if storm == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if storm in ("502 after", "answer lost", "timed out after"):
            await inner(scope, receive, _swallow)
        if storm == "timed out after":
            await asyncio.sleep(SILENT_SECONDS)
        if storm in ("answer lost", "timed out after"):
            # An answer that is not whole: uvicorn closes the connection.
            await _begin(send, 200, 100)
        elif storm == "slow":
            await inner(scope, receive, send)
        elif storm == "secondary limit":
            body = b'{"message": "You have exceeded a secondary rate limit."}'
            await _answer(send, 403, body, (b"retry-after", RETRY_AFTER))
        else:
            await _answer(send, 502, b'{"message": "Server Error"}')


async def _swallow(_message: Message) -> None:
    pass


async def _begin(send: Send, status: int, length: int, *headers: tuple[bytes, bytes]) -> None:
    kind = (b"content-type", b"application/json")
    given = [kind, (b"content-length", str(length).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": given})


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await _begin(send, status, len(body), *headers)
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def _not_ours() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def wire(hub: Hub, chance: random.Random) -> AsyncIterator[Wire]:
    """Open such a door to a hub that is served."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    made = Wire(hub, port, chance)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
