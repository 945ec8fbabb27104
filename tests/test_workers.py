"""Web, workers and clock as processes of their own, on a PostgreSQL and a hub of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.database import plain_url
from bot.git import ledger
from bot.git.repository import Mirror
from bot.hub import Credentials, Hub, seed, serve
from bot.leases import LOST
from bot.schema import upgrade
from tests.support.cluster import Cluster, cluster, needs_postgresql
from tests.support.world import yaml_of

pytestmark = [pytest.mark.slow, needs_postgresql]

PATIENCE_SECONDS = 90.0
"""How long what must happen may take: many times what it takes on a loaded machine."""

TAKEOVER_SECONDS = 10.0
"""How long a run may stand still whose worker died."""

LOOK_SECONDS = 0.1
"""How often people look at the hub."""

REPO = "acme/widgets"
BOT = "orchestrate[bot]"

COMMAND = (
    sys.executable,
    "-c",
    "import asyncio, signal\n"
    "from bot.cli import main\n"
    "def show(*_):\n"
    "    for task in asyncio.all_tasks():\n"
    "        task.print_stack()\n"
    "signal.signal(signal.SIGUSR1, show)\n"
    "main()",
)
"""The command; on SIGUSR1 it writes down what it waits for, for the test's own failure."""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Cluster]:
    with cluster(sync=True) as made:
        yield made


