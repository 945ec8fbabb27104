"""What an operator sees of deliveries, and does about them, beside a running server."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bot.deliveries import TRIES, Backoff, Delivery
from tests.support import commands
from tests.support.world import World


async def orchestrate(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command on a server's data folder, as a process of its own."""
    env = {**os.environ, "ORCHESTRATE_DATA_DIR": str(folder)}
    done = await asyncio.to_thread(commands.orchestrate, *words, "--json", env=env)
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1])) if code == 0 else {"error": done.stderr}


async def test_what_fails_again_and_again_is_set_aside_shown_and_replayed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = world.server, world.folder / "bot"
    healed = asyncio.Event()
    obeyed: list[str] = []
    obey = server.obey

    async def broken(delivery: Delivery) -> None:
        if delivery.guid.startswith("bad-") and not healed.is_set():
            raise KeyError("a bug of ours")
        await obey(delivery)
        # What the hub told when the world began may come at any time.
        if delivery.guid.startswith(("bad-", "fine-")):
            obeyed.append(delivery.guid)

    # The server has a bug, and less patience than usual.
    monkeypatch.setattr(server.inbox, "_backoff", Backoff(first=0.001, longest=0.001))
    monkeypatch.setattr(server.dispatcher, "_obey", broken)
    payload = {"action": "created", "repository": {"id": 9, "full_name": "acme/other"}}
    payload |= {"issue": {"number": 4}, "sender": {"login": "ada"}}
    for guid in ("bad-1", "fine-1"):
        await server.inbox.store(guid, "issue_comment", json.dumps(payload).encode())
    async with asyncio.timeout(60):
        while not await server.inbox.listed(failed=True):
            await server.dispatcher.settled()
            await asyncio.sleep(0.01)
    assert obeyed == ["fine-1"]

    (shown,) = (await orchestrate(folder, "deliveries", "--failed"))["deliveries"]
    assert (shown["id"], shown["state"], shown["failed_tries"]) == ("bad-1", "set aside", TRIES)
    assert "a bug of ours" in shown["error"]
    one = await orchestrate(folder, "deliveries", "show", "bad-")
    assert (one["repository"], one["number"], one["sender"]) == ("acme/other", 4, "ada")
    assert one["payload"] == payload

    healed.set()
    await orchestrate(folder, "deliveries", "replay", "bad-1")
    async with asyncio.timeout(60):
        while "bad-1" not in obeyed:  # noqa: ASYNC110 - another process told the server
            await asyncio.sleep(0.01)
    assert obeyed == ["fine-1", "bad-1"]
    told = await orchestrate(folder, "deliveries", "replay", "bad-1", code=1)
    assert "was obeyed" in told["error"]
    assert "There is no delivery" in (
        await orchestrate(folder, "deliveries", "show", "none", code=1)
    )["error"]  # fmt: skip


async def test_where_nothing_was_served_yet_it_is_said(tmp_path: Path) -> None:
    told = await orchestrate(tmp_path, "deliveries", code=1)
    assert "There is no database" in told["error"]
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a path would block the loop
