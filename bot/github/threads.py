"""What people write on GitHub, read into our own words; reactions, replies, deliveries.

Fulfils `bot.threads.Threads`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from bot.errors import Refused, TransientError, UserError
from bot.github.answers import id_of, moment, text_of
from bot.github.client import MEMBERS, GitHubApp, Params
from bot.github.file_check import show_check
from bot.github.files import content_of
from bot.github.markup import cut_body
from bot.github.once import SKEW, Once, Place, repo_path
from bot.github.pushes import pushes_to
from bot.github.reads import (
    comment_of,
    delivery_of,
    installation_of,
    is_bot,
    issue_of,
    pull_of,
    repository_of,
    review_comment_of,
    review_of,
    role_by_permissions,
    role_of,
)
from bot.runs.model import Repository
from bot.threads import (
    Changes,
    Comment,
    DeliverySummary,
    FileCheck,
    Installation,
    Issue,
    LastChange,
    Pull,
    Push,
    Review,
    ReviewComment,
)
from policies.facts import Role
from policies.verdict import code

MARK = "<!-- orchestrate:"
"""The beginning of every marker."""

WATCHED = 30
"""Threads compared at a look: what changes in a repository within a few minutes."""

SETTLED = timedelta(seconds=2)
"""How old the newest change of a list must be by GitHub's own clock before its ETag tells that
nothing moved: times are whole seconds, and a second change within one leaves the list as it was."""

DELIVERIES_MAX = 2_000
"""Deliveries read at a look; the next look, minutes later, goes on."""


class GitHubThreads:
    """Fulfils `bot.threads.Threads`."""

    def __init__(self, app: GitHubApp, once: Once | None = None) -> None:
        self._app = app
        self._once = once or Once()

    # -- people

    async def role(self, repository: Repository, login: str) -> Role | None:
        """Say what a person may do there; nobody known is `Role.NONE`.

        Anything but an answer raises `TransientError`, so that nobody is let in by a fault.
        """
        path = f"{repo_path(repository)}/collaborators/{quote(login, safe='')}/permission"
        try:
            answer = await self._app.session(repository).get(path)
        except Refused as error:
            if error.status == 404:
                return Role.NONE
            raise TransientError(f"GitHub did not say what {login} may do: {error}") from error
        return role_of(answer.map())

    async def others_with(
        self, repository: Repository, role: Role, excluding: Collection[str]
    ) -> bool:
        """Say whether any person but those of `excluding` has at least that role."""
        left_out = {login.lower() for login in excluding}
        path = f"{repo_path(repository)}/collaborators"
        async for each in self._app.session(repository).pages(path):
            login = text_of(each, "login")
            if is_bot(each) or login.lower() in left_out:
                continue
            if role_by_permissions(each).at_least(role):
                return True
        return False

    async def is_member(self, repository: Repository, team: str, login: str) -> bool:
        """Say whether a person is in a team, `organisation/team`; `UserError` where not told.

        Who was invited and has not answered is no member.
        """
        owner, _, slug = team.partition("/")
        where = f"/orgs/{quote(owner, safe='')}/teams/{quote(slug, safe='')}"
        path = f"{where}/memberships/{quote(login, safe='')}"
        try:
            found = await self._app.session(repository, MEMBERS).find(path)
        except Refused as error:
            raise UserError(
                f"GitHub does not say who is in {code('@' + team)}: the App needs read access to "
                "the organisation's members. Ask an owner of the organisation to give it that."
            ) from error
        return found is not None and text_of(found, "state") == "active"

    async def file(self, repository: Repository, path: str, at: str = "") -> bytes | None:
        """Read a file of the default branch, or of the commit `at`; None when there is none.

        Raises Refused for one that is too large to be read.
        """
        where = f"{repo_path(repository)}/contents/{quote(path)}"
        params: Params = {"ref": at} if at else {}
        session = self._app.session(repository)
        found = await session.find(where, params)
        return await content_of(session, repo_path(repository), found) if found else None

    async def changes(self, repository: Repository, pull: int, path: str) -> bool:
        """Say whether a pull request changes a file; GitHub lists the first 3,000 that it does."""
        where = f"{repo_path(repository)}/pulls/{pull}/files"
        async for each in self._app.session(repository).pages(where):
            if text_of(each, "filename") == path:
                return True
        return False

    async def show_check(self, repository: Repository, check: FileCheck) -> None:
        """Let a check stand on a commit; the same one again changes nothing."""
        await show_check(self._app.session(repository), repository, check)

    # -- conversations

    async def react(
        self,
        repository: Repository,
        *,
        comment: int | None = None,
        review_comment: int | None = None,
        issue: int | None = None,
        content: str = "eyes",
    ) -> None:
        """React to one comment or issue; again does nothing more, and what is gone is passed."""
        path = repo_path(repository)
        if comment is not None:
            path += f"/issues/comments/{comment}/reactions"
        elif review_comment is not None:
            path += f"/pulls/comments/{review_comment}/reactions"
        else:
            path += f"/issues/{issue}/reactions"
        try:
            await self._app.session(repository).post(path, {"content": content})
        except Refused as error:
            if error.status not in (404, 410):
                raise

    async def reply(
        self, repository: Repository, number: int, marker: str, text: str, *, since: datetime
    ) -> None:
        """Comment once for each `marker`."""
        place = await self._place(repository, marker, since)
        body = cut_body(f"{place.marker}\n{text}")
        await self._once.comment(self._app.session(repository), place, number, body)

    async def replied(
        self, repository: Repository, number: int, marker: str, *, since: datetime
    ) -> bool:
        """Say whether `reply` was called for `marker` there."""
        place = await self._place(repository, marker, since)
        return await self._once.stands(self._app.session(repository), place, number)

    async def answer(
        self, repository: Repository, pull: int, review_comment: int, marker: str, text: str
    ) -> None:
        """Answer in a review's thread, once for each `marker`."""
        session = self._app.session(repository)
        path = f"{repo_path(repository)}/pulls/comments/{review_comment}"
        asked = await session.find(path)
        if asked is None:
            return  # The thread was deleted, and with it the question.
        place = await self._place(repository, marker, moment(asked.get("created_at")))
        body = cut_body(f"{place.marker}\n{text}")
        await self._once.answer(session, place, pull, review_comment, body)

    async def comment(self, repository: Repository, id: int) -> Comment | None:
        """Read a comment as it is now; None when it was deleted."""
        path = f"{repo_path(repository)}/issues/comments/{id}"
        data = await self._app.session(repository).find(path)
        return comment_of(data) if data else None

    async def reviews(self, repository: Repository, pull: int) -> list[Review]:
        """Read the reviews of a pull request, the oldest first; drafts of reviews are none."""
        path = f"{repo_path(repository)}/pulls/{pull}/reviews"
        pages = self._app.session(repository).pages(path)
        return [review_of(each) async for each in pages if each.get("submitted_at")]

    async def review_comments(
        self, repository: Repository, pull: int, review: int
    ) -> list[ReviewComment]:
        """Read the line comments of one review."""
        path = f"{repo_path(repository)}/pulls/{pull}/reviews/{review}/comments"
        pages = self._app.session(repository).pages(path)
        return [review_comment_of(each) async for each in pages]

    async def comments(self, repository: Repository, number: int) -> list[Comment]:
        """Read the comments of a conversation, the oldest first."""
        path = f"{repo_path(repository)}/issues/{number}/comments"
        return [comment_of(each) async for each in self._app.session(repository).pages(path)]

    async def comments_since(
        self, repository: Repository, number: int, since: datetime
    ) -> list[Comment]:
        """Read the comments of a conversation that were written since then, the oldest first."""
        path = f"{repo_path(repository)}/issues/{number}/comments"
        # GitHub's `since` is about changes, and what was written later was changed later.
        pages = self._app.session(repository).pages(path, {"since": _utc(since)})
        found = [comment_of(each) async for each in pages]
        return [each for each in found if each.created_at >= since]

    async def labelled(self, repository: Repository, issue: int) -> list[tuple[str, datetime]]:
        """Say who set labels on an issue, and when; empty names where nobody knows any more."""
        path = f"{repo_path(repository)}/issues/{issue}/events"
        pages = self._app.session(repository).pages(path)
        return [
            (text_of(each, "actor", "login"), moment(each.get("created_at")))
            async for each in pages
            if each.get("event") == "labeled"
        ]

    async def pushes(self, repository: Repository, branch: str) -> list[Push]:
        """Say who moved a branch and where to, the newest first."""
        return await pushes_to(self._app, repository, branch)

    async def shown_at(self, repository: Repository, sha: str) -> datetime | None:
        """Say when a check of ours first stood on a commit; None where none does.

        Nobody else can write a check run of the App's, nor when it began.
        """
        login = await self._app.login()
        path = f"{repo_path(repository)}/commits/{quote(sha, safe='')}/check-runs"
        session = self._app.session(repository)
        pages = session.pages(path, {"filter": "all"}, key="check_runs")
        begun = [
            moment(each.get("started_at"))
            async for each in pages
            if f"{text_of(each, 'app', 'slug')}[bot]" == login and each.get("started_at")
        ]
        return min(begun, default=None)

    async def line_comments(self, repository: Repository, pull: int) -> list[ReviewComment]:
        """Read the comments on lines of a pull request, the oldest first."""
        path = f"{repo_path(repository)}/pulls/{pull}/comments"
        pages = self._app.session(repository).pages(path)
        return [review_comment_of(each) async for each in pages]

    async def _place(self, repository: Repository, marker: str, since: datetime) -> Place:
        return Place(repository, await self._app.login(), _marked(marker), since)

    # -- issues and pull requests

    async def issue(self, repository: Repository, number: int) -> Issue:
        """Read an issue or a pull request's conversation."""
        path = f"{repo_path(repository)}/issues/{number}"
        return issue_of((await self._app.session(repository).get(path)).map())

    async def pull(self, repository: Repository, number: int) -> Pull:
        """Read a pull request."""
        path = f"{repo_path(repository)}/pulls/{number}"
        return pull_of((await self._app.session(repository).get(path)).map())

    async def find_issue(self, repository: Repository, marker: str) -> int | None:
        """Find the open issue that we opened with `marker`; of several the oldest."""
        login = await self._app.login()
        params: Params = {"creator": login, "state": "open", "sort": "created", "direction": "asc"}
        path = f"{repo_path(repository)}/issues"
        async for each in self._app.session(repository).pages(path, params):
            is_ours = text_of(each, "user", "login") == login
            if is_ours and _marked(marker) in text_of(each, "body"):
                return id_of(each, "number")
        return None

    async def open_issue(self, repository: Repository, title: str, body: str, marker: str) -> int:
        """Open the issue of `marker`, or return the one that is there."""
        found = await self.find_issue(repository, marker)
        if found is not None:
            return found
        json = {"title": title, "body": cut_body(f"{_marked(marker)}\n{body}")}
        path = f"{repo_path(repository)}/issues"
        return id_of((await self._app.session(repository).post(path, json)).map(), "number")

    async def edit_issue(
        self, repository: Repository, number: int, *, title: str | None = None, body: str
    ) -> None:
        """Change an issue of ours; a body that has lost its marker is given it again."""
        path = f"{repo_path(repository)}/issues/{number}"
        session = self._app.session(repository)
        before = text_of((await session.get(path)).map(), "body")
        first = before.split("\n", 1)[0]
        kept = first if first.startswith(MARK) and first not in body else ""
        json = {"body": cut_body(f"{kept}\n{body}" if kept else body)}
        if json["body"] == before and title is None:
            return
        await session.patch(path, json | ({"title": title} if title else {}))

    # -- repositories and installations

    async def tip(self, repository: Repository, branch: str) -> str | None:
        """Say which commit a branch is at now; None when there is no such branch."""
        path = f"{repo_path(repository)}/git/ref/heads/{quote(branch)}"
        found = await self._app.session(repository).find(path)
        return text_of(found, "object", "sha") or None if found else None

    async def repository(self, id: int, installation: int) -> Repository:
        """Read a repository by its number: its present name, default branch and address.

        Raises Refused where the installation has it not, whoever may see it.
        """
        data = (await self._app.seen(installation, id).get(f"/repositories/{id}")).map()
        return repository_of(data, installation)

    async def repository_named(self, owner: str, name: str, installation: int) -> Repository:
        """Read a repository by its name."""
        path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"
        data = (await self._app.installation(installation).get(path)).map()
        return repository_of(data, installation)

    async def installations(self) -> list[Installation]:
        """List where the App is installed."""
        found: list[Installation] = []
        page = 1
        while page:
            params: Params = {"per_page": 100, "page": page}
            answer = await self._app.as_app("GET", "/app/installations", params=params)
            found += [installation_of(each) for each in answer.maps()]
            page = page + 1 if _has_next(answer.headers) else 0
        return found

    async def installation_repositories(self, installation: int) -> list[Repository]:
        """List the repositories that an installation may see."""
        session = self._app.installation(installation)
        pages = session.pages("/installation/repositories", key="repositories")
        return [repository_of(each, installation) async for each in pages]

    # -- deliveries

    async def deliveries(self, since: datetime) -> list[DeliverySummary]:
        """List GitHub's tries to deliver webhooks since then, the newest first."""
        found: list[DeliverySummary] = []
        params: Params = {"per_page": 100}
        while len(found) < DELIVERIES_MAX:
            answer = await self._app.as_app("GET", "/app/hook/deliveries", params=params)
            read = [delivery_of(each) for each in answer.maps()]
            found += [each for each in read if each.delivered_at >= since]
            cursor = _cursor(answer.headers)
            if not cursor or not read or read[-1].delivered_at < since:
                break
            params = {"per_page": 100, "cursor": cursor}
        return found

    async def redeliver(self, id: int) -> None:
        """Ask GitHub to deliver once more."""
        await self._app.as_app("POST", f"/app/hook/deliveries/{id}/attempts")

    # -- what webhooks may have missed

    async def changed_since(
        self, repository: Repository, etag: str | None, since: datetime
    ) -> Changes:
        """Say what moved in a repository: one conditional request when nothing did.

        Comments, reviews, pushes, merges and closings all touch a thread's `updated_at`, and
        issues and pull requests are one list, so one address tells of all of them.
        """
        session = self._app.session(repository)
        params: Params = {
            "state": "all",
            "sort": "updated",
            "direction": "desc",
            "per_page": WATCHED,
        }
        headers = {"If-None-Match": etag} if etag else {}
        path = f"{repo_path(repository)}/issues"
        answer = await session.get(path, params, headers)
        pause = _poll_seconds(answer.headers)
        if answer.status == 304:
            return Changes(False, etag, since, poll_seconds=pause)
        listed = answer.maps()
        touched = {id_of(each, "number"): moment(each.get("updated_at")) for each in listed}
        # The same second is read again: what happened in it after the look must not be missed.
        threads = tuple(number for number, at in touched.items() if at >= since)
        comments = await self._comments_since(repository, since) if threads else ()
        seen = max([since, *touched.values()])
        issues = tuple(issue_of(each) for each in listed if id_of(each, "number") in threads)
        etag = None if _is_fresh(answer.headers, seen) else answer.headers.get("etag")
        return Changes(True, etag, seen, threads, comments, issues, poll_seconds=pause)

    async def last_change(self, repository: Repository, path: str, etag: str | None) -> LastChange:
        """Say which commit of the default branch last changed a file: a conditional request."""
        params: Params = {"sha": repository.default_branch, "path": path, "per_page": 1}
        headers = {"If-None-Match": etag} if etag else {}
        where = f"{repo_path(repository)}/commits"
        try:
            answer = await self._app.session(repository).get(where, params, headers)
        except Refused as error:
            if error.status in (404, 409):  # no commit yet
                return LastChange("", etag)
            raise
        if answer.status == 304:
            return LastChange("", etag)
        found = [text_of(each, "sha") for each in answer.maps()]
        return LastChange(found[0] if found else "", answer.headers.get("etag"))

    async def _comments_since(self, repository: Repository, since: datetime) -> tuple[Comment, ...]:
        params: Params = {
            "since": _utc(since - SKEW),
            "sort": "updated",
            "direction": "asc",
        }
        path = f"{repo_path(repository)}/issues/comments"
        pages = self._app.session(repository).pages(path, params)
        found = [comment_of(each) async for each in pages]
        return tuple(each for each in found if each.updated_at >= since)


def _marked(marker: str) -> str:
    """Make a marker of a name: a comment that nobody sees."""
    if marker.startswith("<!--"):
        return marker
    return f"{MARK}{marker.replace('--', '-').replace('>', '')} -->"


def _utc(when: datetime) -> str:
    """Write a time as GitHub takes it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _has_next(headers: Mapping[str, str]) -> bool:
    return 'rel="next"' in headers.get("link", "")


def _is_fresh(headers: Mapping[str, str], newest: datetime) -> bool:
    """Say whether more may happen within the newest second: the list would look the same then."""
    try:
        answered = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return False
    return answered - newest < SETTLED


def _poll_seconds(headers: Mapping[str, str]) -> float:
    """Read how long GitHub asks to be left alone, which some addresses say."""
    told = headers.get("x-poll-interval", "")
    return float(told) if told.isdecimal() else 0.0


def _cursor(headers: Mapping[str, str]) -> str:
    """Read from the `link` header where the next page of deliveries begins."""
    for part in headers.get("link", "").split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation and "cursor=" in address:
            return address.split("cursor=", 1)[1].split("&")[0].strip(" >")
    return ""
