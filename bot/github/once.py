"""Writing something once, ever: looked for by its marker before it is written.

A request that ended in a 502 may have had its effect, and a server that died may have been
answered; so what is on GitHub decides, not what is remembered here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

from bot.github.answers import id_of, text_of
from bot.github.client import Session
from bot.runs.model import Repository

SKEW = timedelta(minutes=5)
"""How far GitHub's clock may be behind ours."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look: in what `login` wrote, for which marker, and not before `since`."""

    repository: Repository
    login: str
    marker: str
    since: datetime


class Once:
    """Writes comments once. One for a server, since it holds the locks."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def _lock(self, name: str) -> asyncio.Lock:
        # Two who look at the same time would both find nothing.
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    async def comment(
        self, session: Session, place: Place, number: int, body: str
    ) -> tuple[int, bool]:
        """Comment on an issue or pull request unless that was done.

        Returns the comment's id, and whether it is new.
        """
        path = f"{repo_path(place.repository)}/issues/{number}/comments"
        async with self._lock(f"{place.repository.id}:{place.marker}"):
            async for each in session.pages(path, {"since": _since(place)}):
                if _is_ours(each, place):
                    return id_of(each, "id"), False
            return id_of((await session.post(path, {"body": body})).map(), "id"), True

    async def stands(self, session: Session, place: Place, number: int) -> bool:
        """Say whether our comment is there already."""
        path = f"{repo_path(place.repository)}/issues/{number}/comments"
        pages = session.pages(path, {"since": _since(place)})
        return any([_is_ours(each, place) async for each in pages])

    async def answer(
        self, session: Session, place: Place, pull: int, review_comment: int, body: str
    ) -> int:
        """Answer in a review's thread unless that was done; return the answer's id."""
        async with self._lock(f"{place.repository.id}:{place.marker}"):
            path = f"{repo_path(place.repository)}/pulls/{pull}/comments"
            async for each in session.pages(path, {"since": _since(place)}):
                if _is_ours(each, place):
                    return id_of(each, "id")
            made = await session.post(f"{path}/{review_comment}/replies", {"body": body})
            return id_of(made.map(), "id")


def repo_path(repository: Repository) -> str:
    """Return the beginning of every address of a repository."""
    return f"/repos/{repository.owner}/{repository.name}"


def _is_ours(comment: dict[str, Any], place: Place) -> bool:
    is_ours = text_of(comment, "user", "login") == place.login
    return is_ours and place.marker in text_of(comment, "body")


def _since(place: Place) -> str:
    """Write the time as GitHub takes it."""
    return (place.since - SKEW).strftime("%Y-%m-%dT%H:%M:%SZ")
