"""The hub misbehaves as it is told, and only then."""

from __future__ import annotations

import time

from tests.bot.hub.world import REPO, World

COMMENTS = f"{REPO}/issues/1/comments"


async def _count(world: World) -> int:
    return len((await world.ask("bot", "GET", COMMENTS)).json())


async def test_a_502_may_come_before_or_after_the_effect(world: World) -> None:
    await world.ask("writer", "POST", f"{REPO}/issues", {"title": "One"})
    world.hub.faults.fail("POST", "/repos/*/issues/*/comments")
    assert (await world.ask("bot", "POST", COMMENTS, {"body": "x"})).status_code == 502
    assert await _count(world) == 0
    world.hub.faults.fail("POST", "/repos/*/issues/*/comments", after=True, times=2)
    for expected in (502, 502, 201):
        answer = await world.ask("bot", "POST", COMMENTS, {"body": "x"})
        assert answer.status_code == expected
    assert await _count(world) == 3


async def test_the_secondary_limit_may_say_when_or_not(world: World) -> None:
    for wait, header in ((7, "7"), (None, None)):
        world.hub.faults.limit(retry_after=wait)
        answer = await world.ask("bot", "GET", REPO)
        assert answer.status_code == 403
        assert "secondary rate limit" in answer.json()["message"]
        assert answer.headers.get("retry-after") == header
    assert (await world.ask("bot", "GET", REPO)).status_code == 200


async def test_answers_can_be_slow_until_that_is_over(world: World) -> None:
    world.hub.faults.delay(0.05, "GET", "/repos/acme/*")
    started = time.monotonic()
    await world.ask("bot", "GET", REPO)
    assert time.monotonic() - started >= 0.05
    world.hub.faults.clear()
    assert world.hub.faults.take("GET", "/repos/acme/widgets") == []


async def test_faults_are_set_over_http_by_an_admin(world: World) -> None:
    door = f"{world.hub.url}/_hub/faults"
    body = {"kind": "fail", "path": "/repos/*", "status": 503}
    assert (await world.ask("admin", "POST", door, body)).status_code == 200
    assert (await world.ask("bot", "GET", REPO)).status_code == 503
    for wrong in ({"kind": "explode"}, {"kind": "fail", "colour": "red"}):
        assert (await world.ask("admin", "POST", door, wrong)).status_code == 422
