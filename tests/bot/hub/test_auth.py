"""Who is let in, and as whom."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from bot.hub.seed import new_key
from tests.bot.hub.world import REPO, World


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": -5}, "'Expiration time' claim ('exp') has already passed"),
        ({"exp": 900}, "'Expiration time' claim ('exp') is too far"),
        ({"exp": None}, "'Expiration time' claim ('exp') must be a numeric value"),
        ({"iss": None}, "'Issuer' claim ('iss') must be"),
        ({"iss": "77"}, "Integration not found"),
        ({"iat": 300}, "'Issued at' claim ('iat') must not be in the future"),
    ],
)
async def test_a_bad_claim_is_refused(world: World, claims: dict[str, Any], message: str) -> None:
    # A number is seconds from now: not from when the tests were collected, minutes ago.
    now = int(time.time())
    given: dict[str, Any] = {
        name: now + it if isinstance(it, int) else it for name, it in claims.items()
    }
    answer = await world.ask(world.jwt(**given), "GET", "/app")
    assert answer.status_code == 401
    assert answer.json()["message"].startswith(message)


async def test_another_key_is_refused(world: World) -> None:
    answer = await world.ask(world.jwt(key=new_key()), "GET", "/app")
    assert (answer.status_code, answer.json()["message"]) == (
        401,
        "A JSON web token could not be decoded",
    )


async def test_an_installation_token_ends_after_an_hour(world: World) -> None:
    token = world.token()
    assert (await world.ask(token, "GET", REPO)).status_code == 200
    world.hub.clock.advance(3_601)
    answer = await world.ask(token, "GET", REPO)
    assert (answer.status_code, answer.json()["message"]) == (401, "Bad credentials")


async def test_an_unknown_token_is_refused(world: World) -> None:
    for token in ("ghs_made_up", "user:nobody", "user:orchestrate[bot]"):
        assert (await world.ask(token, "GET", REPO)).status_code == 401


async def test_a_token_reaches_only_its_repositories(world: World) -> None:
    await world.ask("admin", "POST", "/orgs/acme/repos", {"name": "other", "private": True})
    narrow = world.token(repositories=["widgets"])
    assert (await world.ask(narrow, "GET", "/repos/acme/other")).status_code == 404
    assert (await world.ask("bot", "GET", "/repos/acme/other")).status_code == 200
    listed = await world.ask(narrow, "GET", "/installation/repositories")
    assert [r["name"] for r in listed.json()["repositories"]] == ["widgets"]


async def test_a_token_may_only_what_it_was_made_for(world: World) -> None:
    reader = world.token(permissions={"issues": "read", "contents": "read"})
    assert (await world.ask(reader, "GET", f"{REPO}/issues")).status_code == 200
    for path, body in (
        ("/issues", {"title": "No"}),
        ("/git/blobs", {"content": "no"}),
        ("/check-runs", {"name": "no", "head_sha": "0" * 40}),
    ):
        answer = await world.ask(reader, "POST", REPO + path, body)
        assert (answer.status_code, answer.json()["message"]) == (
            403,
            "Resource not accessible by integration",
        )


async def test_a_token_cannot_be_wider_than_the_installation(world: World) -> None:
    path = "/app/installations/1/access_tokens"
    for body in ({"permissions": {"workflows": "write"}}, {"repositories": ["nothing"]}):
        assert (await world.ask(world.jwt(), "POST", path, body)).status_code == 422


async def test_a_suspended_installation_is_shut_out_and_hears_nothing(world: World) -> None:
    token = world.token()
    door = f"{world.hub.url}/_hub/installations/1"
    assert (await world.ask("writer", "POST", f"{door}/suspend")).status_code == 403
    assert (await world.ask("admin", "POST", f"{door}/suspend")).status_code == 200
    assert (await world.ask(token, "GET", REPO)).status_code == 403
    refused = await world.ask(world.jwt(), "POST", "/app/installations/1/access_tokens")
    assert refused.status_code == 403
    await world.ask("writer", "POST", f"{REPO}/issues", {"title": "Unheard"})
    await world.hub.settled()
    assert world.inbox.names == ["installation.suspend"]
    await world.ask("admin", "POST", f"{door}/unsuspend")
    assert (await world.ask(token, "GET", REPO)).status_code == 200


async def test_nobody_in_particular_may_read_what_is_public_only(world: World) -> None:
    await world.ask("admin", "POST", "/orgs/acme/repos", {"name": "other", "private": True})
    assert (await world.ask(None, "GET", REPO)).status_code == 200
    assert (await world.ask(None, "GET", "/repos/acme/other")).status_code == 404
    assert (await world.ask(None, "POST", f"{REPO}/issues", {"title": "No"})).status_code == 401


async def test_basic_credentials_name_a_token_or_a_user(world: World) -> None:
    for pair, login in (("user:writer", "writer"), ("x:user:reader", "reader")):
        header = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        answer = await world.client(None).get("/user", headers=header)
        assert answer.json()["login"] == login


@pytest.mark.parametrize(
    ("login", "permission", "role"),
    [
        ("admin", "admin", "admin"),
        ("maintainer", "write", "maintain"),
        ("writer", "write", "write"),
        ("reader", "read", "read"),
        ("outsider", "read", "read"),
    ],
)
async def test_the_permission_endpoint_tells_the_true_role_by_role_name(
    world: World, login: str, permission: str, role: str
) -> None:
    answer = await world.ask("bot", "GET", f"{REPO}/collaborators/{login}/permission")
    assert (answer.json()["permission"], answer.json()["role_name"]) == (permission, role)


async def test_an_unknown_user_has_no_permission(world: World) -> None:
    answer = await world.ask("bot", "GET", f"{REPO}/collaborators/nobody/permission")
    assert answer.status_code == 404


async def test_an_outsider_is_nobody_in_a_private_repository(world: World) -> None:
    await world.ask("admin", "POST", "/orgs/acme/repos", {"name": "other", "private": True})
    answer = await world.ask("bot", "GET", "/repos/acme/other/collaborators/outsider/permission")
    assert answer.json()["role_name"] == "none"
