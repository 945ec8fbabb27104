"""Repositories that a configuration is proposed to. Fulfils `handlers.onboarding.Sites`."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

from bot.errors import Refused
from bot.github.answers import id_of, text_of
from bot.github.client import CHANGE, GitHubApp, Params
from bot.github.once import repo_path
from bot.github.threads import GitHubThreads
from bot.runs.model import Repository
from policies.config import PATH
from policies.proposal import Proposal, Site

BRANCH = "orchestrate/configure"
"""The branch of the proposal; by it a proposal is found again, open or closed."""

TITLE = "Configure Orchestrate"

EMPTY = (404, 409)
"""A repository without a commit has no tree."""


class GitHubSites:
    """Looks, and opens pull requests."""

    def __init__(self, app: GitHubApp) -> None:
        self._app = app
        self._threads = GitHubThreads(app)

    async def site(self, repository: Repository) -> Site | None:
        """Look at a repository; None where it is empty, archived, a fork, or was proposed to."""
        session = self._app.session(repository)
        data = (await session.get(repo_path(repository))).map()
        if any(data.get(key) for key in ("archived", "disabled", "fork")):
            return None
        if await self._proposed(repository) is not None:
            return None
        path = f"{repo_path(repository)}/git/trees/{quote(repository.default_branch, safe='')}"
        try:
            tree = (await session.get(path, {"recursive": 1})).maps("tree")
        except Refused as error:
            if error.status in EMPTY:
                return None
            raise
        # Of a very large tree GitHub gives the first 100,000 entries, which are enough to judge.
        paths = [text_of(each, "path") for each in tree if text_of(each, "type") == "blob"]
        is_personal = text_of(data, "owner", "type") == "User"
        return Site(paths, not data.get("private"), is_personal) if paths else None

    async def read(self, repository: Repository, path: str) -> bytes | None:
        """Read a file of the default branch."""
        return await self._threads.file(repository, path)

    async def propose(self, repository: Repository, proposal: Proposal) -> int:
        """Open the pull request, unless that was done; return its number.

        Each of the three writes is looked for first: a try may have died between any two of them.
        """
        known = await self._proposed(repository)
        if known is not None:
            return known
        await self._branch(repository)
        await self._write(repository, proposal.text)
        json = {
            "title": TITLE,
            "head": BRANCH,
            "base": repository.default_branch,
            "body": proposal.body,
        }
        session = self._app.session(repository)
        return id_of((await session.post(f"{repo_path(repository)}/pulls", json)).map(), "number")

    async def _proposed(self, repository: Repository) -> int | None:
        """Find the pull request of a proposal, whatever became of it."""
        params: Params = {"state": "all", "head": f"{repository.owner}:{BRANCH}", "per_page": 1}
        path = f"{repo_path(repository)}/pulls"
        found = (await self._app.session(repository).get(path, params)).maps()
        return id_of(found[0], "number") if found else None

    async def _branch(self, repository: Repository) -> None:
        if await self._threads.tip(repository, BRANCH) is not None:
            return
        sha = await self._threads.tip(repository, repository.default_branch)
        json = {"ref": f"refs/heads/{BRANCH}", "sha": sha}
        session = self._app.session(repository, CHANGE)
        await session.post(f"{repo_path(repository)}/git/refs", json)

    async def _write(self, repository: Repository, text: str) -> None:
        if await self._threads.file(repository, PATH, BRANCH) is not None:
            return
        json = {
            "message": "Propose a configuration for Orchestrate",
            "content": b64encode(text.encode()).decode(),
            "branch": BRANCH,
        }
        session = self._app.session(repository, CHANGE)
        await session.put(f"{repo_path(repository)}/contents/{quote(PATH)}", json)
