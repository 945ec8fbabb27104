"""A user at the hub, for tests and the demonstration: what they would click or type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.hub.access import person
from bot.hub.actions import checks, comments, issues, pulls, repos, reviews
from bot.hub.core import Hub
from bot.hub.records import CheckRun, Comment, Issue, Pull, Repository, Review
from bot.hub.refusals import not_found
from bot.hub.repositories import Commit


class As:
    """The user `login`, acting on repositories by `owner/name` and on numbers.

    Refusals are raised as `bot.hub.refusals.Refusal`; every action is written before it returns.
    """

    def __init__(self, hub: Hub, login: str) -> None:
        self._hub = hub
        self._actor = person(hub, login)

    def _repo(self, name: str) -> Repository:
        found = self._hub.repository(name)
        if found is None:
            raise not_found()
        return found

    def _pull(self, name: str, number: int) -> Pull:
        return pulls.find(self._hub, self._repo(name), number)

    def _issue(self, name: str, number: int) -> Issue:
        return issues.find(self._hub, self._repo(name), number)

    async def open_issue(
        self, repo: str, title: str, body: str = "", *, labels: Sequence[str] = ()
    ) -> Issue:
        """Open an issue."""
        made = await issues.create(
            self._hub, self._actor, self._repo(repo), title, body, labels=labels
        )
        self._hub.state.commit()
        return made

    async def comment(self, repo: str, number: int, body: str) -> Comment:
        """Comment on an issue or a pull request."""
        made = comments.create(self._hub, self._actor, self._repo(repo), number, body)
        self._hub.state.commit()
        return made

    async def edit_comment(self, repo: str, comment_id: int, body: str) -> Comment:
        """Change a comment."""
        found = comments.find_comment(self._hub, self._repo(repo), comment_id)
        made = comments.edit(self._hub, self._actor, found, body)
        self._hub.state.commit()
        return made

    async def delete_comment(self, repo: str, comment_id: int) -> None:
        """Take a comment away."""
        found = comments.find_comment(self._hub, self._repo(repo), comment_id)
        comments.delete(self._hub, self._actor, found)
        self._hub.state.commit()

    async def label(self, repo: str, number: int, *names: str) -> Issue:
        """Add labels."""
        made = await issues.add_labels(self._hub, self._actor, self._issue(repo, number), names)
        self._hub.state.commit()
        return made

    async def close(self, repo: str, number: int) -> None:
        """Close an issue or a pull request."""
        await issues.edit(self._hub, self._actor, self._issue(repo, number), state="closed")
        self._hub.state.commit()

    async def open_pull(self, repo: str, title: str, *, head: str, base: str = "main") -> Pull:
        """Open a pull request."""
        made = await pulls.create(
            self._hub, self._actor, self._repo(repo), title=title, head=head, base=base
        )
        self._hub.state.commit()
        return made

    async def review(
        self,
        repo: str,
        number: int,
        event: str,
        body: str = "",
        *,
        comments: Sequence[Mapping[str, Any]] = (),
        commit_id: str | None = None,
    ) -> Review:
        """Review: APPROVE, REQUEST_CHANGES or COMMENT, with comments on lines."""
        made = await reviews.create(
            self._hub,
            self._actor,
            self._pull(repo, number),
            event=event,
            body=body,
            comments=comments,
            commit_id=commit_id,
        )
        self._hub.state.commit()
        return made

    async def merge(
        self, repo: str, number: int, *, method: str = "merge", sha: str | None = None
    ) -> str:
        """Merge a pull request; the sha of what it landed as."""
        landed = await pulls.merge(
            self._hub, self._actor, self._pull(repo, number), method=method, sha=sha
        )
        self._hub.state.commit()
        return landed

    async def press(self, repo: str, run_id: int, identifier: str) -> None:
        """Press a check run's button."""
        run = checks.find(self._hub, self._repo(repo), run_id)
        await checks.press(self._hub, self._actor, run, identifier)
        self._hub.state.commit()

    async def rerun(self, repo: str, run_id: int) -> CheckRun:
        """Press a check run's Re-run."""
        run = checks.find(self._hub, self._repo(repo), run_id)
        await checks.rerequest(self._hub, self._actor, run)
        self._hub.state.commit()
        return run

    async def write_file(
        self,
        repo: str,
        path: str,
        content: bytes | None,
        *,
        message: str,
        branch: str | None = None,
        sha: str | None = None,
    ) -> Commit:
        """Commit one file on a branch, which tells of a push; `sha` is the blob it replaces."""
        made = await repos.write_file(
            self._hub, self._actor, self._repo(repo), path, content,
            message=message, branch=branch, sha=sha,
        )  # fmt: skip
        self._hub.state.commit()
        return made
