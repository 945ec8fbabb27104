from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn

from bot.hub.access import Person
from bot.hub.actions import comments

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

from tests.bot.hub.pages_world import World, build

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="These tests look at the pages in Chromium: install chromium."
    ),
]

playwright = pytest.importorskip(
    "playwright.async_api", reason="These tests drive a browser by playwright: install it."
)

# Chromium runs as root in containers, and must not look for what is not there.
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

# Milliseconds that a page may take to show its news, two seconds between looks included.
PATIENCE = 10_000

PAGES = (
    "/", "/_hub/deliveries", "/acme/widgets", "/acme/widgets/blob/main/src/widgets/core.py",
    "/acme/widgets/commit/main", "/acme/widgets/issues", "/acme/widgets/issues/1",
    "/acme/widgets/pull/2", "/acme/widgets/pull/2/files", "/acme/widgets/pull/2/checks",
)  # fmt: skip


class Browsing:
    """A browser in front of a hub that is served."""

    def __init__(self, world: World, url: str, browser: Browser) -> None:
        self.world = world
        self.url = url
        self.browser = browser
        self.complaints: list[str] = []

    async def open(self, path: str, who: str, width: int = 1100) -> Page:
        context = await self.browser.new_context(viewport={"width": width, "height": 800})
        context.set_default_timeout(PATIENCE)
        await context.add_cookies([{"name": "user", "value": who, "url": self.url}])
        page = await context.new_page()
        page.on("console", lambda said: self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        await page.goto(self.url + path)
        return page

    def say(self, who: str, number: int, body: str) -> int:
        world = self.world
        actor = Person(world.users[who])
        return comments.create(world.hub, actor, world.repo, number, body).id


@pytest.fixture
async def browsing(tmp_path: Path) -> AsyncIterator[Browsing]:
    world = build(tmp_path)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(world.app, log_level="warning", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        found = Browsing(world, url, browser)
        yield found
        await browser.close()
    server.should_exit = True
    await serving
    await world.hub.stop()
    assert found.complaints == []


async def test_news_appears_and_what_is_typed_stays(browsing: Browsing) -> None:
    first = browsing.say("orchestrate[bot]", 1, "Queued\n\n<details><summary>More</summary>\n\nx")
    page = await browsing.open("/acme/widgets/issues/1", "writer")
    await page.locator("#body").fill("Half a thought")
    await page.get_by_text("More").click()
    browsing.say("maintainer", 1, "Something new")
    await page.get_by_text("Something new").wait_for()
    comment = browsing.world.hub.state.comments[first]
    bot = Person(browsing.world.users["orchestrate[bot]"])
    comments.edit(browsing.world.hub, bot, comment, comment.body.replace("Queued", "Working"))
    await page.get_by_text("Working").wait_for()
    assert await page.locator("#body").input_value() == "Half a thought"
    assert await page.locator(f"#issuecomment-{first} details").get_attribute("open") is not None
    order = await page.locator("#timeline > .card").evaluate_all("all => all.map(x => x.id)")
    assert order[1] == f"issuecomment-{first}"
    assert len(order) == 3


async def test_a_person_comments_reviews_and_merges(browsing: Browsing) -> None:
    page = await browsing.open("/acme/widgets/pull/2/files", "maintainer")
    await page.locator("tr.add").first.hover()
    await page.get_by_label("Comment on line 1").last.click()
    await page.locator("textarea[name=line_body]:focus").fill("Why?")
    await page.get_by_role("button", name="Approve").click()
    await page.get_by_text("approved").first.wait_for()
    await page.get_by_text("Why?").wait_for()
    await page.get_by_role("button", name="Merge").click()
    await page.locator(".pill.merged").wait_for()
    assert browsing.world.issue(1).state == "closed"


async def test_whoever_visits_first_chooses_who_to_be(browsing: Browsing) -> None:
    page = await browsing.open("/acme/widgets/issues/1", "")
    await page.get_by_text("Who are you?").click()
    await page.get_by_role("button", name="writer").click()
    await page.locator("#body").fill("/orchestrate go")
    await page.locator("#body").press("Control+Enter")
    await page.locator("#timeline").get_by_text("/orchestrate go").wait_for()
    assert browsing.world.comments(1) == ["/orchestrate go"]


@pytest.mark.parametrize("width", [390, 1100])
async def test_no_page_is_wider_than_its_window(browsing: Browsing, width: int) -> None:
    browsing.world.check("pytest", "failure", title="1 failed", text="```\n" + "x" * 400 + "\n```")
    browsing.say("writer", 1, "| a | b |\n|---|---|\n| " + "wide" * 60 + " | b |\n\n" + "y" * 300)
    page = await browsing.open("/", "writer", width)
    for path in PAGES:
        await page.goto(browsing.url + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
