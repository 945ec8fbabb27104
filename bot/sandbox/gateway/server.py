"""HTTP/1.1 on a door's listening socket, by h11.

Not uvicorn: its server ticks ten times a second for every door, and what speaks ASGI cannot turn
a connection into a tunnel (CONNECT), nor break one off so that a cut answer does not look whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import h11
import structlog

logger = structlog.get_logger()

Headers = Sequence[tuple[bytes, bytes]]
T = TypeVar("T")

HEAD_BYTES: Final = 64 * 1024  # of a request's head; what web servers take at most
READ_BYTES: Final = 64 * 1024
LINGER_SECONDS: Final = 2.0  # for a client to read its answer although it still sends
IDLE_SECONDS: Final = 300.0  # agents keep connections for their next request; none thinks longer
_RESET: Final = struct.pack("ii", 1, 0)  # linger, for no second
_CHARSET: Final = "; charset=utf-8"


class TooLarge(Exception):
    """A request's body is over its limit."""


class Gone(ConnectionError):
    """The client left before its answer was complete."""


class Exchange:
    """One request, and the way to answer it."""

    def __init__(
        self,
        request: h11.Request,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.method = request.method.decode("ascii")
        self.target = request.target.decode("latin-1")
        self.headers: Headers = list(request.headers)
        self.tunneled = False
        self._connection = connection
        self._reader = reader
        self._writer = writer

    def header(self, name: str) -> str:
        """Return the first header of that name, or an empty text."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key == wanted), "")

    @property
    def ports(self) -> tuple[int, int]:
        """The client's port, and the door's."""
        peer, own = (self._writer.get_extra_info(each) for each in ("peername", "sockname"))
        return (peer[1], own[1]) if peer and own else (0, 0)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it comes."""
        if self._connection.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            event = await _next(self._connection, self._reader)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                return

    async def body(self, limit: int) -> bytes:
        """Return the request's body; `TooLarge` when it has more than `limit` bytes."""
        length = self.header("content-length")
        if length.isdigit() and int(length) > limit:
            raise TooLarge
        held = bytearray()
        async for chunk in self.chunks():
            held += chunk
            if len(held) > limit:
                raise TooLarge
        return bytes(held)

    async def while_there(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, and give it up with `Gone` as soon as the client leaves."""
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Gone
            return task.result()
        finally:
            watch.cancel()
            task.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    async def _left(self) -> None:
        early = 0
        while early < READ_BYTES:  # what comes early is the next request; much of it can wait
            data = await self._reader.read(READ_BYTES)
            if not data:
                return
            early += len(data)
            self._connection.receive_data(data)
        await asyncio.Event().wait()

    async def start(self, status: int, headers: Headers) -> None:
        """Begin the answer."""
        await self._send(h11.Response(status_code=status, headers=list(headers)))

    async def send(self, data: bytes) -> None:
        """Send the next bytes of the answer."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """End the answer."""
        await self._send(h11.EndOfMessage())

    async def answer(
        self, status: int, text: bytes, content_type: str = "text/plain", headers: Headers = ()
    ) -> None:
        """Give a whole answer."""
        named = [
            (b"content-type", (content_type + _CHARSET).encode()),
            (b"content-length", str(len(text)).encode()),
            *headers,
        ]
        await self.start(status, named)
        if self.method != "HEAD":
            await self.send(text)
        await self.end()

    def abort(self) -> None:
        """Break the connection off, so that what was sent does not look complete."""
        _break_off(self._writer)

    async def tunnel(self) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """Accept a CONNECT; return what came early, and both ends of the plain connection."""
        await self._send(h11.Response(status_code=200, headers=[]))
        self.tunneled = True
        early, _ = self._connection.trailing_data
        return bytes(early), self._reader, self._writer

    async def _send(self, event: h11.Event) -> None:
        data = self._connection.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()


Handle = Callable[[Exchange], Awaitable[None]]


@asynccontextmanager
async def listen(
    listening: socket.socket, handle: Handle, *, connections: int
) -> AsyncIterator[None]:
    """Answer what comes to `listening` with `handle`; leaving breaks every connection off."""
    tasks: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a door of a job failed", exc_info=error)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(tasks) >= connections:
            _break_off(writer)
            return
        task = asyncio.ensure_future(_serve(reader, writer, handle))
        tasks.add(task)
        task.add_done_callback(ended)

    listening.setblocking(False)
    # asyncio sets this for sockets that it made, and what is accepted here inherits it: without,
    # each answer waits 40 ms for the client to acknowledge its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = await asyncio.start_server(connected, sock=listening, limit=READ_BYTES)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handle
) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
    try:
        while await _one(connection, reader, writer, handle):
            connection.start_next_cycle()
        await _linger(connection, reader, writer)
    except h11.RemoteProtocolError as error:
        await _bad(connection, writer, error)
    except (OSError, TimeoutError):
        pass  # the client left, or never came back
    finally:
        _break_off(writer) if _unfinished(connection) else writer.close()


async def _one(
    connection: h11.Connection,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    handle: Handle,
) -> bool:
    """Serve one request; say whether another may follow."""
    async with asyncio.timeout(IDLE_SECONDS):
        event = await _next(connection, reader)
    if not isinstance(event, h11.Request):
        return False
    exchange = Exchange(event, connection, reader, writer)
    await handle(exchange)
    while connection.their_state is h11.SEND_BODY and not exchange.tunneled:
        if connection.next_event() is h11.NEED_DATA:  # the rest of a body that nobody wanted
            break
    done = connection.our_state is h11.DONE and connection.their_state is h11.DONE
    return done and not exchange.tunneled


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> Any:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        data = await reader.read(READ_BYTES)
        connection.receive_data(data)


async def _bad(
    connection: h11.Connection, writer: asyncio.StreamWriter, error: h11.RemoteProtocolError
) -> None:
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    with contextlib.suppress(OSError, h11.LocalProtocolError):
        response = h11.Response(status_code=error.error_status_hint, headers=headers)
        writer.write(connection.send(response) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()


async def _linger(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Read on where a request was answered before it ended: closing would break the answer off."""
    if connection.their_state is not h11.SEND_BODY or _unfinished(connection):
        return
    writer.write_eof()
    async with asyncio.timeout(LINGER_SECONDS):
        while await reader.read(READ_BYTES):
            pass


def _break_off(writer: asyncio.StreamWriter) -> None:
    """Reset the connection: a mere end is how HTTP/1.0 says that an answer is complete."""
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _unfinished(connection: h11.Connection) -> bool:
    return connection.our_state is h11.SEND_BODY
