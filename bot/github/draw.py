"""Draws a run on GitHub: what is there already is left, changed or found before it is made.

What was drawn is remembered as key -> (GitHub's id, digest); the memory saves requests and is
never needed: without it everything is found again, by marker, external id or head branch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

import structlog

from bot.errors import Refused, TransientError
from bot.github.answers import Refusal, id_of, number_of, text_of
from bot.github.client import CHANGE, Params, Session
from bot.github.comment import page
from bot.github.markup import prose
from bot.github.once import Once, Place, repo_path
from bot.github.shown import (
    Attention,
    CheckRun,
    PullRequest,
    SpentLabel,
    StatusComment,
    View,
    digest,
)
from bot.github.view import view
from bot.runs.model import Run
from bot.runs.transitions import State

log = structlog.get_logger()

ANNOTATIONS_A_REQUEST = 50
"""https://docs.github.com/rest/checks/runs#create-a-check-run"""

OPEN = "open:"
"""Before the digest of a check run that is not concluded."""

DONE = "done"
"""The digest of what is done once."""

LATER = "later"
"""The key of a merge that was left to GitHub: to its queue, or to itself once the rules are met."""

QUEUE, AUTO = "queue", "auto"

GONE = (404, 410)

Result = Mapping[str, Any]


class Memory(Protocol):
    """What was drawn before."""

    async def drawing(self, run_id: str) -> dict[str, tuple[str, str]]:
        """Return key -> (GitHub's id, digest)."""

    async def keep_drawing(self, run_id: str, key: str, github_id: str, digest: str) -> None:
        """Remember that `key` stands on GitHub with this content."""


