"""A hub with `acme/widgets`, an inbox for its webhooks, and clients of it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from bot.hub import Credentials, Hub, create_app, seed, serve
from bot.hub.repositories import clean_environment
from bot.hub.seed import new_key
from tests.bot.hub.world import FILES, Inbox, World


@pytest.fixture(scope="session")
def private_key() -> str:
    return new_key()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def world(tmp_path: Path, inbox: Inbox, private_key: str) -> AsyncIterator[World]:
    """A hub behind ASGI, without a network."""
    hub = Hub(
        tmp_path / "hub", url="http://hub.test", webhook_transport=httpx.ASGITransport(inbox.app)
    )
    await hub.start()
    credentials = await seed(
        hub, webhook_url="http://bot.test/webhook", private_key=private_key, files=FILES
    )
    await hub.settled()
    inbox.clear()
    yield World(hub, credentials, inbox, httpx.ASGITransport(create_app(hub)))
    await hub.stop()


@pytest.fixture
async def served(tmp_path: Path, private_key: str, inbox: Inbox) -> AsyncIterator[World]:
    """A hub on a port, as git needs it."""
    hub = Hub(tmp_path / "hub", webhook_transport=httpx.ASGITransport(inbox.app))
    credentials: Credentials = await seed(
        hub, webhook_url="http://bot.test/webhook", private_key=private_key, files=FILES
    )
    async with serve(hub):
        await hub.settled()
        inbox.clear()
        async with httpx.AsyncHTTPTransport() as network:
            yield World(hub, credentials, inbox, network)


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., object]:
    """Run git in a folder; gives (exit code, output and errors)."""

    def run(*arguments: str, cwd: Path) -> tuple[int, str]:
        done = subprocess.run(
            ["git", "-c", "user.name=Writer", "-c", "user.email=w@example.org", *arguments],
            cwd=cwd,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    async def in_thread(*arguments: str, cwd: Path) -> tuple[int, str]:
        return await asyncio.to_thread(run, *arguments, cwd=cwd)

    return in_thread
