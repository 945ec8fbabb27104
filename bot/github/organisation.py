"""The file of an organisation's `.github` repository. Fulfils `bot.organisation.Reading`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from bot.errors import Refused
from bot.github.answers import text_of
from bot.github.client import GitHubApp, Params, Session
from bot.github.files import content_of
from bot.organisation import Found
from bot.runs.inforce import Earlier
from bot.runs.model import Repository
from policies.organisation import PATH, REPOSITORY

GONE = (404, 409, 422)
"""No such file or repository, one without a commit, or one that the App is not installed on."""

VERSIONS_MAX = 20
"""Earlier versions looked at: who has been wrong more often than that asks a person."""


class GitHubOrganisations:
    """Reads with a token that may read that one repository, and no other."""

    def __init__(self, app: GitHubApp) -> None:
        self._app = app

    async def look(self, repository: Repository, etag: str | None) -> Found | None:
        """Read the file as it is now; None where it is as at `etag`."""
        headers, session = {"If-None-Match": etag} if etag else {}, self._session(repository)
        try:
            answer = await session.get(_file(repository), headers=headers)
        except Refused as error:
            if error.status in GONE:
                return Found()
            raise
        if answer.status == 304:
            return None
        data = answer.map()
        text = _text(await content_of(session, _path(repository), data))
        return Found(text_of(data, "sha"), text, answer.headers.get("etag"))

    async def earlier(self, repository: Repository) -> AsyncIterator[Earlier]:
        """Yield what the file was before what it is now, the newest first."""
        session, last = self._session(repository), ""
        params: Params = {"path": PATH, "per_page": VERSIONS_MAX}
        for each in (await session.get(f"{_path(repository)}/commits", params)).maps():
            sha = text_of(each, "sha")
            data = await session.find(_file(repository), {"ref": sha})
            blob = text_of(data, "sha") if data else ""
            if data and blob and blob != last:
                yield Earlier(sha, blob, _text(await content_of(session, _path(repository), data)))
            last = blob

    async def content(self, repository: Repository, blob: str) -> str | None:
        """Read a version of the file by the id of its content; None where there is none."""
        path = f"{_path(repository)}/git/blobs/{quote(blob, safe='')}"
        session = self._session(repository)
        data = await session.find(path)
        return _text(await content_of(session, _path(repository), data)) if data else None

    def _session(self, repository: Repository) -> Session:
        return self._app.reading(repository.installation, REPOSITORY)


def _path(repository: Repository) -> str:
    return f"/repos/{quote(repository.owner, safe='')}/{REPOSITORY}"


def _file(repository: Repository) -> str:
    return f"{_path(repository)}/contents/{PATH}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
