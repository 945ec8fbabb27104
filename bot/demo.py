"""The whole product on one machine: the hub in GitHub's place, the bot, and one run.

Everything goes the way it goes on GitHub: people speak through the hub's REST, the hub sends
signed webhooks, and the bot answers through the same adapters as in production.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr
from rich.console import Console

from bot import hub as hubs
from bot.app import Server, build
from bot.errors import OperatorError
from bot.hub import Credentials, Hub
from bot.runs.model import Run
from bot.runs.transitions import State
from bot.serve import configure_logging, listen, web_config
from bot.settings import Settings, load
from bot.terminal import Progress
from policies.config import Config

REPOSITORY = "acme/widgets"
TEMPLATE = Path(hubs.__file__).with_name("widgets")
TITLE = "Bring the package up to date"
BODY = (
    "`widgets` still has idioms of old Pythons, and one of its tests fails.\n\n"
    "Please mend both, without changing what the package does."
)
REQUEST = "mend the failing test and bring the old idioms up to date"
GIVE_UP_SECONDS = 300.0
"""How long the demo waits for its run: many times what it takes on a slow machine."""


class Demo:
    """One demonstration; `run` gives what `--json` prints."""

    def __init__(
        self, port: int, hub_port: int, folder: Path | None, *, once: bool, agent: str | None
    ) -> None:
        self._port = port
        self._hub_port = hub_port
        self._folder = folder
        self._once = once
        self._agent = agent
        self._progress = Progress()
        self._console = self._progress.console

    async def run(self) -> dict[str, Any]:
        """Show the product; return how it ended, and where everything is."""
        configure_logging(quiet=True)
        with contextlib.ExitStack() as stack:
            kept = self._folder is not None
            folder = self._folder or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrate-demo-"))
            )
            folder = folder.resolve()
            folder.mkdir(parents=True, exist_ok=True)
            async with self._world(folder) as (hub, server):
                outcome = await self._conversation(hub, server)
                if not self._once:
                    await self._stay(hub, server, outcome)
            if kept:
                self._console.print(f"Everything is kept in {folder}.")
            return outcome

    @contextlib.asynccontextmanager
    async def _world(self, folder: Path) -> AsyncIterator[tuple[Hub, Server]]:
        """Start the hub and the bot, each on its port."""
        began = time.monotonic()
        listening = listen("127.0.0.1", self._port)
        webhook = f"http://127.0.0.1:{listening.getsockname()[1]}/webhook"
        async with _hub(folder / "hub", webhook, self._hub_port) as (hub, credentials):
            settings = self._settings(folder, hub, credentials)
            server = await build(settings, on_output=self._progress.output)
            running = uvicorn.Server(web_config(server))
            serving = asyncio.create_task(running.serve(sockets=[listening]))
            try:
                while not server.ready and not serving.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                if self._agent:
                    server.bot.agents.choose(self._agent, Config())
                server.bot.store.listen(self._progress.run)
                await server.learn()
                self._console.print(f"Started in {time.monotonic() - began:.1f} s.")
                yield hub, server
            finally:
                running.should_exit = True
                await serving

    def _settings(self, folder: Path, hub: Hub, credentials: Credentials) -> Settings:
        return load(
            data_dir=folder / "bot",
            github_api_url=hub.api_url,
            app_id=str(credentials.app_id),
            private_key=SecretStr(credentials.private_key),
            webhook_secret=SecretStr(credentials.webhook_secret),
            write_spacing_seconds=0.0,
            gather_seconds=0.1,
        )

    async def _conversation(self, hub: Hub, server: Server) -> dict[str, Any]:
        """File the issue, give the command, and see it to its end or to the decision."""
        began = time.monotonic()
        writer = _Person(hub, "writer")
        issue = await writer.open_issue(TITLE, BODY)
        address = f"{hub.url}/{REPOSITORY}/issues/{issue}"
        self._console.print(f"Issue #{issue}: [link={address}]{address}[/link]")
        agent = f" --agent {self._agent}" if self._agent else ""
        await writer.comment(issue, f"/orchestrate {REQUEST}{agent}")
        self._console.print(f"writer: /orchestrate {REQUEST}{agent}")
        run = await self._until(server, issue, _waits)
        if run.pull_request:
            self._console.print(f"Pull request: {hub.url}/{REPOSITORY}/pull/{run.pull_request}")
        if self._once and run.state is State.AWAITING_REVIEW:
            await _Person(hub, "maintainer").comment(
                run.pull_request or issue, f"/approve {run.head[:12]}"
            )
            self._console.print(f"maintainer: /approve {run.head[:12]}")
            run = await self._until(server, issue, _ended)
        await server.bot.reconciler.settled()
        return await _outcome(hub, run, time.monotonic() - began)

    async def _until(self, server: Server, issue: int, holds: Any) -> Run:
        """Wait until the issue's run is as wanted and drawn, or for as long as it may take."""
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while True:
                runs = [run for run in await server.bot.store.all() if run.issue == issue]
                if runs and holds(runs[0]):
                    await server.bot.reconciler.settled()
                    return await server.bot.store.load(runs[0].id)
                await asyncio.sleep(0.05)

    async def _stay(self, hub: Hub, server: Server, outcome: dict[str, Any]) -> None:
        """Stay up for whoever wants to look and decide in the browser."""
        number = outcome["pull_request"] or outcome["issue"]
        kind = "pull" if outcome["pull_request"] else "issues"
        self._console.print(f"\nOpen {hub.url}/{REPOSITORY}/{kind}/{number} in a browser.")
        self._console.print(
            "Choose `maintainer` at the top and comment `/approve`, or `writer` and "
            "`/rollback base`, `/undo`, `/orchestrate …`. Ctrl-C ends it."
        )
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        runs = [run for run in await server.bot.store.all() if run.issue == outcome["issue"]]
        outcome.update(await _outcome(hub, runs[0], outcome["seconds"]))


