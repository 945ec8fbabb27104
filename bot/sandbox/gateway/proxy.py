"""The proxy door: HTTP and CONNECT to the hosts that policy allows, and to nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import httpx

from bot.errors import Refused
from bot.sandbox.gateway import hosts
from bot.sandbox.gateway.caller import command_of
from bot.sandbox.gateway.model import Blocked
from bot.sandbox.gateway.server import READ_BYTES, Exchange, TooLarge

CONNECTIONS: Final = 64  # of one job: npm opens fifty
CONNECT_SECONDS: Final = 15.0
RESOLVE_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 300.0  # a registry that builds an archive answers within minutes
PASSED_BYTES: Final = 8 * 1024**3  # of one job, both ways: the largest toolchains are gigabytes
BLOCKED_KEPT: Final = 100
PROGRAM_CHARACTERS: Final = 80

TIMEOUT: Final = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS, pool=None)

_HOP: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"),
    }
)
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]+")


class ProxyDoor:
    """Answers the requests of one job; see `Exchange`.

    rules: what policy allows. private: `host:port` that may lead to private addresses, which only
    whoever runs the server can say.
    """

    def __init__(
        self, rules: Iterable[str], private: frozenset[tuple[str, int]], client: httpx.AsyncClient
    ) -> None:
        self.blocked: dict[tuple[str, int], Blocked] = {}
        self._rules = tuple(hosts.rule(each) for each in rules)
        self._private = private
        self._client = client
        self._left = PASSED_BYTES

    async def __call__(self, exchange: Exchange) -> None:
        """Connect, forward, or answer with why not."""
        tunnel = exchange.method == "CONNECT"
        host, port = _asked(exchange)
        if not host or port is None:
            say = "This is a proxy: ask for http://host/path, or CONNECT host:port."
            await exchange.answer(400, f"{say}\n".encode())
            return
        try:
            addresses = await self._addresses(exchange, host, port)
            if tunnel:
                await self._tunnel(exchange, addresses, port)
            else:
                await exchange.while_there(self._forward(exchange, addresses, host, port))
        except Refused as error:
            await exchange.answer(error.status or 403, f"{error}\n".encode())
        except TooLarge:
            await exchange.answer(400, b"CONNECT has no body.\n")

    async def _addresses(self, exchange: Exchange, host: str, port: int) -> list[str]:
        """Return where `host` is; all of it has to be where a job may go."""
        if not any(each.allows(host, port) for each in self._rules):
            await self._block(exchange, host, port)
            raise Refused(
                f"{hosts.shown(host, port)} is not among the hosts that this job may reach.",
                status=403,
            )
        found = await _resolve(host, port)
        named = (host, port) in self._private
        if not all(hosts.public(each) or (named and _told(each, host)) for each in found):
            await self._block(exchange, host, port)
            raise Refused(
                f"{host} leads to a private address: whoever runs the server can allow it, with "
                f"ORCHESTRATE_PRIVATE_HOSTS={hosts.shown(host, port)}.",
                status=403,
            )
        if self._left <= 0:
            raise Refused("This job has passed all the bytes that it may.", status=403)
        return [str(each) for each in found]

    async def _block(self, exchange: Exchange, host: str, port: int) -> None:
        if (host, port) in self.blocked or len(self.blocked) >= BLOCKED_KEPT:
            return
        program = _UNPRINTABLE.sub(" ", exchange.header("user-agent")).strip()
        blocked = Blocked(host, port, program[:PROGRAM_CHARACTERS], time.time())
        self.blocked[host, port] = blocked
        command = await asyncio.to_thread(command_of, *exchange.ports)
        if command:
            self.blocked[host, port] = replace(blocked, program=command)

    async def _tunnel(self, exchange: Exchange, addresses: list[str], port: int) -> None:
        await exchange.body(0)
        reader, writer = await _connect(addresses, port)
        try:
            early, inside, inward = await exchange.tunnel()
            writer.write(early)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(inside, writer))
                both.create_task(self._pump(reader, inward))
        except* (OSError, TimeoutError):
            pass  # one end left
        finally:
            writer.transport.abort()
            exchange.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._left > 0:
            async with asyncio.timeout(SILENCE_SECONDS):
                data = await reader.read(READ_BYTES)
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            self._left -= len(data)
            writer.write(data)
            await writer.drain()
        raise ConnectionAbortedError

    async def _forward(
        self, exchange: Exchange, addresses: list[str], host: str, port: int
    ) -> None:
        parts = urlsplit(exchange.target)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        # By address, so that the name cannot lead elsewhere the second time it is asked for.
        request = httpx.Request(
            exchange.method,
            f"http://{address}:{port}{target}",
            headers=_outward(exchange, parts.netloc),
            content=exchange.chunks() if _has_body(exchange) else None,
            extensions={"timeout": TIMEOUT.as_dict(), "target": target.encode("latin-1")},
        )
        try:
            response = await self._client.send(request, stream=True, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            say = f"{hosts.shown(host, port)} cannot be reached: {error}."
            raise Refused(say, status=502) from error
        await self._pass(exchange, response)

    async def _pass(self, exchange: Exchange, response: httpx.Response) -> None:
        kept = [(name, value) for name, value in response.headers.raw if name.lower() not in _HOP]
        try:
            await exchange.start(response.status_code, kept)
            async for chunk in response.aiter_raw():
                self._left -= len(chunk)
                if self._left <= 0:
                    exchange.abort()
                    return
                await exchange.send(chunk)
            await exchange.end()
        except httpx.HTTPError:
            exchange.abort()
        finally:
            await response.aclose()


def _asked(exchange: Exchange) -> tuple[str, int | None]:
    """Return the host and port that a request is for; nothing when it is not for a proxy."""
    if exchange.method == "CONNECT":
        return hosts.split(exchange.target)
    try:
        parts = urlsplit(exchange.target)
    except ValueError:
        return "", None
    if parts.scheme != "http":
        return "", None
    host, port = hosts.split(parts.netloc.rpartition("@")[2])
    return host, 80 if port is None else port


def _outward(exchange: Exchange, authority: str) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in exchange.headers if name not in _HOP | {b"host"}]
    return [(b"host", authority.rpartition("@")[2].encode("latin-1")), *kept]


def _has_body(exchange: Exchange) -> bool:
    length = exchange.header("content-length")
    return bool(exchange.header("transfer-encoding")) or length not in {"", "0"}


def _told(address: hosts.Address, host: str) -> bool:
    """Whether a private address is one that naming its host and port is enough for."""
    # Clouds hand out credentials on link-local addresses: never by a name.
    return not address.is_link_local or hosts.literal(host) == address


async def _resolve(host: str, port: int) -> list[hosts.Address]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise Refused(f"{host} is not found.", status=502) from error
    texts = dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found)
    addresses = [address for text in texts if (address := hosts.literal(text)) is not None]
    if not addresses:
        raise Refused(f"{host} is not found.", status=502)
    return addresses


async def _connect(
    addresses: list[str], port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for address in addresses:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(address, port, limit=READ_BYTES)
    raise Refused(f"{addresses[0]} port {port} cannot be reached.", status=502)
