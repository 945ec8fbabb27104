"""Repositories of the hub, as git reaches them with a token of the App's."""

from __future__ import annotations

import itertools
from pathlib import Path

from bot.git.remote import Remote
from bot.hub import add_repository
from tests.support.world import Repo, World

_numbers = itertools.count(1)


async def private(world: World, repository: Path | None = None) -> Repo:
    """Make a private repository, of some files or as a copy of another."""
    name = f"private{next(_numbers)}"
    files = None if repository else {"README.md": "# Private\n", "notes.txt": "first\n"}
    id = await add_repository(world.hub, name, files=files, repository=repository, private=True)
    return Repo(world, f"acme/{name}", id)


async def remote_of(repo: Repo) -> Remote:
    """A repository's address, with a token that opens it."""
    server = repo.world.server
    found = await server.desk.threads.repository(repo.id, repo.world.credentials.installation_id)
    return Remote(f"{repo.world.hub.url}/{repo.name}.git", await server.github.git_token(found))
