"""The way in: `POST /webhook`, a bare ASGI application.

In this order: method, headers, size, signature over the raw bytes, JSON; then the delivery is made
durable, and only then answered with 202. Nothing is obeyed here, so GitHub never waits for work.

| answer | when |
|---|---|
| 202 | kept, known already, or nothing that we act on (then nothing is kept) |
| 200 | a ping |
| 400 | headers missing or malformed, another content type than JSON, not a JSON object |
| 401 | no signature, or a wrong one |
| 405 | another method than POST |
| 408 | the body did not come in time |
| 413 | larger than GitHub ever sends |
| 503 | the disk refuses, or too much is being received at once; `Retry-After` says when to try |
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import structlog

from bot.errors import OperatorError, TransientError
from bot.payloads import glance

log = structlog.get_logger()

BODY_MAX = 25 * 1024 * 1024
"""Bytes of a body: GitHub sends no payload above 25 MB."""

HELD_MAX = 8 * BODY_MAX
"""Bytes of bodies in memory at once, so that strangers who send large ones cannot fill it."""

BODY_SECONDS = 30.0
"""How long a body may take; GitHub itself gives up after 10 s."""

RETRY_SECONDS = 30
"""What `Retry-After` says: time for a disk or a crowd to clear."""

_GUID = re.compile(rb"[0-9A-Za-z-]{1,64}")
_EVENT = re.compile(rb"[a-z0-9_]{1,60}")
_SIGNATURE = re.compile(rb"sha256=([0-9a-fA-F]{64})")
_JSON = (b"content-type", b"application/json")
_LENGTH = re.compile(rb"[0-9]{1,18}")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Keeper(Protocol):
    """Where deliveries are kept."""

    async def store(self, guid: str, event: str, body: bytes) -> object:
        """Keep a delivery durably; `TransientError` when that is impossible now."""


class _Answer(Exception):
    """Ends a request early; `message` is a sentence for whoever sent it."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class _Left(Exception):
    """The sender went away before its body was complete."""


class Front:
    """Hands webhooks on before anything else: what other addresses need, they need not pay for."""

    def __init__(self, webhook: ASGIApp, rest: ASGIApp, *, path: str = "/webhook") -> None:
        self._webhook = webhook
        self._rest = rest
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or be told of the server's life."""
        is_webhook = scope["type"] == "http" and scope["path"] == self._path
        await (self._webhook if is_webhook else self._rest)(scope, receive, send)


class Webhook:
    """Takes in GitHub's webhooks, signed with `secret`.

    `body_max` and `held_max` are bytes, of one body and of all bodies in memory; `body_seconds`
    is how long one may take to come. `OperatorError` when the secret is empty.
    """

    def __init__(
        self,
        secret: bytes,
        inbox: Keeper,
        *,
        body_max: int = BODY_MAX,
        held_max: int = HELD_MAX,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        if not secret:
            raise OperatorError(
                "There is no webhook secret; set ORCHESTRATE_WEBHOOK_SECRET to the App's."
            )
        self._secret = secret
        self._inbox = inbox
        self._body_max = body_max
        self._held_max = held_max
        self._body_seconds = body_seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            status, answer, more = *await self._take(scope, receive), {}
        except _Answer as early:
            status, answer, more = early.status, {"error": early.message}, early.headers
        except _Left:
            return
        await _send(send, status, answer, more)

    async def _take(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
        if scope["method"] != "POST":
            raise _Answer(405, "Webhooks are sent with POST.", allow="POST")
        headers = dict(scope["headers"])
        guid, event = _named(headers)
        length = _length(headers, self._body_max)
        signature = _signature(headers)
        chunks: list[bytes] = []
        try:
            body = await self._body(receive, chunks, length)
            self._verify(body, signature)
            return await self._keep(guid, event, body)
        finally:
            self._held -= sum(map(len, chunks))

    async def _body(self, receive: Receive, chunks: list[bytes], length: int | None) -> bytes:
        try:
            async with asyncio.timeout(self._body_seconds):
                await self._collect(receive, chunks)
        except TimeoutError:
            raise _Answer(408, "The body did not come in time.", connection="close") from None
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if length is not None and len(body) != length:
            raise _Answer(400, "The body is shorter or longer than its Content-Length.")
        return body

    async def _collect(self, receive: Receive, chunks: list[bytes]) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Left
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(chunk)
            if size > self._body_max:
                raise _too_large(self._body_max)
            if self._held + len(chunk) > self._held_max:
                raise _later("Too much is being received at once; send it again later.")
            if chunk:
                chunks.append(chunk)
                self._held += len(chunk)

    def _verify(self, body: bytes, signature: bytes) -> None:
        ours = hmac.digest(self._secret, body, "sha256").hex().encode()
        if not hmac.compare_digest(ours, signature.lower()):
            raise _Answer(401, "X-Hub-Signature-256 does not match the body and the secret.")

    async def _keep(self, guid: str, event: str, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            wanted = glance(event, body)
        except ValueError:
            raise _Answer(400, "The body is not a JSON object.") from None
        if event == "ping":
            return 200, {"delivery": guid}
        if not wanted:
            return 202, {"delivery": guid, "ignored": True}
        try:
            await self._inbox.store(guid, event, body)
        except TransientError as error:
            log.error("delivery not stored", delivery=guid, error=str(error))
            raise _later("The delivery could not be stored; send it again later.") from error
        return 202, {"delivery": guid}


def _named(headers: dict[bytes, bytes]) -> tuple[str, str]:
    guid, event = headers.get(b"x-github-delivery", b""), headers.get(b"x-github-event", b"")
    if not _EVENT.fullmatch(event):
        raise _Answer(400, "X-GitHub-Event is missing or malformed.")
    if not _GUID.fullmatch(guid):
        raise _Answer(400, "X-GitHub-Delivery is missing or malformed.")
    kind = headers.get(b"content-type", b"")
    if kind != _JSON[1] and kind.split(b";")[0].strip().lower() != _JSON[1]:
        raise _Answer(400, "Set the webhook's content type to application/json.")
    return guid.decode(), event.decode()


def _length(headers: dict[bytes, bytes], most: int) -> int | None:
    value = headers.get(b"content-length")
    if value is None:
        return None
    if not _LENGTH.fullmatch(value):
        raise _Answer(400, "Content-Length is malformed.")
    if int(value) > most:
        raise _too_large(most)
    return int(value)


def _signature(headers: dict[bytes, bytes]) -> bytes:
    # X-Hub-Signature is SHA-1, which is no longer to be believed: it is not read at all.
    match = _SIGNATURE.fullmatch(headers.get(b"x-hub-signature-256", b""))
    if match is None:
        raise _Answer(401, "X-Hub-Signature-256 is missing or malformed; set the webhook's secret.")
    return match[1]


def _too_large(most: int) -> _Answer:
    return _Answer(413, f"The body is larger than {most} bytes.", connection="close")


def _later(message: str) -> _Answer:
    headers = {"retry-after": str(RETRY_SECONDS)}
    return _Answer(503, message, **headers)


async def _send(send: Send, status: int, answer: dict[str, Any], more: dict[str, str]) -> None:
    body = json.dumps(answer).encode()
    lines = [_JSON, (b"content-length", b"%d" % len(body))]
    lines += [(name.encode(), value.encode()) for name, value in more.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
