"""Every route of a bot's own, asked as a page of another site, or anybody at all, can ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from bot.door import application
from bot.webhook import Front
from tests.support.world import World

EVIL = "http://evil.example"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")

OPEN: Mapping[str, str] = {
    "/healthz": "text/plain",
    "/readyz": "application/json",
    "/": "text/plain",
}
"""What anybody may read: nothing about a repository or a run. All else is `/webhook`."""

ASKED: Mapping[str, dict[str, str]] = {
    "another site's form": {"origin": EVIL, "sec-fetch-site": "cross-site",
                            "content-type": "application/x-www-form-urlencoded"},
    "another site's fetch": {"origin": EVIL, "sec-fetch-site": "cross-site",
                             "content-type": "text/plain"},
    "a name that leads here": {"host": "evil.example", "origin": EVIL,
                               "sec-fetch-site": "same-origin", "content-type": "application/json"},
    "a person's token": {"authorization": "Bearer user:admin", "cookie": "user=admin",
                         "content-type": "application/json"},
    "a delivery without a signature": {"x-github-event": "issue_comment", "x-github-delivery": "g",
                                       "content-type": "application/json"},
    "another secret's signature": {"x-github-event": "issue_comment", "x-github-delivery": "g",
                                   "content-type": "application/json",
                                   "x-hub-signature-256": "sha256=" + "0" * 64},
}  # fmt: skip


def routes(app: Any) -> list[str]:
    """The paths that an application answers, webhooks apart."""
    rest = app._rest if isinstance(app, Front) else app
    assert isinstance(rest, Starlette)
    return [route.path for route in rest.routes if isinstance(route, Route)]


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bot.test")


async def strange(world: World) -> set[str]:
    """The deliveries that were kept and that GitHub never sent."""
    async with world.server.bot.database.read() as connection:
        kept = await connection.exec_driver_sql("SELECT guid FROM deliveries")
        found = {str(row.guid) for row in kept}
    return found - {each.guid for each in world.hub.state.deliveries}


@pytest.mark.parametrize("who", ASKED)
async def test_no_route_gives_or_does_anything_for_who_has_no_secret(
    world: World, who: str
) -> None:
    app = world.server.app()
    assert set(routes(app)) == set(OPEN), "a new route has its own row here"
    before = await strange(world)
    async with client_of(app) as client:
        for path in (*OPEN, "/webhook", "/webhook/", "/healthz/", "/api/v1/runs", "/runs", "/x"):
            for method in METHODS:
                answer = await client.request(method, path, headers=ASKED[who], content=b"{}")
                where = (method, path, answer.status_code)
                reads = method in ("GET", "HEAD") and path in OPEN
                assert (answer.status_code == 200) is reads, where
                assert not answer.is_redirect, where
                told = " ".join(answer.headers).lower()
                assert "access-control" not in told, where
                assert "set-cookie" not in told, where
                if reads:
                    assert answer.headers["content-type"].startswith(OPEN[path]), where
    assert await strange(world) == before


async def test_who_takes_no_webhooks_shows_its_health_alone(world: World) -> None:
    app = application(world.server, None)
    assert set(routes(app)) == {"/healthz", "/readyz"}
    async with client_of(app) as client:
        assert (await client.post("/webhook", headers=ASKED["a person's token"])).status_code == 404
