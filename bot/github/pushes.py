"""Who moved a branch, by GitHub's list of the activity in a repository."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import dropwhile, takewhile

from bot.github.answers import text_of
from bot.github.client import GitHubApp, Params
from bot.github.once import repo_path
from bot.runs.model import Repository
from bot.threads import Push

PUSHES_MAX = 100
"""Pushes to one branch that are looked at: as many as GitHub tells at once, and a run has few."""


async def pushes_to(app: GitHubApp, repository: Repository, branch: str) -> list[Push]:
    """Say who moved a branch and where to, the newest first."""
    ours = await app.login()
    path = f"{repo_path(repository)}/activity"
    # It has no numbered pages; of a branch that was pushed to more often nobody knows enough.
    params: Params = {"ref": f"refs/heads/{branch}", "per_page": PUSHES_MAX}
    answer = await app.session(repository).get(path, params)
    told = ((text_of(each, "actor", "login"), each) for each in answer.maps())
    found = [Push(None if by == ours else by, text_of(each, "after")) for by, each in told]
    is_more = 'rel="next"' in answer.headers.get("link", "")
    return [*found, Push("", "")] if is_more else found


def pushers_since(pushes: Iterable[Push], ours: Collection[str], tip: str) -> tuple[str, ...]:
    """Name the people who moved a branch on from any of `ours` to `tip`, the last one first.

    `pushes` are the newest first. Empty where they do not tell of `tip`; an empty name among the
    others for whom nobody knows.
    """
    there = dropwhile(lambda each: each.after != tip, pushes)
    since = takewhile(lambda each: each.after not in ours, there)
    return tuple(dict.fromkeys(each.by for each in since if each.by is not None))
