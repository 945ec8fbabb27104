"""Sending webhooks: signed, one after the other, never repeated unless asked, all logged."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from bot.hub.clock import Clock
from bot.hub.faults import Faults
from bot.hub.records import App, Delivery
from bot.hub.state import State

# GitHub waits this long for an answer.
TIMEOUT = 10.0

# The log keeps this much of an answer's body.
RESPONSE_KEPT = 4_096


class Webhooks:
    """The deliveries of one hub: `enqueue` makes one, a task sends them in order.

    `transport` replaces the network, to deliver straight into an ASGI app.
    """

    def __init__(
        self,
        state: State,
        clock: Clock,
        faults: Faults,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._state = state
        self._clock = clock
        self._faults = faults
        self._transport = transport
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        self._sender: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None

    def enqueue(
        self,
        app: App,
        event: str,
        payload: Mapping[str, Any],
        *,
        installation_id: int | None,
        repository_id: int | None,
    ) -> Delivery:
        """Log a new delivery and have it sent."""
        delivery = Delivery(
            id=self._state.deliveries.next_id(),
            app_id=app.id,
            installation_id=installation_id,
            repository_id=repository_id,
            guid=str(uuid.uuid4()),
            event=event,
            action=payload.get("action"),
            payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
            created_at=self._clock.now(),
        )
        return self._post(delivery)

    def redeliver(self, delivery: Delivery) -> Delivery:
        """Send the same event again, under the same GUID."""
        again = Delivery(
            id=self._state.deliveries.next_id(),
            app_id=delivery.app_id,
            installation_id=delivery.installation_id,
            repository_id=delivery.repository_id,
            guid=delivery.guid,
            event=delivery.event,
            action=delivery.action,
            payload=delivery.payload,
            created_at=self._clock.now(),
            redelivery=True,
        )
        return self._post(again)

    def _post(self, delivery: Delivery) -> Delivery:
        self._state.deliveries.put(delivery)
        if self._sender is not None:
            self._queue.put_nowait(delivery.id)
        return delivery

    def start(self) -> None:
        """Begin to send, what an earlier hub left unsent first."""
        self._client = httpx.AsyncClient(
            transport=self._transport, timeout=TIMEOUT, trust_env=False, follow_redirects=False
        )
        self._queue = asyncio.Queue()
        for delivery in self._state.deliveries:
            if delivery.status == "pending":
                self._queue.put_nowait(delivery.id)
        self._sender = asyncio.create_task(self._send_all(), name="hub webhooks")

    async def stop(self) -> None:
        """Stop sending; what is unsent stays pending in the log."""
        tasks = [t for t in (self._sender, *self._late) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sender = None
        if self._client is not None:
            await self._client.aclose()

    async def settled(self) -> None:
        """Wait until everything caused so far was sent, late deliveries too."""
        await self._queue.join()
        while self._late:
            await asyncio.wait(set(self._late))

    async def _send_all(self) -> None:
        while True:
            delivery_id = await self._queue.get()
            try:
                await self._send_as_told(self._state.deliveries[delivery_id])
            finally:
                self._queue.task_done()

    async def _send_as_told(self, delivery: Delivery) -> None:
        rule = self._faults.take_webhook(delivery.event)
        if rule is None:
            await self._send(delivery)
        elif rule.fault == "drop":
            self._log(delivery, None, "connection dropped", 0.0)
        elif rule.fault == "duplicate":
            await self._send(delivery)
            await self._send(delivery)
        else:
            share = random.random() if rule.fault == "shuffle" else 1.0  # noqa: S311
            late = asyncio.create_task(self._send_later(delivery, rule.seconds * share))
            self._late.add(late)
            late.add_done_callback(self._late.discard)

    async def _send_later(self, delivery: Delivery, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._send(delivery)

    async def _send(self, delivery: Delivery) -> None:
        self._state.commit()  # nobody hears of what a crash could still undo
        app = self._state.apps[delivery.app_id]
        body = delivery.payload.encode()
        headers = signed_headers(app, delivery, body)
        started = time.monotonic()
        answer: httpx.Response | None = None
        error = ""
        assert self._client is not None
        try:
            answer = await self._client.post(app.webhook_url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            error = f"failed to connect to host ({type(problem).__name__})"
        delivery = replace(delivery, request_headers=headers)
        self._log(delivery, answer, error, time.monotonic() - started)

    def _log(
        self, delivery: Delivery, answer: httpx.Response | None, error: str, seconds: float
    ) -> None:
        text = ""
        if answer is not None:
            text = answer.content[:RESPONSE_KEPT].decode(errors="replace")
        sent = replace(
            delivery,
            status=(answer.reason_phrase or "OK") if answer is not None else error,
            status_code=answer.status_code if answer is not None else 0,
            delivered_at=self._clock.now(),
            duration=round(seconds, 3),
            response_headers=dict(answer.headers) if answer is not None else {},
            response_body=text,
        )
        with contextlib.suppress(KeyError):  # trimmed from the log meanwhile
            self._state.deliveries[delivery.id]
            self._state.deliveries.put(sent)
            self._state.commit()


def signed_headers(app: App, delivery: Delivery, body: bytes) -> dict[str, str]:
    """The headers that GitHub sends with a webhook, signatures over the raw bytes among them."""
    key = app.webhook_secret.encode()
    signatures = {}
    if key:
        signatures = {
            "X-Hub-Signature": "sha1=" + hmac.new(key, body, hashlib.sha1).hexdigest(),
            "X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
        }
    return {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/hub",
        "X-GitHub-Delivery": delivery.guid,
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Hook-ID": str(app.id),
        "X-GitHub-Hook-Installation-Target-ID": str(app.id),
        "X-GitHub-Hook-Installation-Target-Type": "integration",
        **signatures,
    }
