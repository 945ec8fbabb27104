"""What the hub's tests have at hand: the hub, its inbox, clients of people and of the App."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.hub import Credentials, Hub
from bot.hub.actions.installations import mint
from bot.hub.records import Repository

FILES: dict[str, str | bytes] = {
    "README.md": "# Widgets\n",
    "widgets/__init__.py": "SIZE = 1\n",
    "tests/test_widgets.py": "def test_size():\n    assert True\n",
}
REPO = "/repos/acme/widgets"


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook as it arrived."""

    headers: dict[str, str]
    body: bytes
    payload: dict[str, Any]

    @property
    def name(self) -> str:
        """`event` or `event.action`."""
        event, action = self.headers["x-github-event"], self.payload.get("action")
        return f"{event}.{action}" if action else event


@dataclass(slots=True)
class Inbox:
    """Takes webhooks, as a bot would; answers `status`."""

    received: list[Received] = field(default_factory=list)
    status: int = 202

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/webhook", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        payload = await request.json()
        self.received.append(Received(dict(request.headers), await request.body(), payload))
        return Response("taken", self.status)

    @property
    def names(self) -> list[str]:
        return [r.name for r in self.received]

    def last(self, name: str) -> dict[str, Any]:
        return next(r.payload for r in reversed(self.received) if r.name == name)

    def clear(self) -> None:
        self.received.clear()


@dataclass(slots=True)
class World:
    """A hub that runs, and ways to ask it."""

    hub: Hub
    credentials: Credentials
    inbox: Inbox
    transport: httpx.AsyncBaseTransport

    @property
    def repo(self) -> Repository:
        found = self.hub.repository("acme/widgets")
        assert found is not None
        return found

    def jwt(self, *, key: str | None = None, **claims: object) -> str:
        """The App's JSON Web Token; a claim of None is left out."""
        now = int(time.time())
        whole = {"iss": str(self.credentials.app_id), "iat": now - 30, "exp": now + 540, **claims}
        given = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(given, key or self.credentials.private_key, "RS256")

    def token(self, **narrowed: Any) -> str:
        """A fresh installation token."""
        installation = self.hub.state.installations[self.credentials.installation_id]
        return mint(self.hub, installation, **narrowed).text

    def client(self, token: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(
            transport=self.transport, base_url=self.hub.api_url, headers=headers
        )

    async def ask(
        self, who: str | None, method: str, path: str, json: object = None, **extra: Any
    ) -> httpx.Response:
        """Ask as a user (by name), as the App's installation ("bot"), or by a token."""
        if who == "bot":
            token: str | None = self.token()
        else:
            known = who is not None and self.hub.user(who) is not None
            token = f"user:{who}" if known else who
        # The transport is shared, so the client is not closed.
        return await self.client(token).request(method, path, json=json, **extra)

    async def branch(self, name: str, path: str = "new.txt", content: str = "new\n") -> str:
        """A branch with one commit on top of main, made by `writer`; its head."""
        main = (await self.ask("writer", "GET", f"{REPO}/git/ref/heads/main")).json()
        sha = main["object"]["sha"]
        await self.ask(
            "writer", "POST", f"{REPO}/git/refs", {"ref": f"refs/heads/{name}", "sha": sha}
        )
        return await self.commit(name, path, content)

    async def commit(self, branch: str, path: str, content: str) -> str:
        """One more commit on a branch; its sha."""
        old = await self.ask("writer", "GET", f"{REPO}/contents/{path}", params={"ref": branch})
        body = {
            "message": f"Write {path}",
            "content": base64.b64encode(content.encode()).decode(),
            "branch": branch,
        }
        if old.status_code == 200:
            body["sha"] = old.json()["sha"]
        made = await self.ask("writer", "PUT", f"{REPO}/contents/{path}", body)
        assert made.status_code in (200, 201), made.text
        return str(made.json()["commit"]["sha"])

    async def pull(
        self, branch: str = "topic", *, who: str = "bot", **extra: Any
    ) -> dict[str, Any]:
        """A pull request from a new branch, opened by the App."""
        await self.branch(branch)
        body = {"title": "Add a file", "head": branch, "base": "main", **extra}
        made = await self.ask(who, "POST", f"{REPO}/pulls", body)
        assert made.status_code == 201, made.text
        return dict(made.json())
