"""Asking GitHub: App authentication, tokens, time-outs, pace, and errors of ours.

    app = GitHubApp(api_url="https://api.github.com", app_id=1, private_key=pem)
    session = app.session(repository)
    await session.post("/repos/acme/widgets/issues/1/comments", {"body": "Hello"})

Nothing is tried again here, but for a token that GitHub no longer knows: whoever writes looks
first, so the try belongs where the look is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from weakref import WeakValueDictionary

import httpx
from githubkit import AppAuthStrategy, GitHub, Response, UnauthAuthStrategy
from githubkit.cache import MemCacheStrategy
from githubkit.exception import GitHubException, RequestError
from jwt import PyJWTError

from bot.errors import OperatorError, Refused, TransientError
from bot.github.answers import Answer, Refusal, answer_of, id_of, moment, ours, passing, text_of
from bot.github.breaker import Breaker
from bot.github.pacing import SPACING_SECONDS, Pace, SharedBuckets
from bot.redact import Redactor
from bot.runs.model import Repository

TIMEOUT_SECONDS = 10.0
"""GitHub ends its own requests after ten seconds."""

API_VERSION = "2022-11-28"
"""https://docs.github.com/rest/about-the-rest-api/api-versions"""

TOKEN_MARGIN = timedelta(minutes=5)
"""A token is renewed so long before its end: a push that begins with it must end with it."""

PAGE = 100
"""The most that GitHub gives a page."""

PAGES_MAX = 50
"""Pages read of any list: 5,000 entries; only a runaway thread has more."""

Params = Mapping[str, str | int]


Rights = tuple[tuple[str, str], ...]
"""The permissions of a token, by GitHub's names."""

SEE: Rights = (("metadata", "read"),)
"""To see which repositories there are and what they are called."""

READ: Rights = (("contents", "read"), ("metadata", "read"))
"""To read files."""

TALK: Rights = (
    *(("checks", "write"), ("issues", "write"), ("pull_requests", "write")),
    *READ,
)
"""What nearly all of a run is shown with. It moves no branch."""

CHANGE: Rights = (("contents", "write"), ("metadata", "read"), ("pull_requests", "write"))
"""To merge, or to make commits."""

STATUSES: Rights = (("metadata", "read"), ("statuses", "read"))
"""To read what CI says by commit statuses. Apart: an installation may not have accepted it yet."""

MEMBERS: Rights = (("members", "read"), ("metadata", "read"))
"""To ask who is in a team."""

GIT: Rights = (("contents", "write"),)
"""To fetch and to push."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is for: an installation, one repository of it or all, and its permissions.

    A repository is known by its number, or by its `name` where that is all there is.
    """

    installation: int
    repository: int | None = None
    rights: Rights = SEE
    name: str = ""

    def body(self) -> dict[str, Any]:
        """Return the request for such a token."""
        body: dict[str, Any] = {"permissions": dict(self.rights)}
        if self.repository is not None:
            body["repository_ids"] = [self.repository]
        if self.name:
            body["repositories"] = [self.name]
        return body


def _too_much(scope: Scope) -> Refused:
    """Say which permissions the App was refused, and who gives them."""
    wanted = ", ".join(f"{name}: {level}" for name, level in scope.rights)
    return Refused(
        f"The App may not do this here: it needs `{wanted}`. Give it that in its settings, accept "
        "it where it is installed, and see that this repository is among those chosen there.",
        status=422,
    )


