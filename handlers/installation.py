"""The App came to an account, or left it: its repositories and their schedules are learned anew."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from bot.errors import Refused
from bot.payloads import InstallationChanged, RepositoryChanged
from bot.router import Desk, Router
from bot.runs.model import Repository

log = structlog.get_logger()


async def on_installation(router: Router, arrival: InstallationChanged) -> None:
    """Learn the schedules of the repositories that came; those that are new may be proposed to."""
    desk, installation = router.desk, arrival.installation
    if arrival.action == "created":
        await desk.invite(await learn(desk, installation))
    elif arrival.action == "unsuspend":
        await learn(desk, installation)
    elif arrival.action == "added":
        # Those that came and no others: an account may have thousands.
        came = [each.id for each in arrival.repositories]
        await desk.invite(await learn(desk, installation, came))


async def on_repository(router: Router, arrival: RepositoryChanged) -> None:
    """Keep what a repository is called now, which a late delivery does not know."""
    told = arrival.where
    try:
        present = await router.desk.threads.repository(told.repository, told.installation)
    except Refused as refusal:
        # It was renamed or transferred once more, to where this installation does not see it.
        log.warning("repository not read", repository=told.repository, error=str(refusal))
        return
    await router.desk.store.save_repository(present)


async def learn(
    desk: Desk, installation: int, only: Sequence[int] | None = None
) -> list[Repository]:
    """Learn the schedules of an installation's repositories; `only` some of them, by number.

    Returns them.
    """
    threads, repositories = desk.threads, list[Repository]()
    try:
        if only is None:
            repositories = await threads.installation_repositories(installation)
        else:
            repositories = [await threads.repository(each, installation) for each in only]
        for repository in repositories:
            await desk.repositories.learn_schedules(repository)
    except Refused as refusal:
        log.warning("installation not read", installation=installation, error=str(refusal))
    return repositories
