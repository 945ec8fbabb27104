"""Every route of the hub, asked as a page of another site can have a visitor's browser ask."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from starlette.routing import Mount, Route

from bot.hub import create_app
from bot.hub.hosts import is_own
from tests.bot.hub.world import World

EVIL = "http://evil.example"
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SAMPLES = {"owner": "acme", "repo": "widgets", "login": "admin", "org": "acme", "user": "admin"}


def asked(world: World) -> Iterator[tuple[str, str]]:
    """Each method and path there is, with something in each place of the path."""
    for route in create_app(world.hub).routes:
        if isinstance(route, Mount):
            yield ("GET", f"{route.path}/hub.css")
            continue
        assert isinstance(route, Route)
        found = re.sub(r"\{(\w+)(?::(\w+))?\}", _sample, route.path)
        yield from ((method, found) for method in sorted(route.methods or ()))


def _sample(match: re.Match[str]) -> str:
    return SAMPLES.get(match[1], "1" if match[2] == "int" else "main")


async def test_no_route_answers_under_a_name_that_a_stranger_chose(world: World) -> None:
    # As after DNS rebinding: to the browser it is all one site, with every header that helps.
    headers = {"host": "evil.example:8000", "origin": "http://evil.example:8000",
               "authorization": "Bearer user:admin", "cookie": "user=admin",
               "sec-fetch-site": "same-origin"}  # fmt: skip
    many = list(asked(world))
    assert len(many) > 100
    before = portrait(world)
    client = world.client(None)
    for method, path in many:
        answer = await client.request(method, world.hub.url + path, headers=headers, json={})
        assert answer.status_code == 421, (method, path)
    assert portrait(world) == before


async def test_no_route_lets_another_sites_page_change_anything(world: World) -> None:
    # What a page can send without being asked: a form, or a fetch without headers of its own.
    headers = {"origin": EVIL, "referer": f"{EVIL}/page", "sec-fetch-site": "cross-site",
               "cookie": "user=admin", "content-type": "text/plain"}  # fmt: skip
    before = portrait(world)
    client = world.client(None)
    for method, path in asked(world):
        told = await client.request(method, world.hub.url + path, headers=headers, content="{}")
        assert "access-control-allow-origin" not in told.headers
        if method in WRITES:
            # GraphQL tells a refusal with a 200, as GitHub does.
            assert told.status_code >= 400 or told.json()["errors"], (method, path, told.text)
    assert portrait(world) == before


def portrait(world: World) -> dict[str, int]:
    """How much there is of everything."""
    state = world.hub.state
    kinds = ("repositories", "issues", "comments", "pulls", "check_runs", "reviews", "deliveries")
    return {kind: len(list(getattr(state, kind))) for kind in kinds}


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *((name, True) for name in ("127.0.0.1:80", "127.0.0.1", "localhost:9", "a.localhost")),
        *((name, True) for name in ("[::1]:80", "192.168.1.5:80", "hub.test")),
        *((name, True) for name in ("HUB.test:1", "hub.test.")),
        *((name, False) for name in ("", "evil.example", "hub.test.evil.example", "nothub.test")),
        *((name, False) for name in ("localhost.evil.example", "127.0.0.1.evil.example", "[::1")),
        *((name, False) for name in ("user@evil.example", "127.0.0.1@evil.example", "::1", ":80")),
    ],
)  # fmt: skip
def test_a_name_is_the_hubs_own_or_no_strangers(host: str, own: bool) -> None:
    assert is_own(host, "http://hub.test:8080") is own


async def test_a_page_under_another_name_says_where_the_hub_is(world: World) -> None:
    async with httpx.AsyncClient(transport=world.transport) as client:
        answer = await client.get("http://evil.example/acme/widgets")
    assert answer.json()["message"].endswith("open http://hub.test.")
