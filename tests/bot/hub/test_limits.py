"""Rate limits, entity tags, pages of lists."""

from __future__ import annotations

import re

from tests.bot.hub.world import REPO, World


async def test_requests_are_counted_and_end(world: World) -> None:
    world.hub.hourly_limit = 2
    first = await world.ask("writer", "GET", REPO)
    assert first.headers["x-ratelimit-remaining"] == "1"
    await world.ask("writer", "GET", REPO)
    last = await world.ask("writer", "GET", REPO)
    assert (last.status_code, last.headers["x-ratelimit-remaining"]) == (403, "0")
    assert (await world.ask("reader", "GET", REPO)).status_code == 200
    world.hub.clock.advance(3_601)
    assert (await world.ask("writer", "GET", REPO)).status_code == 200


async def test_what_did_not_change_is_answered_304_and_is_free(world: World) -> None:
    await world.ask("writer", "POST", f"{REPO}/issues", {"title": "One"})
    path = f"{REPO}/issues/1/comments"
    first = await world.ask("bot", "GET", path)
    tag = {"If-None-Match": first.headers["etag"]}
    again = await world.ask("bot", "GET", path, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["x-ratelimit-used"] == first.headers["x-ratelimit-used"]
    await world.ask("writer", "POST", path, {"body": "News"})
    assert (await world.ask("bot", "GET", path, headers=tag)).status_code == 200


async def test_lists_come_in_pages(world: World) -> None:
    await world.ask("writer", "POST", f"{REPO}/issues", {"title": "One"})
    for number in range(5):
        await world.ask("writer", "POST", f"{REPO}/issues/1/comments", {"body": str(number)})
    path: str | None = f"{REPO}/issues/1/comments?per_page=2"
    seen: list[str] = []
    pages = 0
    while path:
        answer = await world.ask("bot", "GET", path)
        seen += [c["body"] for c in answer.json()]
        pages += 1
        found = re.search(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        path = found[1] if found else None
    assert (seen, pages) == (["0", "1", "2", "3", "4"], 3)


async def test_since_gives_what_changed_since(world: World) -> None:
    await world.ask("writer", "POST", f"{REPO}/issues", {"title": "One"})
    await world.ask("writer", "POST", f"{REPO}/issues/1/comments", {"body": "old"})
    world.hub.clock.advance(60)
    moment = world.hub.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    await world.ask("writer", "POST", f"{REPO}/issues/1/comments", {"body": "new"})
    for path in (f"{REPO}/issues/1/comments", f"{REPO}/issues/comments"):
        answer = await world.ask("bot", "GET", path, params={"since": moment})
        assert [c["body"] for c in answer.json()] == ["new"]
    assert (
        await world.ask("bot", "GET", f"{REPO}/issues", params={"since": "?"})
    ).status_code == 422


async def test_check_runs_of_a_commit_are_the_newest_of_each_name(world: World) -> None:
    head = await world.branch("topic")
    for conclusion in ("failure", "success"):
        body = {"name": "pytest", "head_sha": head, "conclusion": conclusion}
        await world.ask("bot", "POST", f"{REPO}/check-runs", body)
    path = f"{REPO}/commits/{head}/check-runs"
    newest = (await world.ask("bot", "GET", path)).json()
    assert [r["conclusion"] for r in newest["check_runs"]] == ["success"]
    assert (await world.ask("bot", "GET", f"{path}?filter=all")).json()["total_count"] == 2
