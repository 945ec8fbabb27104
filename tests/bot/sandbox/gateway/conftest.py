from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from bot.sandbox.gateway import Allowance, Gateway, Pass, Prices
from bot.sandbox.gateway.gateway import OpenVisit
from tests.support.upstream import Upstream

NO_LIMIT = Allowance()
MAKERS = frozenset({"anthropic", "openai", "gemini", "copilot"})


class Inside:
    """What a job sees: addresses, its placeholder, and a client that goes nowhere else."""

    def __init__(self, visit: OpenVisit, ports: dict[str, int], client: httpx.AsyncClient) -> None:
        self.visit = visit
        self.client = client
        self._ports = ports

    def env(self, name: str) -> str:
        value = self.visit.env[name]
        for door, port in self._ports.items():
            value = value.replace(f"{{door:{door}}}", f"http://127.0.0.1:{port}")
        return value

    def port(self, door: str) -> int:
        return self._ports[door]

    async def claude(self, path: str = "/v1/messages", **more: Any) -> httpx.Response:
        given: dict[str, Any] = {
            "headers": {"x-api-key": self.visit.placeholder},
            "json": {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": []},
        }
        return await self.client.post(self.env("ANTHROPIC_BASE_URL") + path, **{**given, **more})

    async def chat(self, **body: Any) -> httpx.Response:
        return await self.client.post(
            self.env("OPENAI_BASE_URL") + "/chat/completions",
            headers={"authorization": f"Bearer {self.visit.placeholder}"},
            json={"model": "gpt-5.2", "messages": [], **body},
        )


Enter = Callable[..., AbstractAsyncContextManager[Inside]]


def environ(upstream: Upstream) -> dict[str, str]:
    """A host whose makers are all that one server, each with its own path."""
    return {
        "ANTHROPIC_API_KEY": "real-anthropic-key",
        "ANTHROPIC_BASE_URL": f"{upstream.url}/a",
        "OPENAI_API_KEY": "real-openai-key",
        "OPENAI_BASE_URL": f"{upstream.url}/o/v1",
        "GEMINI_API_KEY": "real-gemini-key",
        "GOOGLE_GEMINI_BASE_URL": f"{upstream.url}/g",
    }


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch) -> Enter:
    """A job's view of a gateway, over real sockets."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    @asynccontextmanager
    async def entered(
        environ: dict[str, str],
        *,
        makers: frozenset[str] = MAKERS,
        hosts: Iterable[str] = (),
        private: Iterable[str] = (),
        allowance: Allowance = NO_LIMIT,
        prices: Prices | None = None,
    ) -> AsyncIterator[Inside]:
        gateway = Gateway(environ, prices or Prices.load(), private_hosts=private)
        async with AsyncExitStack() as stack:
            visit = await stack.enter_async_context(
                gateway.open(Pass(makers, tuple(hosts), allowance))
            )
            ports = {}
            for door in visit.doors:
                listening = socket.create_server(("127.0.0.1", 0))
                ports[door.name] = listening.getsockname()[1]
                await stack.enter_async_context(door.serve(listening))
            client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=20))
            yield Inside(visit, ports, client)

    return entered


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task does."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
