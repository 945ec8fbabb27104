"""Where a run on GitHub is shown and merged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from bot.errors import TransientError
from bot.github.answers import Refusal, text_of
from bot.github.client import GitHubApp, Session
from bot.github.draw import Drawing, Memory
from bot.github.once import Once, repo_path
from bot.github.reads import issue_of, repository_of
from bot.runs.model import Approval, Repository, Run
from bot.runs.ports import Merged, NotMerged

REFRESH_SECONDS = 60.0
"""How long a repository's name is believed: every step of a run asks for it."""

BASE_MOVED_SECONDS = 2.0
"""GitHub merges one pull request at a time, and asks to come again when the base has moved."""


class GitHubForge:
    """Fulfils `bot.runs.ports.Forge`; `memory` is the store."""

    def __init__(self, app: GitHubApp, memory: Memory, once: Once | None = None) -> None:
        self._app = app
        self._memory = memory
        self._once = once or Once()
        self._drawing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._fresh: dict[int, tuple[float, Repository]] = {}

    async def refresh(self, run: Run) -> Run:
        """Return the run with the repository's present name and address."""
        known = self._fresh.get(run.repository.id)
        if known is None or time.monotonic() - known[0] > REFRESH_SECONDS:
            session = self._app.session(run.repository)
            data = (await session.get(f"/repositories/{run.repository.id}")).map()
            fresh = repository_of(data, run.repository.installation)
            known = self._fresh[run.repository.id] = (time.monotonic(), fresh)
        return run.model_copy(update={"repository": known[1]})

    async def show(self, run: Run, results: Sequence[Mapping[str, Any]]) -> int | None:
        """Draw what should stand there now; return the pull request's number, if there is one."""
        session = self._app.session(run.repository)
        login = await self._app.login()
        drawing = Drawing(session, self._memory, self._once, login, run)
        # A merge may draw as well as the drawer: one after the other, each finds what stands.
        async with self._drawing.setdefault(run.id, asyncio.Lock()):
            return await drawing.draw(results)

    async def remote(self, repository: Repository) -> tuple[str, str]:
        """Return the address for git, and a token that may read and write contents there."""
        return self.clone_url(repository), await self._app.git_token(repository)

    def clone_url(self, repository: Repository) -> str:
        """Return the address for git, without a token in it."""
        return repository.url or f"{self._app.web_url}/{repository.full_name}.git"

    async def labels(self, run: Run) -> Sequence[str]:
        """Return the labels of the run's pull request, none where there is none yet."""
        if run.pull_request is None:
            return ()
        path = f"{repo_path(run.repository)}/issues/{run.pull_request}"
        return issue_of((await self._app.session(run.repository).get(path)).map()).labels

    async def merge(self, run: Run, approval: Approval, method: str) -> Merged | NotMerged:
        """Merge exactly the approved head; merged before is merged."""
        if run.pull_request is None:
            return NotMerged("There is no pull request yet.", "`/retry` checks and opens it again.")
        session = self._app.session(run.repository)
        path = f"{repo_path(run.repository)}/pulls/{run.pull_request}"
        pull = (await session.get(path)).map()
        ended = _ended(pull, run.pull_request) or _moved(pull, approval)
        if ended:
            return ended
        if pull.get("draft"):
            await session.mark_ready(text_of(pull, "node_id"))
        json = {"sha": approval.sha, "merge_method": method}
        try:
            done = (await session.put(f"{path}/merge", json)).map()
        except Refusal as refusal:
            return await self._not_merged(session, path, run.pull_request, approval, refusal)
        return Merged(text_of(done, "sha"))

    async def _not_merged(
        self, session: Session, path: str, number: int, approval: Approval, refusal: Refusal
    ) -> Merged | NotMerged:
        if "base branch was modified" in refusal.message.lower():
            raise TransientError(
                "GitHub asks to try the merge again.", retry_after=BASE_MOVED_SECONDS
            ) from refusal
        pull = (await session.get(path)).map()
        ended = _ended(pull, number) or _moved(pull, approval)
        return ended or _why(pull, refusal)


def _ended(pull: Mapping[str, Any], number: int) -> Merged | NotMerged | None:
    if pull.get("merged"):
        return Merged(text_of(pull, "merge_commit_sha"))
    if pull.get("state") == "closed":
        return NotMerged(f"#{number} is closed.", "Reopen it, then `/approve`.")
    return None


def _moved(pull: Mapping[str, Any], approval: Approval) -> NotMerged | None:
    head = text_of(pull, "head", "sha")
    if head == approval.sha:
        return None
    return NotMerged(
        f"The head is `{head[:7]}` now; `{approval.sha[:7]}` was approved.",
        "`/resume` checks the new head, then it can be approved.",
    )


def _why(pull: Mapping[str, Any], refusal: Refusal) -> NotMerged:
    """Say why GitHub does not merge, and what to do next."""
    message, state = refusal.message, text_of(pull, "mergeable_state")
    said = message.lower()
    if state == "dirty" or "conflict" in said:
        base = text_of(pull, "base", "ref")
        return NotMerged(
            f"It conflicts with `{base}`.",
            f"Merge `{base}` into the branch, then `/resume` takes that in.",
        )
    if "not allowed" in said or "merge method" in said:
        return NotMerged(
            f"GitHub does not merge in this way: {message}",
            "Name another `merge: method:` in the configuration, then `/retry` and `/approve`.",
        )
    if refusal.status == 403:
        return NotMerged(
            f"The App may not merge here: {message}",
            "Give it write access to contents and pull requests, then `/retry` and `/approve`.",
        )
    if state == "behind":
        return NotMerged(
            "The branch must have the newest commits of its base.",
            "Update the branch on the pull request's page, then `/resume` takes that in.",
        )
    return NotMerged(
        f"GitHub does not merge it: {message}",
        "See to what the pull request's page asks for, then `/retry` and `/approve`.",
    )
