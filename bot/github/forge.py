"""Where a run on GitHub is shown and merged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

import structlog

from bot.errors import Refused, TransientError
from bot.github.answers import Refusal, text_of
from bot.github.branches import Laws, laws_of, reported_on, rules_of, surroundings_of
from bot.github.client import CHANGE, GitHubApp, Session
from bot.github.draw import AUTO, DONE, LATER, QUEUE, Drawing, Memory
from bot.github.once import Once, repo_path
from bot.github.pushes import pushers_since, pushes_to
from bot.github.reads import issue_of, repository_of
from bot.runs.model import Approval, Repository, Run
from bot.runs.ports import Later, Merged, NotMerged, Surroundings
from policies.facts import BranchRules, Method, Reported
from policies.signing import demanding
from policies.verdict import code, counted

log = structlog.get_logger()

REFRESH_SECONDS = 60.0
"""How long a repository's name is believed: every step of a run asks for it."""

AROUND_MAX = 1_000
"""Bases of which it is remembered what they ask: more are asked anew."""

BASE_MOVED_SECONDS = 2.0
"""GitHub merges one pull request at a time, and asks to come again when the base has moved."""


class GitHubForge:
    """Fulfils `bot.runs.ports.Forge`; `memory` is the store."""

    def __init__(self, app: GitHubApp, memory: Memory, once: Once | None = None) -> None:
        self._app = app
        self._memory = memory
        self._once = once or Once()
        self._drawing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._around: dict[tuple[int, str, str], tuple[float, Surroundings]] = {}
        self._laws: dict[tuple[int, str], tuple[float, Laws]] = {}
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

    async def rules(self, run: Run) -> BranchRules:
        """Ask what the rules of the run's base are now."""
        branch = run.base or run.repository.default_branch
        return await rules_of(self._app.session(run.repository), run.repository, branch)

    async def surroundings(self, run: Run) -> Surroundings:
        """Ask what speaks for and against the beginning of a run; believed for a while."""
        key = (run.repository.id, run.base, run.base_sha)
        known = self._around.get(key)
        if known is None or time.monotonic() - known[0] > REFRESH_SECONDS:
            found, granted = await asyncio.gather(
                surroundings_of(self._app, run, self._laws_of(run)),
                self._app.granted(run.repository.installation),
            )
            found = replace(found, permissions=granted)
            if len(self._around) > AROUND_MAX:
                self._around.clear()
            known = self._around[key] = (time.monotonic(), found)
        return known[1]

    async def signatures(self, run: Run) -> tuple[str, ...]:
        """Ask which branches that the run's commits go to take only signed ones; lately will do."""
        known = await self._laws_of(run)
        return demanding(run.base, known.rules, known.closed)

    async def _laws_of(self, run: Run) -> Laws:
        """Ask for the rules of a run's branches; believed for a while, and of all runs alike."""
        key = (run.repository.id, run.base)
        known = self._laws.get(key)
        if known is None or time.monotonic() - known[0] > REFRESH_SECONDS:
            try:
                found = await laws_of(self._app.session(run.repository), run)
            except TransientError:
                if known is None:
                    raise
                # Rules seldom change, and a run goes on while GitHub is out of reach.
                return known[1]
            if len(self._laws) > AROUND_MAX:
                self._laws.clear()
            known = self._laws[key] = (time.monotonic(), found)
        return known[1]

    async def reported(self, run: Run, sha: str, names: Collection[str]) -> tuple[Reported, ...]:
        """Ask what checks of these names, by whomever, say of a commit now."""
        return await reported_on(self._app, run.repository, sha, names)

    async def pushers(self, run: Run, tip: str) -> tuple[str, ...]:
        """Name who moved the run's branch from its own commits on to `tip`, the last one first."""
        try:
            moved = await pushes_to(self._app, run.repository, run.branch)
        except Refused as refused:
            log.warning("who pushed is not told", run=run.id, error=str(refused))
            return ()
        ours = {run.start_sha, run.base_sha, *(each.sha for each in run.checkpoints)}
        return pushers_since(moved, ours, tip)

    async def sign(self, run: Run, tree: str, parents: Sequence[str], text: str) -> bool:
        """Have a commit made and signed, and the branch moved to it; False where that moved.

        GitHub signs what an App commits in its own name: without an author and a committer.
        """
        session, path = self._app.session(run.repository, CHANGE), repo_path(run.repository)
        json = {"message": text, "tree": tree, "parents": list(parents)}
        sha = text_of((await session.post(f"{path}/git/commits", json)).map(), "sha")
        ref = f"heads/{run.branch}"
        try:
            if run.checkpoints:
                await session.patch(f"{path}/git/refs/{quote(ref)}", {"sha": sha, "force": False})
            else:
                await session.post(f"{path}/git/refs", {"ref": f"refs/{ref}", "sha": sha})
        except Refusal as refusal:
            if refusal.status == 422:
                return False  # Somebody pushed there, or took the branch away: the push will say.
            if refusal.status == 409:
                raise TransientError("GitHub asks to try again to move the branch.") from refusal
            raise
        return True

    async def merge(
        self, run: Run, approval: Approval, method: Method, rules: BranchRules, body: str = ""
    ) -> Merged | NotMerged | Later:
        """Merge exactly the approved head, as the base's rules take it; merged before is merged.

        Where the base has a merge queue the head is put there. Where reviews are lacking that
        GitHub asks for, it is merged by GitHub itself as soon as they are there, if a push voids
        them; else we wait for them, so that nothing but the approved head is merged. What a queue
        writes is GitHub's: it takes no `body`.
        """
        if run.pull_request is None:
            return NotMerged("There is no pull request yet.", "`/retry` checks and opens it again.")
        session = self._app.session(run.repository, CHANGE)
        path = f"{repo_path(run.repository)}/pulls/{run.pull_request}"
        pull = (await session.get(path)).map()
        ended = _ended(pull, run.pull_request) or _moved(pull, approval)
        if ended:
            return ended
        node = text_of(pull, "node_id")
        if pull.get("draft"):
            await session.mark_ready(node)
        if rules.queue:
            return await self._enqueued(session, run, node, approval)
        if pull.get("auto_merge"):
            if text_of(pull, "auto_merge", "enabled_by", "login") == await self._app.login():
                # GitHub did not let it go when it was to: it is ours to take back all the same.
                await self._memory.keep_drawing(run.id, LATER, node, AUTO)
            return Later(_waits_for_reviews(run, rules))
        json = {"sha": approval.sha, "merge_method": method}
        json |= {"commit_message": body} if body else {}
        try:
            done = (await session.put(f"{path}/merge", json)).map()
        except Refusal as refusal:
            landed = await self._not_merged(session, path, run.pull_request, approval, refusal)
            if isinstance(landed, NotMerged) and _is_about_reviews(refusal):
                later = (approval.sha, method, body)
                return await self._after_reviews(session, run, node, later, rules)
            return landed
        return Merged(text_of(done, "sha"))

    async def _enqueued(
        self, session: Session, run: Run, node: str, approval: Approval
    ) -> Later | NotMerged:
        if (await self._memory.drawing(run.id)).get(LATER) == (node, QUEUE):
            if await session.is_queued(node):
                return _is_queued(run)
            await self._memory.keep_drawing(run.id, LATER, node, DONE)
            return NotMerged(
                f"GitHub took it out of the merge queue of {code(run.base)}.",
                "See why on the pull request's page; `/retry` and `/approve` put it there again.",
            )
        try:
            await session.enqueue(node, approval.sha)
        except Refusal as refusal:
            if "already" not in refusal.message.lower():
                return NotMerged(
                    f"GitHub does not take it into the merge queue: {refusal.message}",
                    "See to what the pull request's page asks for, then `/retry` and `/approve`.",
                )
        await self._memory.keep_drawing(run.id, LATER, node, QUEUE)
        return _is_queued(run)

    async def _after_reviews(
        self,
        session: Session,
        run: Run,
        node: str,
        later: tuple[str, Method, str],
        rules: BranchRules,
    ) -> Later:
        known = await self._memory.drawing(run.id)
        # Where a person ended it there, it is not begun again: then we merge.
        if rules.auto_merge and rules.stale and known.get(LATER) != (node, AUTO):
            try:
                await session.merge_later(node, *later)
                await self._memory.keep_drawing(run.id, LATER, node, AUTO)
            except Refusal as refusal:
                # Then it is merged by us, once they are there.
                log.info("no auto-merge", run=run.id, error=str(refusal))
        return Later(_waits_for_reviews(run, rules))

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


def _is_about_reviews(refusal: Refusal) -> bool:
    """Say whether GitHub refuses a merge for want of reviews, which may still come."""
    return refusal.status == 405 and "approving review" in refusal.message.lower()


def _is_queued(run: Run) -> Later:
    return Later(f"It is in the merge queue of {code(run.base)}; GitHub merges it from there.")


def _waits_for_reviews(run: Run, rules: BranchRules) -> str:
    asked = counted(max(rules.reviews, 1), "approving review")
    return (
        f"{code(run.base)} asks for {asked} on GitHub: approve it on the pull request's page, and "
        "it is merged by itself."
    )


def _ended(pull: Mapping[str, Any], number: int) -> Merged | NotMerged | None:
    if pull.get("merged"):
        return Merged(text_of(pull, "merge_commit_sha"))
    if pull.get("state") == "closed":
        return NotMerged(
            f"#{number} is closed.", "Reopen it; `/retry` checks the head, then `/approve`."
        )
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
