"""When GitHub is asked what an organisation says, and what holds while it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bot.errors import ConfigError, TransientError
from bot.organisation import FRESH_SECONDS, Found, Organisations
from bot.runs.inforce import Earlier
from bot.runs.model import Repository

TOOL = Repository(id=7, owner="acme", name="tool", installation=3, url="", default_branch="main")
GOOD = "limits: {turns: 2}"


class Pages:
    """An organisation's file with its versions; `None` is no answer."""

    def __init__(self, *versions: str) -> None:
        self.versions: list[str] | None = list(versions)
        self.asked = 0

    async def look(self, repository: Repository, etag: str | None) -> Found | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.versions is None:
            raise TransientError("No answer.")
        if not self.versions:
            return Found()
        blob = f"blob{len(self.versions)}"
        return None if etag == blob else Found(blob, self.versions[-1], blob)

    async def earlier(self, repository: Repository) -> AsyncIterator[Earlier]:
        for number, text in reversed(list(enumerate(self.versions or [], 1))):
            yield Earlier(f"commit{number}", f"blob{number}", text)

    async def content(self, repository: Repository, blob: str) -> str | None:
        number = int(blob.removeprefix("blob"))
        return self.versions[number - 1] if self.versions else None


class Clock:
    at = 0.0

    def __call__(self) -> float:
        return self.at


def turns(found: object) -> object:
    """What it says of turns."""
    return [layer.get("limits") for _, layer in found.said.layers]  # type: ignore[attr-defined]


async def test_it_is_asked_once_a_minute_and_once_for_many() -> None:
    pages, clock = Pages(GOOD), Clock()
    known = Organisations(pages, clock)
    found = await asyncio.gather(*(known.now(TOOL) for _ in range(9)))
    assert pages.asked == 1
    assert {each.blob for each in found} == {"blob1"}
    clock.at = FRESH_SECONDS - 1
    assert (await known.now(TOOL)).blob == "blob1"
    assert pages.asked == 1
    clock.at = FRESH_SECONDS + 1
    assert await known.now(TOOL) == found[0]
    assert pages.asked == 2
    # Who merges asks anew; so does everybody after a push.
    await known.now(TOOL, sure=True)
    known.forget(TOOL)
    await known.now(TOOL)
    assert pages.asked == 4


async def test_what_was_known_holds_while_github_does_not_answer() -> None:
    pages, clock = Pages(GOOD), Clock()
    known = Organisations(pages, clock)
    pages.versions = None
    with pytest.raises(TransientError):
        await known.now(TOOL)
    pages.versions = [GOOD]
    await known.now(TOOL)
    pages.versions, clock.at = None, FRESH_SECONDS + 1
    assert turns(await known.now(TOOL)) == [{"turns": 2}]
    with pytest.raises(TransientError):
        await known.now(TOOL, sure=True)


async def test_the_last_good_one_holds_and_where_none_was_good_nothing_does() -> None:
    pages = Pages(GOOD, "limits: {turns: 3}", "limts: {}")
    found = await Organisations(pages).now(TOOL)
    assert (turns(found), found.blob) == ([{"turns": 3}], "blob2")
    assert found.wrong.startswith("acme/.github: orchestrate.yml, line 1: `limts` is not known")
    known = Organisations(Pages("limts: {}"))
    for _ in range(2):
        with pytest.raises(ConfigError, match="did you mean `limits`"):
            await known.now(TOOL)


async def test_a_run_keeps_to_what_was_said_when_it_began() -> None:
    pages, clock = Pages(GOOD), Clock()
    known = Organisations(pages, clock)
    began = (await known.now(TOOL)).blob
    assert pages.versions is not None
    pages.versions.append("limits: {turns: 5}")
    known.forget(TOOL)
    assert turns(await known.now(TOOL)) == [{"turns": 5}]
    assert turns(await known.at(TOOL, began)) == [{"turns": 2}]
    # On another server, or after a restart, it is read again; where it is gone, that is said.
    assert turns(await Organisations(pages).at(TOOL, began)) == [{"turns": 2}]
    pages.versions = []
    with pytest.raises(ConfigError, match="install the App there again"):
        await Organisations(pages).at(TOOL, began)
    assert (await known.at(TOOL, "")).said.layers == ()


async def test_without_such_a_repository_nothing_is_said() -> None:
    assert (await Organisations(Pages()).now(TOOL)).said.layers == ()