class _Person:
    """Somebody who uses the hub through its REST, as a program of theirs would."""

    def __init__(self, hub: Hub, name: str) -> None:
        self._url = f"{hub.api_url}/repos/{REPOSITORY}"
        self._headers = {"Authorization": f"Bearer user:{name}"}

    async def open_issue(self, title: str, body: str) -> int:
        made = await self._post("/issues", {"title": title, "body": body})
        return int(made["number"])

    async def comment(self, number: int, body: str) -> None:
        await self._post(f"/issues/{number}/comments", {"body": body})

    async def get(self, path: str) -> Any:
        async with httpx.AsyncClient(headers=self._headers, timeout=30) as client:
            answer = await client.get(self._url + path)
        answer.raise_for_status()
        return answer.json()

    async def _post(self, path: str, json: dict[str, Any]) -> dict[str, Any]:
        async with httpx.AsyncClient(headers=self._headers, timeout=30) as client:
            answer = await client.post(self._url + path, json=json)
        if answer.is_error:
            raise OperatorError(f"The hub answered {answer.status_code}: {answer.text[:200]}")
        made: dict[str, Any] = answer.json()
        return made


def _waits(run: Run) -> bool:
    return not run.active and run.state is not State.QUEUED and _is_drawn(run)


def _is_drawn(run: Run) -> bool:
    return run.state is not State.AWAITING_REVIEW or run.pull_request is not None


def _ended(run: Run) -> bool:
    return not run.active and run.state is not State.AWAITING_REVIEW


async def _outcome(hub: Hub, run: Run, seconds: float) -> dict[str, Any]:
    """Ask the hub how things stand, as anybody would see them."""
    reader = _Person(hub, "reader")
    checks = await reader.get(f"/commits/{run.head}/check-runs?per_page=100")
    comments = await reader.get(f"/issues/{run.issue}/comments?per_page=100")
    pull = await reader.get(f"/pulls/{run.pull_request}") if run.pull_request else None
    mark = f"<!-- orchestrate:run:{run.id} -->"
    return {
        "run": run.id,
        "state": run.state.value,
        "reason": run.reason,
        "issue": run.issue,
        "pull_request": run.pull_request,
        "branch": run.branch,
        "head": run.head,
        "repository_dir": str(_repository_dir(hub)),
        "merged": bool(pull and pull["merged"]),
        "checkpoints": [
            {"number": c.number, "sha": c.sha, "tree": c.tree} for c in run.checkpoints
        ],
        "check_runs": [
            {"name": c["name"], "sha": c["head_sha"], "conclusion": c["conclusion"]}
            for c in checks["check_runs"]
        ],
        "status_comments": sum(mark in each["body"] for each in comments),
        "seconds": round(seconds, 3),
    }


def _repository_dir(hub: Hub) -> Path:
    repository = hub.repository(REPOSITORY)
    assert repository is not None
    return hub.bare(repository).folder


@contextlib.asynccontextmanager
async def _hub(folder: Path, webhook: str, port: int) -> AsyncIterator[tuple[Hub, Credentials]]:
    """Serve a hub that is kept in `folder`, with the demonstration's repository in it."""
    hub = Hub(folder, durable=True)
    credentials = await hubs.seed(hub, webhook_url=webhook, template=TEMPLATE)
    async with hubs.serve(hub, port=port):
        yield hub, credentials


async def run_hub(port: int, folder: Path, webhook_url: str) -> None:
    """Run the hub alone, and say how a bot reaches it."""
    console = Console(stderr=True, highlight=False)
    async with _hub(folder, webhook_url, port) as (hub, credentials):
        key = await asyncio.to_thread(_write_key, folder, credentials)
        console.print(f"The hub is at {hub.url}. A bot reaches it with:\n")
        console.print(f"  export ORCHESTRATE_GITHUB_API_URL={hub.api_url}")
        console.print(f"  export ORCHESTRATE_APP_ID={credentials.app_id}")
        console.print(f"  export ORCHESTRATE_PRIVATE_KEY_FILE={key}")
        console.print(f"  export ORCHESTRATE_WEBHOOK_SECRET={credentials.webhook_secret}\n")
        console.print("  orchestrate serve\n\nCtrl-C ends it.")
        await asyncio.Event().wait()


def _write_key(folder: Path, credentials: Credentials) -> Path:
    key = folder.resolve() / "app.pem"
    key.touch(mode=0o600)
    key.write_text(credentials.private_key)
    return key
