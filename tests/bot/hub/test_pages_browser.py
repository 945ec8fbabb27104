from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bot.hub import serve
from bot.hub.access import person
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


@pytest.fixture
async def browsing(tmp_path: Path) -> AsyncIterator[Browsing]:
    world = await build(tmp_path)
    async with serve(world.hub), playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        found = Browsing(world, world.hub.url, browser)
        yield found
        await browser.close()
    assert found.complaints == []


async def test_news_appears_and_what_is_typed_stays(browsing: Browsing) -> None:
    hub, bot = browsing.world.hub, browsing.world.bot
    first = browsing.world.bot_says(1, "Queued\n\n<details><summary>More</summary>\n\nx")
    page = await browsing.open("/acme/widgets/issues/1", "writer")
    await page.locator("#body").fill("Half a thought")
    await page.get_by_text("More").click()
    comments.create(hub, person(hub, "maintainer"), browsing.world.repo, 1, "Something new")
    await page.get_by_text("Something new").wait_for()
    comments.edit(hub, bot, first, first.body.replace("Queued", "Working"))
    await page.get_by_text("Working").wait_for()
    assert await page.locator("#body").input_value() == "Half a thought"
    assert await page.locator(f"#issuecomment-{first.id} details").get_attribute("open") is not None
    order = await page.locator("#timeline > .card").evaluate_all("all => all.map(x => x.id)")
    assert order[1] == f"issuecomment-{first.id}"
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
    await browsing.world.check(
        "pytest", "failure", title="1 failed", text="```\n" + "x" * 400 + "\n```"
    )
    browsing.world.bot_says(1, "| a | b |\n|---|---|\n| " + "wide" * 60 + " | b |\n\n" + "y" * 300)
    page = await browsing.open("/", "writer", width)
    for path in PAGES:
        await page.goto(browsing.url + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