class _Shared(httpx.AsyncBaseTransport):
    """One pool of connections: githubkit makes a client for each request, and closes it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request, stream=True, follow_redirects=False)

    async def aclose(self) -> None:
        """Stay open for the next one; `GitHubApp.close` closes the pool."""


class GitHubApp:
    """Our App on one GitHub. Close it when done.

    `api_url` is the API's address (`https://api.github.com`, or `…/api/v3`), `private_key` a PEM;
    `spacing` is that of writes, in seconds; `transport` replaces the network. What `redactor` knows
    is never sent, and it learns the tokens that GitHub gives.
    """

    def __init__(
        self,
        *,
        api_url: str,
        app_id: str | int,
        private_key: str,
        spacing: float = SPACING_SECONDS,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self._pool = httpx.AsyncClient(transport=transport, timeout=timeout)
        options: dict[str, Any] = {
            "base_url": self.api_url,
            "user_agent": "orchestrate",
            "timeout": timeout,
            "async_transport": _Shared(self._pool),
            # The library's own cache is one for the whole process, whatever the address.
            "cache_strategy": MemCacheStrategy(),
            "http_cache": False,
            "auto_retry": False,
        }
        auth = AppAuthStrategy(app_id, private_key)
        self._app: GitHub[AppAuthStrategy] = GitHub(auth, **options)
        self._plain: GitHub[UnauthAuthStrategy] = GitHub(**options)
        self._tokens: dict[Scope, tuple[str, datetime]] = {}
        self._locks: WeakValueDictionary[Scope, asyncio.Lock] = WeakValueDictionary()
        self._paces: dict[int, Pace] = {}
        self._breakers: dict[int, Breaker] = {}
        self._spacing = spacing
        self._redactor = redactor or Redactor()
        self._slug = ""
        self.guard: Callable[[], None] = lambda: None
        """Called before each write: it raises where this process may have no effect any more."""
        self.share: Callable[[int], SharedBuckets | None] = lambda _: None
        """Gives an installation's buckets that other processes take from as well."""

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    @property
    def web_url(self) -> str:
        """The address of the pages and of git."""
        if self.api_url == "https://api.github.com":
            return "https://github.com"
        return self.api_url.removesuffix("/api/v3")

    async def login(self) -> str:
        """Return the login under which the App writes, `slug[bot]`."""
        if not self._slug:
            answer = await self.as_app("GET", "/app")
            self._slug = text_of(answer.map(), "slug")
        return f"{self._slug}[bot]"

    async def email(self) -> str:
        """Return the address by which GitHub knows commits as the App's bot user's.

        It holds the user's number; where GitHub shows users to nobody, it is left out.
        """
        login = await self.login()
        host = urlsplit(self.web_url).hostname or "github.com"
        try:
            path = f"/users/{quote(login)}"
            user = (await self._send(self._plain, "GET", path, None, None, {}, None)).map()
        except (Refused, TransientError):
            return f"{login}@users.noreply.{host}"
        return f"{id_of(user, 'id')}+{login}@users.noreply.{host}"

    def session(self, repository: Repository, rights: Rights = TALK) -> Session:
        """Act on one repository, with a token that is good for no other and for no more."""
        return Session(self, Scope(repository.installation, repository.id, rights))

    def reading(self, installation: int, name: str) -> Session:
        """Read the files of a repository that is known by its name alone."""
        return Session(self, Scope(installation, rights=READ, name=name))

    def seen(self, installation: int, id: int) -> Session:
        """Act on the repository of that number; refused where the installation has it not.

        With a token for all of an installation GitHub shows what is public of any other as well.
        """
        return Session(self, Scope(installation, id, TALK))

    def installation(self, id: int) -> Session:
        """See what an installation has, where the repository is not known yet."""
        return Session(self, Scope(id))

    async def git_token(self, repository: Repository) -> str:
        """Return a token that may read and write this repository's contents, and no more."""
        return await self.token(Scope(repository.installation, repository.id, GIT))

    async def granted(self, installation: int) -> Mapping[str, str] | None:
        """Ask what the App may do where it is installed, by GitHub's names; None where unsaid."""
        given = (await self.as_app("GET", f"/app/installations/{installation}")).map()
        found = given.get("permissions")
        return dict(found) if isinstance(found, dict) else None

    def pace(self, installation: int) -> Pace:
        """Return the pace of an installation."""
        pace = self._paces.get(installation)
        if pace is None:
            pace = Pace(self._spacing, shared=self.share(installation))
            self._paces[installation] = pace
        return pace

    async def as_app(
        self, method: str, path: str, *, json: Any = None, params: Params | None = None
    ) -> Answer:
        """Ask as the App itself; `OperatorError` when GitHub does not take our key."""
        what = f"{method} {path}"
        try:
            return await self._send(self._app, method, path, json, params, {}, None)
        except Refused as error:
            if error.status == 401:
                raise OperatorError(
                    "GitHub does not accept the App's key: compare ORCHESTRATE_APP_ID and "
                    f"ORCHESTRATE_PRIVATE_KEY with the App's settings ({what})."
                ) from error
            raise
        except (PyJWTError, ValueError, TypeError) as error:
            raise OperatorError(
                "ORCHESTRATE_PRIVATE_KEY is no RSA key: paste the whole PEM file of the App."
            ) from error

    async def token(self, scope: Scope) -> str:
        """Return a token that is good for a while; of many who ask at once, one fetches it."""
        async with self._locks.setdefault(scope, asyncio.Lock()):
            now = datetime.now(UTC)
            held = self._tokens.get(scope)
            if held and held[1] - TOKEN_MARGIN > now:
                return held[0]
            path = f"/app/installations/{scope.installation}/access_tokens"
            try:
                made = (await self.as_app("POST", path, json=scope.body())).map()
            except Refused as error:
                if error.status != 422:
                    raise
                raise _too_much(scope) from error
            token, until = text_of(made, "token"), moment(made.get("expires_at"))
            if not token:
                raise TransientError("GitHub answered without the token that was asked for.")
            self._redactor.learn_passing(token)
            # Of a repository that nobody works on any more, it is kept no longer than it is good.
            self._tokens = {key: kept for key, kept in self._tokens.items() if kept[1] > now}
            self._tokens[scope] = (token, until)
            return token

    def forget(self, scope: Scope, token: str) -> None:
        """Drop a token that GitHub no longer takes, unless it was renewed since."""
        held = self._tokens.get(scope)
        if held and held[0] == token:
            del self._tokens[scope]

    async def send(
        self,
        scope: Scope,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask as an installation; a token that GitHub no longer takes is renewed once."""
        with self._breakers.setdefault(scope.installation, Breaker()).watching():
            token = await self.token(scope)
            try:
                return await self._send_with(token, scope, method, path, json, params, headers)
            except Refused as error:
                if error.status != 401:
                    raise
                self.forget(scope, token)
            token = await self.token(scope)
            return await self._send_with(token, scope, method, path, json, params, headers)

    async def _send_with(
        self,
        token: str,
        scope: Scope,
        method: str,
        path: str,
        json: Any,
        params: Params | None,
        headers: Mapping[str, str] | None,
    ) -> Answer:
        pace = self.pace(scope.installation)
        given = {**(headers or {}), "Authorization": f"Bearer {token}"}
        # What GraphQL only asks is no write, though it is posted.
        is_write = method != "GET" and not (path.endswith("/graphql") and _only_asks(json))
        async with pace.slot(write=is_write):
            if is_write:
                self.guard()
            answer = await self._send(self._plain, method, path, json, params, given, pace)
        if is_write:
            pace.fine()
        return answer

    async def _send(
        self,
        github: GitHub[Any],
        method: str,
        path: str,
        json: Any,
        params: Params | None,
        headers: Mapping[str, str],
        pace: Pace | None,
    ) -> Answer:
        response: Response[Any]
        given = {"X-GitHub-Api-Version": API_VERSION, **headers}
        # The one way out to GitHub: comments, checks and pull requests all pass here.
        json = self._redactor.value(json)
        try:
            response = await github.arequest(
                method, path, json=json, params=dict(params or {}), headers=given
            )
        except GitHubException as error:
            raise ours(error, f"{method} {path}", pace) from _cause(error)
        return answer_of(response)


def _cause(error: GitHubException) -> BaseException:
    return error.exc if isinstance(error, RequestError) else error


def _only_asks(json: Any) -> bool:
    return str(json["query"]).startswith("query")


class Session:
    """The requests of one scope; each may raise `TransientError` or `Refused`."""

    def __init__(self, app: GitHubApp, scope: Scope) -> None:
        self._app = app
        self._scope = scope

    def to(self, rights: Rights) -> Session:
        """Act in the same place with other rights."""
        return Session(self._app, replace(self._scope, rights=rights))

    async def get(
        self, path: str, params: Params | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Read; with `If-None-Match` among the headers the status may be 304."""
        return await self._app.send(self._scope, "GET", path, params=params, headers=headers)

    async def find(self, path: str, params: Params | None = None) -> dict[str, Any] | None:
        """Read an object that may be gone: None when it is."""
        try:
            return (await self.get(path, params)).map()
        except Refused as error:
            if error.status in (404, 410):
                return None
            raise

    async def post(self, path: str, json: Any = None) -> Answer:
        """Create."""
        return await self._app.send(self._scope, "POST", path, json=json)

    async def patch(self, path: str, json: Any) -> Answer:
        """Change."""
        return await self._app.send(self._scope, "PATCH", path, json=json)

    async def put(self, path: str, json: Any = None) -> Answer:
        """Set, or merge."""
        return await self._app.send(self._scope, "PUT", path, json=json)

    async def delete(self, path: str) -> Answer:
        """Remove."""
        return await self._app.send(self._scope, "DELETE", path)

    async def pages(
        self, path: str, params: Params | None = None, *, key: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Read a list to its end; `key` names it where GitHub wraps it in an object."""
        for page in range(1, PAGES_MAX + 1):
            answer = await self.get(path, {**(params or {}), "per_page": PAGE, "page": page})
            for each in answer.maps(key):
                yield each
            if 'rel="next"' not in answer.headers.get("link", ""):
                return

    async def mark_ready(self, node: str) -> None:
        """Make a draft an ordinary pull request."""
        query = (
            "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id})"
            " { pullRequest { isDraft } } }"
        )
        await self.graphql("to mark the draft ready", query, {"id": node})

    async def enqueue(self, node: str, head: str) -> None:
        """Put a pull request into its base's merge queue, where its head is `head`."""
        query = (
            "mutation($id: ID!, $head: GitObjectID!) { enqueuePullRequest(input:"
            " {pullRequestId: $id, expectedHeadOid: $head}) { mergeQueueEntry { state } } }"
        )
        await self.graphql("to enqueue it", query, {"id": node, "head": head})

    async def is_queued(self, node: str) -> bool:
        """Say whether a pull request is in a merge queue."""
        query = "query($id: ID!) { node(id: $id) { ... on PullRequest { isInMergeQueue } } }"
        found = (await self.graphql("to look into the queue", query, {"id": node})).get("node")
        return isinstance(found, dict) and bool(found.get("isInMergeQueue"))

    async def dequeue(self, node: str) -> None:
        """Take a pull request out of the merge queue."""
        query = (
            "mutation($id: ID!) { dequeuePullRequest(input: {id: $id})"
            " { mergeQueueEntry { state } } }"
        )
        await self.graphql("to take it out of the queue", query, {"id": node})

    async def merge_later(self, node: str, head: str, method: str, body: str = "") -> None:
        """Have GitHub merge a pull request by itself, where its head is `head` now.

        `body` is what the new commit says below its title; empty leaves that to GitHub.
        """
        query = (
            "mutation($id: ID!, $head: GitObjectID!, $method: PullRequestMergeMethod!,"
            " $body: String) { enablePullRequestAutoMerge(input: {pullRequestId: $id,"
            " expectedHeadOid: $head, mergeMethod: $method, commitBody: $body})"
            " { pullRequest { state } } }"
        )
        variables = {"id": node, "head": head, "method": method.upper(), "body": body or None}
        await self.graphql("to merge it later", query, variables)

    async def merge_no_more(self, node: str) -> None:
        """Have GitHub merge a pull request by itself no more."""
        query = (
            "mutation($id: ID!) { disablePullRequestAutoMerge(input: {pullRequestId: $id})"
            " { pullRequest { state } } }"
        )
        await self.graphql("to merge it no more", query, {"id": node})

    async def graphql(self, what: str, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for what REST does not have; a `Refusal` of `what` where GitHub says no."""
        json = {"query": query, "variables": dict(variables)}
        answer = await self._app.send(self._scope, "POST", self._graphql, json=json)
        found = answer.map()
        errors = found.get("errors")
        if errors:
            first = errors[0] if isinstance(errors, list) else None
            error = first if isinstance(first, dict) else {}
            if fault := passing(answer, error, what):
                raise fault
            raise Refusal(what, 422, text_of(error, "message") or "it gave no reason.")
        data = found.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def _graphql(self) -> str:
        base = self._app.api_url
        if base.endswith("/api/v3"):
            return f"{base.removesuffix('/v3')}/graphql"
        return f"{base}/graphql"