class Drawing:
    """One drawing of one run."""

    def __init__(self, session: Session, memory: Memory, once: Once, login: str, run: Run) -> None:
        self._session = session
        self._memory = memory
        self._once = once
        self._login = login
        self._run = run
        self._path = repo_path(run.repository)
        self._known: dict[str, tuple[str, str]] = {}
        self._forgotten = False
        self._seen: dict[str, dict[str, dict[str, Any]]] = {}

    async def draw(self, results: Sequence[Result]) -> int | None:
        """Draw what should stand there; return the pull request's number, if there is one.

        What GitHub refuses is logged and passed over, so that it keeps nothing else away.
        """
        self._known = await self._memory.drawing(self._run.id)
        self._forgotten = not self._known
        await self._part("later merge", self._merge_no_more)
        await self._part("pull request", lambda: self._draw_pull(results))
        shown = self._view(results)
        for check in shown.checks:
            await self._part("check run", partial(self._draw_check, check))
        await self._part("earlier check runs", lambda: self._close_checks(shown.checks))
        shown = self._view(results, self._links(shown.checks))
        await self._part("comment", lambda: self._draw_comment(shown.comment))
        await self._part("answers", lambda: self._draw_answers(shown))
        await self._part("label", lambda: self._take_off(shown.label))
        await self._part("attention", lambda: self._call(shown.attention))
        return self._run.pull_request

    def _view(self, results: Sequence[Result], links: Mapping[str, str] | None = None) -> View:
        drafts = "drafts" not in self._known
        return view(self._run, results, links=links or {}, drafts=drafts)

    async def _part(self, name: str, do: Callable[[], Awaitable[None]]) -> None:
        try:
            await do()
        except Refused as error:
            log.warning("not drawn", run=self._run.id, part=name, error=str(error))

    async def _keep(self, key: str, id: int | str, content: str) -> None:
        self._known[key] = (str(id), content)
        await self._memory.keep_drawing(self._run.id, key, str(id), content)

    def _id(self, key: str) -> int | None:
        known = self._known.get(key)
        return int(known[0]) if known and known[0].isdigit() else None

    def _stands(self, key: str, content: str) -> bool:
        return key in self._known and self._known[key][1] == content

    # -- the pull request

    async def _draw_pull(self, results: Sequence[Result]) -> None:
        wanted = self._view(results).pull
        if wanted is None:
            return
        number = self._run.pull_request or self._id("pull") or await self._find_pull(wanted)
        if number is None:
            number = await self._open_pull(wanted, results)
        if number is None:
            return
        self._run = self._run.model_copy(update={"pull_request": number})
        # The number is known only now, and so is whether there are drafts.
        wanted = self._view(results).pull or wanted
        await self._edit_pull(number, wanted)
        if wanted.ready and not self._stands("pull:ready", DONE):
            await self._make_ready(number)

    async def _find_pull(self, wanted: PullRequest) -> int | None:
        head = f"{self._run.repository.owner}:{wanted.head}"
        params: Params = {"head": head, "state": "all", "per_page": 100}
        found = (await self._session.get(f"{self._path}/pulls", params)).maps()
        # A fork may have a branch of the same name, in the same organisation too; and a server that
        # does not know the filter must not give us another's pull request.
        ours = [
            each
            for each in found
            if text_of(each, "head", "ref") == wanted.head
            and number_of(each, "head", "repo", "id") == self._run.repository.id
        ]
        ours.sort(key=lambda each: each.get("state") != "open")
        return number_of(ours[0], "number") if ours else None

    async def _open_pull(self, wanted: PullRequest, results: Sequence[Result]) -> int | None:
        """Open it; None while the branch is not there yet."""
        if not wanted.is_open:
            return None
        draft = not wanted.ready and "drafts" not in self._known
        json = {
            "title": wanted.title,
            "body": wanted.body,
            "head": wanted.head,
            "base": wanted.base,
            "draft": draft,
        }
        try:
            made = (await self._session.post(f"{self._path}/pulls", json)).map()
        except Refusal as refusal:
            return await self._not_opened(refusal, wanted, results, draft=draft)
        number = id_of(made, "number")
        await self._keep("pull", number, _pull_digest(wanted))
        if not draft:
            await self._keep("pull:ready", number, DONE)
        return number

    async def _not_opened(
        self, refusal: Refusal, wanted: PullRequest, results: Sequence[Result], *, draft: bool
    ) -> int | None:
        message = refusal.message.lower()
        if refusal.status != 422:
            raise refusal
        if "already exists" in message:
            found = await self._find_pull(wanted)
            if found is None:
                raise TransientError("GitHub does not list the pull request yet that it has.")
            return found
        if "draft" in message and draft:
            await self._keep("drafts", "none", DONE)
            again = self._view(results).pull
            return await self._open_pull(replace(again or wanted), results)
        if "no commits between" in message or "head invalid" in message:
            return None
        raise refusal

    async def _edit_pull(self, number: int, wanted: PullRequest) -> None:
        content = _pull_digest(wanted)
        if self._stands("pull", content):
            return
        json = {"title": wanted.title, "body": wanted.body}
        if not wanted.is_open:
            json["state"] = "closed"
        await self._session.patch(f"{self._path}/pulls/{number}", json)
        await self._keep("pull", number, content)

    async def _merge_no_more(self) -> None:
        """Take back a merge that was left to GitHub, where the run is not to be merged any more."""
        node, how = self._known.get(LATER, ("", DONE))
        if how == DONE or self._run.state in (State.MERGING, State.DONE):
            return
        try:
            session = self._session.to(CHANGE)
            take_back = session.dequeue if how == QUEUE else session.merge_no_more
            await take_back(node)
        except Refusal as refusal:
            # GitHub takes it back by itself where the pull request was closed or pushed to.
            log.info("not taken back", run=self._run.id, error=str(refusal))
            if await self._is_left(node, how):
                await self._say_left(how, refusal)
        await self._keep(LATER, node, DONE)

    async def _is_left(self, node: str, how: str) -> bool:
        """Ask whether GitHub would still merge it."""
        if how == QUEUE:
            return await self._session.to(CHANGE).is_queued(node)
        pull = (await self._session.get(f"{self._path}/pulls/{self._run.pull_request}")).map()
        return bool(pull.get("auto_merge"))

    async def _say_left(self, how: str, refusal: Refusal) -> None:
        """Say once that GitHub may still merge it, and who can keep it from that."""
        run, where = self._run, "the merge queue" if how == QUEUE else "auto-merge"
        marked = f"<!-- orchestrate:left:{run.id}:{run.seq} -->"
        text = (
            f"**GitHub does not take this out of {where}**, so it may still be merged: "
            f"{prose(refusal.message, 500)} Somebody with the write role takes it out on this "
            "page, or closes the pull request."
        )
        place = Place(run.repository, self._login, marked, run.updated_at)
        if run.pull_request is not None:
            await self._once.comment(self._session, place, run.pull_request, f"{marked}\n{text}")

    async def _make_ready(self, number: int) -> None:
        pull = (await self._session.get(f"{self._path}/pulls/{number}")).map()
        if pull.get("draft") and pull.get("state") == "open":
            await self._session.mark_ready(text_of(pull, "node_id"))
        await self._keep("pull:ready", number, DONE)

    # -- the check runs

    async def _draw_check(self, check: CheckRun) -> None:
        content = ("" if check.conclusion else OPEN) + digest(asdict(check))
        if self._stands(check.key, content):
            return
        try:
            drawn = await self._change_check(check) or await self._create_check(check)
        except Refusal as refusal:
            if refusal.status == 422 and "no commit found" in refusal.message.lower():
                return  # The commit is not pushed yet; the next drawing finds it.
            raise
        await self._annotate(check, drawn)
        await self._keep(check.key, id_of(drawn, "id"), content)

    async def _change_check(self, check: CheckRun) -> dict[str, Any] | None:
        """Change the check run that stands; None where there is none."""
        id = self._id(check.key)
        if id is not None:
            drawn = await self._patch_check(id, check.payload())
            if drawn is not None:
                return drawn
        found = (await self._checks_on(check.head)).get(check.external_id)
        return await self._patch_check(id_of(found, "id"), check.payload()) if found else None

    async def _patch_check(self, id: int, payload: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return (await self._session.patch(f"{self._path}/check-runs/{id}", payload)).map()
        except Refused as error:
            if error.status in GONE:
                return None
            raise

    async def _create_check(self, check: CheckRun) -> dict[str, Any]:
        payload = replace(check, restored=False).payload()
        first = check.annotations[:ANNOTATIONS_A_REQUEST]
        payload["output"]["annotations"] = [asdict(note) for note in first]
        json = {**payload, "head_sha": check.head}
        return (await self._session.post(f"{self._path}/check-runs", json)).map()

    async def _annotate(self, check: CheckRun, drawn: Mapping[str, Any]) -> None:
        """Append the remarks that GitHub does not have yet, going by its own count."""
        there = number_of(drawn, "output", "annotations_count") or 0
        while there < len(check.annotations):
            notes = check.annotations[there : there + ANNOTATIONS_A_REQUEST]
            output = {
                "title": check.title,
                "summary": check.summary,
                "annotations": [asdict(note) for note in notes],
            }
            if check.text:
                output["text"] = check.text
            path = f"{self._path}/check-runs/{id_of(drawn, 'id')}"
            await self._session.patch(path, {"output": output})
            there += len(notes)

    async def _checks_on(self, head: str) -> dict[str, dict[str, Any]]:
        """Return the check runs on a commit by external id, read once a drawing."""
        if head not in self._seen:
            path = f"{self._path}/commits/{head}/check-runs"
            pages = self._session.pages(path, {"filter": "all"}, key="check_runs")
            self._seen[head] = {text_of(each, "external_id"): each async for each in pages}
        return self._seen[head]

    async def _close_checks(self, wanted: Sequence[CheckRun]) -> None:
        """Conclude what was in progress on a commit that the run has left."""
        if self._forgotten and self._run.checkpoints:
            await self._close_forgotten(wanted)
        present = {check.key for check in wanted}
        left = [
            key
            for key, (_, content) in self._known.items()
            if key.startswith("check:") and content.startswith(OPEN) and key not in present
        ]
        for key in left:
            id = self._id(key)
            if id is not None:
                await self._patch_check(id, _cancelled())
                await self._keep(key, id, DONE)

    async def _close_forgotten(self, wanted: Sequence[CheckRun]) -> None:
        """Conclude what a server of which nothing is left had in progress on the head."""
        present = {check.external_id for check in wanted}
        for name, found in (await self._checks_on(self._run.head)).items():
            is_ours = name.startswith(f"{self._run.id}:") and name not in present
            if is_ours and text_of(found, "status") != "completed":
                await self._patch_check(id_of(found, "id"), _cancelled())

    def _links(self, checks: Sequence[CheckRun]) -> dict[str, str]:
        """Return the addresses of the check runs by their names."""
        base = page(self._run)
        drawn = {check.name: self._id(check.key) for check in checks}
        return {name: f"{base}/runs/{id}" for name, id in drawn.items() if base and id}

    # -- the conversation

    async def _draw_comment(self, wanted: StatusComment | None) -> None:
        if wanted is None:
            return
        key, content = f"comment:{wanted.number}", digest(wanted.body)
        if self._stands(key, content):
            return
        id = self._id(key)
        if id is None or not await self._edit_comment(id, wanted.body):
            place = self._place(wanted.marker)
            id, is_new = await self._once.comment(self._session, place, wanted.number, wanted.body)
            if not is_new:
                await self._edit_comment(id, wanted.body)
        await self._keep(key, id, content)

    async def _edit_comment(self, id: int, body: str) -> bool:
        """Change a comment; False when it was deleted."""
        try:
            await self._session.patch(f"{self._path}/issues/comments/{id}", {"body": body})
        except Refused as error:
            if error.status in GONE:
                return False
            raise
        return True

    async def _draw_answers(self, shown: View) -> None:
        for answer in shown.answers:
            key = f"answer:{answer.review_comment}"
            if key in self._known or self._run.pull_request is None:
                continue
            id = await self._once.answer(
                self._session,
                self._place(answer.marker),
                self._run.pull_request,
                answer.review_comment,
                answer.text,
            )
            await self._keep(key, id, DONE)

    async def _take_off(self, label: SpentLabel | None) -> None:
        if label is None or "label" in self._known:
            return
        path = f"{self._path}/issues/{label.number}/labels/{quote(label.name, safe='')}"
        try:
            await self._session.delete(path)
        except Refused as error:
            if error.status not in GONE:
                raise
        await self._keep("label", label.number, DONE)

    async def _call(self, wanted: Attention | None) -> None:
        if wanted is None or wanted.key in self._known:
            return
        if wanted.kind == "review" and await self._request_review(wanted):
            await self._keep(wanted.key, "review", DONE)
            return
        place = self._place(wanted.marker)
        id, _ = await self._once.comment(self._session, place, wanted.number, wanted.text)
        await self._keep(wanted.key, id, DONE)

    async def _request_review(self, wanted: Attention) -> bool:
        """Ask for a review; False when GitHub does not let that person give one."""
        path = f"{self._path}/pulls/{wanted.number}/requested_reviewers"
        try:
            await self._session.post(path, {"reviewers": [wanted.login]})
        except Refused as error:
            if error.status in (403, 422):
                return False
            raise
        return True

    def _place(self, marker: str) -> Place:
        return Place(self._run.repository, self._login, marker, self._run.created_at)


def _cancelled() -> dict[str, Any]:
    output = {"title": "Not finished", "summary": "The run went on without this check."}
    return {"status": "completed", "conclusion": "cancelled", "output": output}


def _pull_digest(wanted: PullRequest) -> str:
    return digest([wanted.title, wanted.body, wanted.is_open])