@dataclass(slots=True)
class Program:
    """One process of the product."""

    role: str
    port: int
    process: asyncio.subprocess.Process
    log: Path

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    async def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        """End it, if it has not ended, and return how it ended."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(how)
        return await self.process.wait()


@dataclass(slots=True)
class Fleet:
    """A hub, a database, and the processes between them."""

    folder: Path
    hub: Hub
    credentials: Credentials
    database: str
    web_port: int
    people: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30))
    programs: list[Program] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        """What every process is told."""
        return {
            **os.environ,
            "ORCHESTRATE_DATABASE_URL": self.database,
            "ORCHESTRATE_DATA_DIR": str(self.folder / "data"),
            "ORCHESTRATE_GITHUB_API_URL": self.hub.api_url,
            "ORCHESTRATE_APP_ID": str(self.credentials.app_id),
            "ORCHESTRATE_PRIVATE_KEY": self.credentials.private_key,
            "ORCHESTRATE_WEBHOOK_SECRET": self.credentials.webhook_secret,
            "ORCHESTRATE_WRITE_SPACING_SECONDS": "0",
            "ORCHESTRATE_GATHER_SECONDS": "0.05",
            **more,
        }

    async def begin_all(self, *roles: str, **more: str) -> None:
        """Start processes side by side."""
        begun = (self.begin(f"{role}-{n}", **more) for n, role in enumerate(roles))
        await asyncio.gather(*begun)

    async def begin(self, name: str, **more: str) -> Program:
        """Start a process and wait until it is ready; its role is the beginning of its name."""
        role, log = name.partition("-")[0], self.folder / f"{name}.log"
        port = ("--port", str(self.web_port)) if role == "web" else ()
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, role, *port), env=self.environment(**more), stdout=file, stderr=file
            )
        made = Program(role, self.web_port, process, log)
        self.programs.append(made)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self._is_ready(made):
                assert made.is_alive, log.read_text()
                await asyncio.sleep(LOOK_SECONDS)
        return made

    async def _is_ready(self, program: Program) -> bool:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", program.log.read_text())
        if not found:
            return False
        program.port = int(found[1])
        with contextlib.suppress(httpx.HTTPError):
            answer = await self.people.get(f"http://127.0.0.1:{program.port}/readyz")
            return answer.status_code == 200
        return False

    async def command(self, *words: str) -> dict[str, Any]:
        """What an operator's command prints as JSON."""

        def call() -> str:
            done = CliRunner().invoke(app, [*words, "--json"], env=self.environment())
            assert done.exit_code == 0, (done.output, done.exception)
            return done.stdout.splitlines()[-1]

        found: dict[str, Any] = json.loads(await asyncio.to_thread(call))
        return found

    # -- people

    async def ask(self, login: str, method: str, path: str, body: Any = None) -> Any:
        """Ask the hub as somebody."""
        url, headers = f"{self.hub.api_url}/repos/{REPO}", {"Authorization": f"Bearer user:{login}"}
        answer = await self.people.request(method, f"{url}{path}", json=body, headers=headers)
        answer.raise_for_status()
        return answer.json()

    async def issue(self, said: str) -> int:
        """File an issue and give a command there."""
        made = await self.ask("writer", "POST", "/issues", {"title": "Notes"})
        await self.say("writer", made["number"], said)
        return int(made["number"])

    async def say(self, login: str, number: int, body: str) -> None:
        """Comment."""
        await self.ask(login, "POST", f"/issues/{number}/comments", {"body": body})

    async def comments(self, number: int) -> list[str]:
        """What the bot wrote in a conversation."""
        found = await self.ask("reader", "GET", f"/issues/{number}/comments?per_page=100")
        return [each["body"] for each in found if each["user"]["login"] == BOT]

    async def until_shown(self, issue: int, pattern: str) -> re.Match[str]:
        """Wait until the status comment says so."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    for body in await self.comments(issue):
                        if found := re.search(pattern, body, re.DOTALL):
                            return found
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{await self.comments(issue)}\n{await self.told()}") from None

    async def merged(self, issue: int) -> None:
        """Approve what is shown, and wait until it is merged."""
        shown = await self.until_shown(issue, r"\*\*Ready for review.* merges exactly \[?`(\w+)`")
        await self.say("maintainer", issue, f"/approve {shown[1]}")
        await self.until_shown(issue, r"\*\*Done")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.record(issue)[-1]["type"] != "merged":  # noqa: ASYNC110  others push it
                await asyncio.sleep(LOOK_SECONDS)

    # -- what there is

    async def told(self) -> str:
        """What each process wrote, what it waits for now, and what the database has."""
        for each in self.programs:
            if each.is_alive:
                each.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(1)
        rows = [
            *self.rows("SELECT id, state, active, seq, touched, drawn FROM runs"),
            *self.rows("SELECT seq, id, body ->> 'type' FROM events ORDER BY seq"),
            *self.rows("SELECT workflow_uuid, status, executor_id FROM dbos.workflow_status"),
        ]
        return "\n".join(map(str, rows)) + "\n".join(
            f"== {p.log.name}\n{p.log.read_text()}" for p in self.programs
        )

    def at_work(self, line: str) -> list[Program]:
        """The workers whose agent has written `line` into its log."""
        found = self.folder.glob("data/workers/*/runs/*/logs/turn-*.log")
        folders = {each.parents[3] for each in found if line in each.read_text(errors="replace")}
        return [p for p in self.programs if p.is_alive and _folder_of(p) in folders]

    async def until_at_work(self, line: str) -> Program:
        """Wait until an agent has said so; the worker that has it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (found := self.at_work(line)):  # noqa: ASYNC110  others write the log
                await asyncio.sleep(LOOK_SECONDS)
        return found[0]

    async def until_recorded(self, issue: int, kind: str) -> None:
        """Wait until an event of a kind is in the record of an issue's run."""
        query = (
            "SELECT 1 FROM events JOIN runs ON runs.id = events.run "  # noqa: S608
            f"WHERE runs.issue = {issue} AND events.body ->> 'type' = '{kind}'"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.rows(query):  # noqa: ASYNC110  others write the rows
                await asyncio.sleep(LOOK_SECONDS)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(plain_url(self.database)) as connection:
            return connection.execute(query.encode()).fetchall()

    def record(self, issue: int) -> list[dict[str, Any]]:
        """The record of an issue's run, as it was published."""
        found = self.hub.repository(REPO)
        assert found
        mirror = Mirror(self.hub.bare(found).folder)
        [run] = [id for (id,) in self.rows(f"SELECT id FROM runs WHERE issue = {issue}")]  # noqa: S608
        return ledger.read(mirror, run)


def _folder_of(program: Program) -> Path | None:
    """The folder that a worker has locked."""
    for link in Path(f"/proc/{program.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            to = link.readlink()
            if to.name == "lock" and to.parent.parent.name == "workers":
                return to.parent
    return None


def config(agent: str) -> str:
    """One agent, and one check."""
    check = {"name": "notes", "run": "test -s notes.txt"}
    return yaml_of({"agents": {"writer": {"command": agent}}, "checks": [check]})


@contextlib.asynccontextmanager
async def fleet(folder: Path, postgresql: Cluster, agent: str) -> AsyncIterator[Fleet]:
    """A hub and an empty database; the test starts what it needs."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hub = Hub(folder / "hub", hourly_limit=1_000_000)
    files = {"notes.txt": "first\n", ".github/orchestrate.yml": config(agent)}
    credentials = await seed(hub, webhook_url=f"http://127.0.0.1:{port}/webhook", files=files)
    database = postgresql.database()
    await upgrade(database)
    async with serve(hub):
        made = Fleet(folder, hub, credentials, database, port)
        try:
            yield made
        finally:
            for program in made.programs:
                await program.end()
            await made.people.aclose()
            _unmount(folder)


def _unmount(folder: Path) -> None:
    """Do what the next process does in the folder of one that was killed."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in mounts:
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", place], check=True)


AGENT = "cat > /dev/null; echo more >> notes.txt"
SLOW = "cat > /dev/null; echo half >> notes.txt; echo begun; sleep 5; echo more >> notes.txt"
"""An agent that is at work for long enough to be killed."""

WAITING = SLOW.replace("sleep 5", "until [ -e $HOME/go ]; do sleep 0.1; done") + "; echo over"
"""One that is at work until it is let go."""


async def test_a_run_goes_from_comment_to_merge_through_three_processes(
    postgresql: Cluster, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, AGENT) as all_of_it:
        await all_of_it.begin_all("web", "worker", "clock")
        issue = await all_of_it.issue("/orchestrate add a note")
        await all_of_it.merged(issue)
        kinds = [each["type"] for each in all_of_it.record(issue)]
        assert kinds.count("turn_started") == kinds.count("merged") == 1
        said = await all_of_it.comments(issue)
        assert len([body for body in said if ":attention:" not in body]) == 1
        await looks_from_outside(all_of_it)
        await stops_and_goes_on(all_of_it)
        for program in all_of_it.programs:
            assert await program.end(signal.SIGTERM) == -signal.SIGTERM, program.log.read_text()
        assert all_of_it.rows("SELECT id FROM workers") == []
        await comes_back_from_its_records(all_of_it, postgresql)


async def looks_from_outside(all_of_it: Fleet) -> None:
    """What an operator looks at beside the processes at work."""
    (listed,) = (await all_of_it.command("runs"))["runs"]
    assert (listed["state"], listed["repository"]) == ("done", REPO)
    shown = await all_of_it.command("show", listed["run"][:6])
    assert [each["type"] for each in shown["events"]][-1] == "merged"
    assert shown["waits"] is None
    logs = await all_of_it.command("logs", listed["run"])
    assert {"turn-1.prompt.md", "turn-1.log"} <= {each["name"] for each in logs["logs"]}
    verdict = await all_of_it.command("verify", listed["run"])
    assert (verdict["ok"], verdict["published"]) == (True, verdict["events"])
    assert (await all_of_it.command("db", "check"))["ok"]


async def stops_and_goes_on(all_of_it: Fleet) -> None:
    """An operator's stop reaches every process through the database."""
    assert (await all_of_it.command("pause", "--all", "--why", "New disks."))["stops"]
    issue = await all_of_it.issue("/orchestrate add more")
    await all_of_it.until_shown(issue, "has stopped all work. New disks. Your command is kept")
    await all_of_it.until_shown(issue, "Stopped by the operator of this server")
    [run] = [each for each in (await all_of_it.command("runs"))["runs"] if each["issue"] == issue]
    waits = (await all_of_it.command("show", run["run"]))["waits"]
    assert (waits["kind"], waits["reason"]) == ("stopped", "New disks.")
    assert (await all_of_it.command("resume", "--all"))["stops"] == []
    await all_of_it.merged(issue)


async def comes_back_from_its_records(all_of_it: Fleet, postgresql: Cluster) -> None:
    """The database is lost, and another, empty one is filled from the repositories."""
    all_of_it.database = postgresql.database()
    await upgrade(all_of_it.database)
    rebuilt = await all_of_it.command("rebuild")
    assert len(rebuilt["restored"]) == 2
    assert {each["state"] for each in (await all_of_it.command("runs"))["runs"]} == {"done"}


async def test_another_worker_goes_on_where_one_was_killed_in_mid_turn(
    postgresql: Cluster, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, SLOW) as all_of_it:
        await all_of_it.begin_all("web", "worker", "worker", "worker")
        issue = await all_of_it.issue("/orchestrate add a note")
        killed = await all_of_it.until_at_work("begun")
        await killed.end()
        died = time.monotonic()
        await all_of_it.until_recorded(issue, "turn_ended")
        assert time.monotonic() - died < TAKEOVER_SECONDS
        await all_of_it.until_shown(issue, "Turn 1 was lost")
        await all_of_it.merged(issue)
        record = all_of_it.record(issue)
        turns = [each["data"] for each in record if each["type"] == "turn_ended"]
        assert [(t["turn"], t["outcome"], bool(t.get("lost"))) for t in turns] == [
            (1, "interrupted", True),
            (2, "ended", False),
        ]
        made = [each["data"] for each in record if each["type"] == "checkpointed"]
        assert [each["number"] for each in made] == [1]
        said = await all_of_it.comments(issue)
        assert len([body for body in said if ":attention:" not in body]) == 1


async def test_a_worker_that_stood_still_ends_itself_and_writes_nothing(
    postgresql: Cluster, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, SLOW) as all_of_it:
        await all_of_it.begin_all("web", "worker", "worker")
        issue = await all_of_it.issue("/orchestrate add a note")
        stopped = await all_of_it.until_at_work("begun")
        stopped.process.send_signal(signal.SIGSTOP)
        died = time.monotonic()
        await all_of_it.until_recorded(issue, "turn_ended")
        assert time.monotonic() - died < TAKEOVER_SECONDS
        stopped.process.send_signal(signal.SIGCONT)
        assert await stopped.process.wait() == LOST
        await all_of_it.merged(issue)
        record = all_of_it.record(issue)
        assert [each["seq"] for each in record] == [*range(1, len(record) + 1)]
        kinds = [each["type"] for each in record]
        assert (kinds.count("turn_started"), kinds.count("checkpointed")) == (2, 1)


async def test_a_worker_that_is_told_to_end_hands_on_what_its_agent_did(
    postgresql: Cluster, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, SLOW) as all_of_it:
        await all_of_it.begin_all("web", "worker", "worker", ORCHESTRATE_DRAIN_SECONDS="0")
        issue = await all_of_it.issue("/orchestrate add a note")
        ended = await all_of_it.until_at_work("begun")
        await ended.end(signal.SIGTERM)
        await all_of_it.merged(issue)
        record = all_of_it.record(issue)
        made = [each["data"] for each in record if each["type"] == "checkpointed"]
        assert [each["kind"] for each in made] == ["interrupted", "agent"]
        assert not any(each["data"].get("lost") for each in record)


async def test_a_database_that_is_killed_and_comes_back_loses_and_doubles_nothing(
    postgresql: Cluster, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, WAITING) as all_of_it:
        await all_of_it.begin_all("web", "worker", ORCHESTRATE_LEASE_SECONDS="60")
        issue = await all_of_it.issue("/orchestrate add a note")
        await all_of_it.until_at_work("begun")
        await asyncio.to_thread(postgresql.stop, signal.SIGKILL)
        (home,) = tmp_path.glob("data/workers/*/runs/*/home")  # noqa: ASYNC240  a test's own folder
        (home / "go").touch()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "over" not in (home.parent / "logs/turn-1.log").read_text():  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        await asyncio.to_thread(postgresql.start)
        await all_of_it.merged(issue)
        record = all_of_it.record(issue)
        assert [each["seq"] for each in record] == [*range(1, len(record) + 1)]
        kinds = [each["type"] for each in record]
        once = ("turn_started", "turn_ended", "checkpointed", "approved", "merged")
        assert {kind: kinds.count(kind) for kind in once} == dict.fromkeys(once, 1)
        assert "failed" not in kinds
        # The turn ended while there was no database, and it counts.
        (ended,) = [each["data"] for each in record if each["type"] == "turn_ended"]
        assert ended["outcome"] == "ended"
