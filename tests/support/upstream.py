"""A little HTTP server that says what a test tells it to, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Writer:
    """What a script writes its answer with."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def json(self, data: Any, status: int = 200, **headers: str) -> None:
        await self.whole(json.dumps(data).encode(), "application/json", status, **headers)

    async def whole(self, body: bytes, kind: str, status: int = 200, **headers: str) -> None:
        named = {"content-type": kind, "content-length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
        await self.raw(f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + body)

    async def stream(self) -> None:
        """Begin a stream of events, whose end is the end of the connection."""
        head = "content-type: text/event-stream\r\nconnection: close\r\n"
        await self.raw(f"HTTP/1.1 200 Said\r\n{head}\r\n".encode())

    async def event(self, data: Any) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        await self.raw(f"data: {text}\n\n".encode())

    def cut(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Asked, Writer], Awaitable[None]]


@dataclass
class Upstream:
    """The server: `script` answers, `asked` remembers."""

    port: int
    script: Script
    asked: list[Asked] = field(default_factory=list)
    left: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                await self._answer(asked, reader, writer)
                if self._closes(asked):
                    break
        except OSError:
            self.left += 1
        finally:
            writer.close()

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer, and notice a client that leaves meanwhile."""
        work = asyncio.ensure_future(self.script(asked, Writer(writer)))
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
            raise ConnectionResetError
        gone.cancel()
        await asyncio.wait({gone})
        work.result()

    def _closes(self, asked: Asked) -> bool:
        return self.script.__name__.startswith("stream") or "close" in asked.headers.get(
            "connection", ""
        )


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if "chunked" in headers.get("transfer-encoding", ""):
        body = await _chunked(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    held = b""
    while size := int(await reader.readline(), 16):
        held += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return held


@asynccontextmanager
async def upstream(script: Script) -> AsyncIterator[Upstream]:
    """Run one for the time of a context."""
    made = Upstream(0, script)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(made.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
