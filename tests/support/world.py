"""The whole product in one process: a hub that remembers, and the bot behind a real port.

Tests act as people do, through the hub's REST, and look at what GitHub would show. A test takes a
repository of its own, so that all of them share one world.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import re
import subprocess
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr

from bot.app import Server, build
from bot.hub import Credentials, Hub, add_repository, seed, serve
from bot.runs.model import Run
from bot.runs.transitions import State
from bot.serve import listen, web_config
from bot.settings import Settings, load

PATIENCE_SECONDS = 90.0
"""How long a test waits for what must happen: many times what it takes on a loaded machine."""

MOMENT_SECONDS = 0.1
"""How long a test waits before it looks again where nothing told it to."""

AGENT = "cat > /dev/null; echo more >> notes.txt"
"""An agent that always has something to change."""

CONFIG = {
    "agents": {"writer": {"command": AGENT}},
    "checks": [{"name": "notes", "run": "test -s notes.txt"}],
}

_STATUS = re.compile(r"<!-- orchestrate:run:[a-z2-7]+ -->")
_numbers = itertools.count(1)
_worlds = itertools.count()
APART = 10_000
"""Repositories that one world may have."""

KEPT = httpx.Limits(keepalive_expiry=2)
"""How long people's connections are kept: less than the hub keeps them, 5 s, or a request meets one
that is just being closed."""


@dataclass(slots=True)
class World:
    """A hub and a bot that talk to one another over HTTP."""

    hub: Hub
    credentials: Credentials
    server: Server
    folder: Path
    client: httpx.AsyncClient

    async def repository(
        self, config: Mapping[str, Any] | None = None, files: Mapping[str, str] | None = None
    ) -> Repo:
        """Make a repository of `acme` with a configuration; its roles are the usual ones."""
        name = f"repo{next(_numbers)}"
        content = {"notes.txt": "first\n", "README.md": "# Test\n", **(files or {})}
        if config is None or config:
            content[".github/orchestrate.yml"] = yaml_of({**CONFIG, **(config or {})})
        number = await add_repository(self.hub, name, files=content)
        return Repo(self, f"acme/{name}", number)

    async def settled(self) -> None:
        """Wait until every webhook was obeyed, every run rests and everything is drawn."""
        store = self.server.bot.store
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await self.hub.settled()
                await self.server.dispatcher.settled()
                await self.server.bot.reconciler.settled()
                if not await store.active() and not await store.dirty():
                    await self.hub.settled()
                    await self.server.dispatcher.settled()
                    if not await store.active() and not await store.dirty():
                        return
                await self.moved()

    async def moved(self) -> None:
        """Wait until some run has changed, or for a moment where none does."""
        changed = asyncio.Event()
        end = self.server.bot.store.listen(lambda _: changed.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOMENT_SECONDS):
                await changed.wait()
        end()


@dataclass(slots=True)
class Repo:
    """One repository at the hub, with the people who use it."""

    world: World
    name: str
    id: int
    people: dict[str, Person] = field(default_factory=dict)

    def person(self, login: str) -> Person:
        """Somebody at the keyboard: admin, maintainer, writer, reader or outsider."""
        return self.people.setdefault(login, Person(self, login))

    @property
    def git_dir(self) -> Path:
        """The bare repository on disk."""
        found = self.world.hub.repository(self.name)
        assert found is not None
        return self.world.hub.bare(found).folder

    def git(self, *args: str) -> str:
        """Ask git about the repository itself."""
        # Of no machine's configuration, which may name nobody.
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        command = ["git", *who, "--git-dir", str(self.git_dir), *args]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    async def run(self, issue: int) -> Run:
        """The newest run of an issue."""
        runs = await self.world.server.bot.store.of_thread(self.id, issue)
        assert runs, f"no run on issue {issue}"
        return runs[0]

    async def until(self, issue: int, holds: State | Callable[[Run], bool]) -> Run:
        """Wait until the newest run of an issue is as wanted, and all is drawn."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                runs = await self.world.server.bot.store.of_thread(self.id, issue)
                if runs and (
                    runs[0].state is holds if isinstance(holds, State) else holds(runs[0])
                ):
                    break
                await self.world.moved()
        await self.world.settled()
        return await self.run(issue)

    async def until_seen(self, issue: int, holds: Callable[[Run], bool]) -> Run:
        """Wait until the newest run of an issue is as wanted, whatever else goes on."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                runs = await self.world.server.bot.store.of_thread(self.id, issue)
                if runs and holds(runs[0]):
                    return runs[0]
                await self.world.moved()

    async def started(self, request: str = "add a note", **options: str) -> tuple[int, Run]:
        """File an issue, start a run on it as `writer`, and wait until it waits."""
        writer = self.person("writer")
        issue = await writer.issue(f"Issue: {request}")
        rest = "".join(f" --{key} {value}" for key, value in options.items())
        await writer.comment(issue, f"/orchestrate {request}{rest}")
        return issue, await self.until(issue, lambda run: not run.active)

    async def rules(self, *rules: Mapping[str, Any]) -> None:
        """Lay down rules for the default branch."""
        where = {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}
        body = {"name": "rules", "enforcement": "active", "conditions": where, "rules": rules}
        await self.person("admin").post("/rulesets", body)

    async def replies(self, number: int) -> list[str]:
        """What the bot wrote in a conversation, but for status comments."""
        comments = await self.person("reader").comments(number)
        ours = [c["body"] for c in comments if c["user"]["login"] == "orchestrate[bot]"]
        return [body for body in ours if not body.startswith("<!-- orchestrate:run:")]

    async def status_comments(self, number: int) -> list[str]:
        """The status comments in a conversation."""
        return [body for body in await self._of_runs(number) if not _is_call(body)]

    async def calls(self, number: int) -> list[str]:
        """The comments that mention somebody who must act."""
        return [body for body in await self._of_runs(number) if _is_call(body)]

    async def _of_runs(self, number: int) -> list[str]:
        comments = await self.person("reader").comments(number)
        ours = [c["body"] for c in comments if c["user"]["login"] == "orchestrate[bot]"]
        return [body for body in ours if body.startswith("<!-- orchestrate:run:")]

    async def check_runs(self, sha: str) -> dict[str, str | None]:
        """The conclusions of the newest check runs of a commit, by name."""
        return {each["name"]: each["conclusion"] for each in await self.checks(sha)}

    async def checks(self, sha: str, which: str = "latest") -> list[dict[str, Any]]:
        """The check runs of a commit: of each name the newest, or `all`."""
        path = f"/commits/{sha}/check-runs?per_page=100&filter={which}"
        found: list[dict[str, Any]] = (await self.person("reader").get(path))["check_runs"]
        return found

    async def button(self, sha: str, identifier: str) -> int:
        """A check run of a commit that offers this button."""
        hub = self.world.hub
        for each in await self.checks(sha):
            kept = hub.state.check_runs[each["id"]]
            if identifier in [action["identifier"] for action in kept.actions]:
                return int(each["id"])
        raise AssertionError(f"no check run of {sha} offers {identifier}")

    async def pull(self, number: int) -> dict[str, Any]:
        """A pull request as GitHub shows it."""
        found: dict[str, Any] = await self.person("reader").get(f"/pulls/{number}")
        return found

    async def pulls(self) -> list[dict[str, Any]]:
        """All pull requests, open and closed."""
        found: list[dict[str, Any]] = await self.person("reader").get("/pulls?state=all")
        return found

    def file(self, commit: str, path: str) -> str:
        """A file of a commit."""
        return self.git("show", f"{commit}:{path}")

    def contains(self, path: str) -> bool:
        """Whether any commit that any ref reaches ever touched `path`."""
        return bool(self.git("log", "--all", "--format=%H", "--", path))


@dataclass(slots=True)
class Person:
    """Somebody who uses the hub through its REST."""

    repo: Repo
    login: str

    async def request(self, method: str, path: str, json: Any = None) -> httpx.Response:
        """Send one request about the repository."""
        return await self._send(method, f"/api/v3/repos/{self.repo.name}{path}", json)

    async def _send(self, method: str, path: str, json: Any) -> httpx.Response:
        world, headers = self.repo.world, {"Authorization": f"Bearer user:{self.login}"}
        return await world.client.request(method, world.hub.url + path, json=json, headers=headers)

    async def get(self, path: str) -> Any:
        """Read."""
        answer = await self.request("GET", path)
        answer.raise_for_status()
        return answer.json()

    async def patch(self, path: str, json: Any) -> Any:
        """Change."""
        answer = await self.request("PATCH", path, json)
        answer.raise_for_status()
        return answer.json()

    async def put(self, path: str, json: Any) -> Any:
        """Set, merge, or write a file."""
        answer = await self.request("PUT", path, json)
        answer.raise_for_status()
        return answer.json()

    async def post(self, path: str, json: Any) -> Any:
        """Create."""
        answer = await self.request("POST", path, json)
        answer.raise_for_status()
        return answer.json()

    async def issue(self, title: str, body: str = "") -> int:
        """Open an issue."""
        return int((await self.post("/issues", {"title": title, "body": body}))["number"])

    async def comment(self, number: int, body: str) -> int:
        """Comment on an issue or a pull request; the comment's id."""
        made = await self.post(f"/issues/{number}/comments", {"body": body})
        return int(made["id"])

    async def says(self, number: int, body: str) -> list[str]:
        """Comment, and return what the bot answers besides its status comment."""
        before = await self.repo.replies(number)
        await self.comment(number, body)
        await self.repo.world.settled()
        return (await self.repo.replies(number))[len(before) :]

    async def comments(self, number: int) -> list[dict[str, Any]]:
        """The comments of a conversation."""
        found: list[dict[str, Any]] = await self.get(f"/issues/{number}/comments?per_page=100")
        return found

    async def label(self, number: int, name: str) -> None:
        """Put a label on an issue."""
        await self.post(f"/issues/{number}/labels", {"labels": [name]})

    async def write(self, path: str, text: str, *, branch: str, message: str = "By hand") -> str:
        """Commit a file on a branch through the REST, which is a push; the commit."""
        found = await self.request("GET", f"/contents/{path}?ref={branch}")
        content = base64.b64encode(text.encode()).decode()
        body = {"message": message, "content": content, "branch": branch}
        if found.status_code == 200:
            body["sha"] = found.json()["sha"]
        return str((await self.put(f"/contents/{path}", body))["commit"]["sha"])

    async def merge(self, number: int) -> None:
        """Merge a pull request by hand."""
        await self.put(f"/pulls/{number}/merge", {})

    async def close(self, number: int) -> None:
        """Close an issue or a pull request."""
        await self.patch(f"/issues/{number}", {"state": "closed"})

    async def press(self, check_run: int, identifier: str) -> None:
        """Press a check run's button."""
        await self.door(f"check-runs/{check_run}/press", {"identifier": identifier})

    async def door(self, path: str, json: Any) -> None:
        """Do what on GitHub is a click."""
        answer = await self._send("POST", f"/_hub/repos/{self.repo.name}/{path}", json)
        answer.raise_for_status()

    async def review(self, number: int, event: str, body: str = "", **more: Any) -> None:
        """Review a pull request: APPROVE, REQUEST_CHANGES or COMMENT."""
        await self.post(f"/pulls/{number}/reviews", {"event": event, "body": body, **more})


