"""The App came to an account, or left it: its repositories and their schedules are learned anew."""

from __future__ import annotations

import structlog

from bot.errors import Refused
from bot.payloads import InstallationChanged, RepositoryChanged
from bot.router import Desk, Router, repository_of

log = structlog.get_logger()


async def on_installation(router: Router, arrival: InstallationChanged) -> None:
    """Learn the schedules of the repositories that came."""
    if arrival.action in ("created", "added", "unsuspend"):
        await learn(router.desk, arrival.installation)


async def on_repository(router: Router, arrival: RepositoryChanged) -> None:
    """Keep what a repository is called now."""
    await router.desk.store.save_repository(repository_of(arrival.where))


async def learn(desk: Desk, installation: int) -> None:
    """Learn the repositories of an installation and their schedules."""
    try:
        repositories = await desk.threads.installation_repositories(installation)
        for repository in repositories:
            await desk.repositories.learn_schedules(repository)
    except Refused as refusal:
        log.warning("installation not read", installation=installation, error=str(refusal))