def _is_call(body: str) -> bool:
    return ":attention:" in body.split("-->")[0]


def yaml_of(config: Mapping[str, Any]) -> str:
    """Write a configuration; JSON is YAML."""
    return json.dumps(config, indent=2) + "\n"


def dedent(text: str) -> str:
    """Take the indentation off a text block."""
    return textwrap.dedent(text).lstrip("\n")


def settings_of(hub: Hub, credentials: Credentials, folder: Path, **more: Any) -> Settings:
    """Settings for a bot that talks to `hub`, with no pause between writes."""
    return load(
        data_dir=folder,
        github_api_url=hub.api_url,
        app_id=str(credentials.app_id),
        private_key=SecretStr(credentials.private_key),
        webhook_secret=SecretStr(credentials.webhook_secret),
        **{
            "write_spacing_seconds": 0.0,
            "gather_seconds": 0.02,
            "reconcile_minutes": 60.0,
            "onboarding": False,
            **more,
        },
    )


@contextlib.asynccontextmanager
async def served(server: Server, listening: Any) -> AsyncIterator[None]:
    """Serve a bot on a socket that is open already."""
    running = uvicorn.Server(web_config(server))
    # The loop belongs to pytest, and so do its signals.
    running.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(running.serve(sockets=[listening]))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not server.ready:
                if serving.done():
                    await serving
                    raise AssertionError("the bot ended before it was ready")
                await asyncio.sleep(0.01)
        yield
    finally:
        running.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def make_world(folder: Path, **more: Any) -> AsyncIterator[World]:
    """Bring a hub and a bot to life in `folder`."""
    listening = listen("127.0.0.1", 0)
    webhook_url = f"http://127.0.0.1:{listening.getsockname()[1]}/webhook"
    hub = Hub(folder / "hub", hourly_limit=1_000_000)
    credentials = await seed(hub, webhook_url=webhook_url, files={"README.md": "# Widgets\n"})
    # Runs are named after their repository's number, and the engine is one for the whole process.
    hub.state.repositories.last_id += next(_worlds) * APART
    async with serve(hub):
        settings = settings_of(hub, credentials, folder / "bot", **more)
        server = await build(settings, wait_max=0.2)
        people = httpx.AsyncClient(timeout=30, trust_env=False, limits=KEPT)
        async with served(server, listening), people as client:
            yield World(hub, credentials, server, folder, client)
