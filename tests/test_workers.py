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
from collections.abc import AsyncIterator, Iterator, Sequence
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
from bot.shared import Role
from tests.support.cluster import Cluster, cluster, needs_postgresql
from tests.support.killable import Life, Nursery, Order, nursery
from tests.support.ports import own_port
from tests.support.stories import LOOK_SECONDS, READY, Scene, unmount
from tests.support.world import yaml_of

pytestmark = [pytest.mark.slow, needs_postgresql]

PATIENCE_SECONDS = 90.0
"""How long what must happen may take: many times what it takes on a loaded machine."""

TAKEOVER_SECONDS = 10.0
"""How long a run may stand still whose worker died."""

REPO = "acme/widgets"

QUICK = {"write_spacing_seconds": 0.0, "gather_seconds": 0.05}
"""A GitHub without limits, and everything drawn at once."""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Cluster]:
    with cluster(sync=True) as made:
        yield made


@pytest.fixture(scope="module")
async def bots() -> AsyncIterator[Nursery]:
    async with nursery() as made:
        yield made


@dataclass(slots=True)
class Program:
    """One process of the product."""

    role: Role
    port: int
    life: Life
    log: Path

    async def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        """End it, if it has not ended, and return how it ended."""
        self.life.kill(how)
        return await self.life.ended


@dataclass(slots=True)
class Fleet:
    """A hub, a database, and the processes between them."""

    folder: Path
    scene: Scene
    credentials: Credentials
    database: str
    bots: Nursery
    web_port: int
    programs: list[Program] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """What every process is told, and an operator's command."""
        return {
            "database_url": self.database,
            "data_dir": str(self.folder / "data"),
            "github_api_url": self.scene.hub.api_url,
            "app_id": str(self.credentials.app_id),
            "private_key": self.credentials.private_key,
            "webhook_secret": self.credentials.webhook_secret,
        }

    async def begin_to_die(self, role: Role, *instants: str) -> None:
        """Start a process that ends at the first of some instants."""
        await self._begin(role, {}, instants)
        await self._all_ready()

    async def begin_all(self, *roles: Role, **more: Any) -> None:
        """Start processes side by side, and wait until they are ready."""
        for role in roles:
            await self._begin(role, more)
        await self._all_ready()

    async def begin_commands(self, *roles: Role) -> None:
        """Start them as an operator does: `orchestrate ROLE`."""
        for role in roles:
            await self._command(role)
        await self._all_ready()

    async def _all_ready(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*map(self._ready, self.programs))

    async def _command(self, role: Role) -> None:
        port = self.web_port if role == "web" else own_port()
        log = self.folder / f"{len(self.programs)}-{role}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "from bot.cli import main; main()"),
                *(role, "--port", str(port)),
                env={**os.environ, **self.environment(**QUICK)},
                stdout=output,
                stderr=output,
            )
        life = Life(process.pid, asyncio.ensure_future(process.wait()))
        self.programs.append(Program(role, port, life, log))

    async def _begin(self, role: Role, more: dict[str, Any], kill_at: Sequence[str] = ()) -> None:
        number = len(self.programs)
        port = self.web_port if role == "web" else own_port()
        settings = {**self.settings, **QUICK, **more}
        log = self.folder / f"{number}-{role}.log"
        trace = self.folder / f"{number}-{role}.trace"
        order = Order(settings, port, str(trace), str(log), kill_at, role)
        life = await self.bots.bear(order)
        self.programs.append(Program(role, port, life, log))

    async def _ready(self, program: Program) -> None:
        while True:
            assert program.life.is_alive, program.log.read_text()
            with contextlib.suppress(httpx.HTTPError):
                url = f"http://127.0.0.1:{program.port}/readyz"
                if (await self.scene.people.get(url)).status_code == 200:
                    return
            await asyncio.sleep(LOOK_SECONDS)

    def environment(self, **more: Any) -> dict[str, str]:
        """The settings as the environment has them."""
        told = {**self.settings, **more}
        return {f"ORCHESTRATE_{name.upper()}": str(it) for name, it in told.items()}

    async def command(self, *words: str, **more: Any) -> dict[str, Any]:
        """What an operator's command prints as JSON."""
        environment = self.environment(**more)

        def call() -> str:
            done = CliRunner().invoke(app, [*words, "--json"], env=environment)
            assert done.exit_code == 0, (done.output, done.exception)
            return done.stdout.splitlines()[-1]

        found: dict[str, Any] = json.loads(await asyncio.to_thread(call))
        return found

    async def until_shown(self, issue: int, pattern: str) -> re.Match[str]:
        """Wait until the status comment says so."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self.scene.until_shown(issue, pattern)
        except TimeoutError:
            said = await self.scene.comments(issue)
            raise AssertionError(f"{said}\n{await self.told()}") from None

    async def merged(self, issue: int) -> None:
        """Approve what is shown, and wait until it is merged."""
        shown = await self.until_shown(issue, READY)
        await self.scene.say("maintainer", issue, f"/approve {shown[1]}")
        await self.until_shown(issue, r"\*\*Done")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.record(issue)[-1]["type"] != "merged":  # noqa: ASYNC110  others push it
                await asyncio.sleep(LOOK_SECONDS)

    # -- what there is

    async def told(self) -> str:
        """What each process wrote, what it waits for now, and what the database has."""
        for each in self.programs:
            each.life.kill(signal.SIGUSR1)
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
        return [p for p in self.programs if p.life.is_alive and _folder_of(p) in folders]

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
        [run] = [id for (id,) in self.rows(f"SELECT id FROM runs WHERE issue = {issue}")]  # noqa: S608
        return ledger.read(Mirror(self.scene.git_dir), run)


def _folder_of(program: Program) -> Path | None:
    """The folder that a worker has locked."""
    for link in Path(f"/proc/{program.life.pid}/fd").iterdir():
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
async def fleet(
    folder: Path, postgresql: Cluster, bots: Nursery, agent: str
) -> AsyncIterator[Fleet]:
    """A hub and an empty database; the test starts what it needs."""
    port = own_port()
    hub = Hub(folder / "hub", hourly_limit=1_000_000)
    files = {"notes.txt": "first\n", ".github/orchestrate.yml": config(agent)}
    credentials = await seed(hub, webhook_url=f"http://127.0.0.1:{port}/webhook", files=files)
    database = postgresql.database()
    await upgrade(database)
    async with serve(hub):
        made = Fleet(folder, Scene(hub, REPO), credentials, database, bots, port)
        try:
            yield made
        finally:
            for program in made.programs:
                await program.end()
            await made.scene.people.aclose()
            unmount(folder)


AGENT = "cat > /dev/null; echo more >> notes.txt"
SLOW = "cat > /dev/null; echo half >> notes.txt; echo begun; sleep 5; echo more >> notes.txt"
"""An agent that is at work for long enough to be killed."""

WAITING = SLOW.replace("sleep 5", "until [ -e $HOME/go ]; do sleep 0.1; done") + "; echo over"
"""One that is at work until it is let go."""


async def test_a_run_goes_from_comment_to_merge_through_three_processes(
    postgresql: Cluster, bots: Nursery, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, bots, AGENT) as all_of_it:
        await all_of_it.begin_commands("web", "worker", "clock")
        issue = await all_of_it.scene.issue("/orchestrate add a note")
        await all_of_it.merged(issue)
        holds_what_any_version_reads(all_of_it)
        kinds = [each["type"] for each in all_of_it.record(issue)]
        assert kinds.count("turn_started") == kinds.count("merged") == 1
        said = await all_of_it.scene.comments(issue)
        assert len([body for body in said if ":attention:" not in body]) == 1
        await looks_from_outside(all_of_it)
        await stops_and_goes_on(all_of_it)
        for program in all_of_it.programs:
            assert await program.end(signal.SIGTERM) == -signal.SIGTERM, program.log.read_text()
        assert all_of_it.rows("SELECT id FROM workers") == []
        await is_tidied_copied_and_erased(all_of_it, postgresql)
        await comes_back_from_its_records(all_of_it, postgresql)


def holds_what_any_version_reads(all_of_it: Fleet) -> None:
    """The engine keeps a segment as JSON, under a version that an update leaves as it is."""
    query = (
        "SELECT status.application_version, status.serialization, input.inputs "
        "FROM dbos.workflow_status AS status JOIN dbos.workflow_input AS input "
        "USING (workflow_uuid)"
    )
    kept = all_of_it.rows(query)
    assert {version for version, _, _ in kept} == {"1"}
    assert {how for _, how, _ in kept} == {"portable_json"}
    assert all(len(json.loads(given)["positionalArgs"]) == 3 for _, _, given in kept)


async def is_tidied_copied_and_erased(all_of_it: Fleet, postgresql: Cluster) -> None:
    """What is over goes; a copy by PostgreSQL's own means is whole; of who is erased nothing is."""
    with psycopg.connect(plain_url(all_of_it.database)) as connection:
        connection.execute("UPDATE deliveries SET received_at = '2020-01-01T00:00:00+00:00'")
    tidied = (await all_of_it.command("gc", workflow_days=0.0))["removed"]
    assert {each["what"] for each in tidied if each["count"]} >= {"workflows", "deliveries"}
    assert all_of_it.rows("SELECT guid FROM deliveries") == []
    assert all_of_it.rows("SELECT workflow_uuid FROM dbos.workflow_status") == []

    seen = await all_of_it.command("runs")
    original, all_of_it.database = all_of_it.database, postgresql.database()
    copy(postgresql, original, all_of_it.database)
    assert (await all_of_it.command("db", "check"))["ok"]
    assert await all_of_it.command("runs") == seen
    number = str(all_of_it.credentials.installation_id)
    erased = await all_of_it.command("erase", number, "--yes")
    assert erased["erased"]
    assert {"runs", "events", "repositories"} <= erased["found"]["rows"].keys()
    assert erased["left"] == {"rows": {}, "workflows": 0, "paths": []}
    assert (await all_of_it.command("runs"))["runs"] == []
    all_of_it.database = original
    assert await all_of_it.command("runs") == seen


def copy(postgresql: Cluster, original: str, empty: str) -> None:
    """Copy a database as docs/operating.md says."""
    dump: list[str | Path] = [
        postgresql.bin / "pg_dump",
        "--no-owner",
        "--dbname",
        plain_url(original),
    ]
    told = subprocess.run(dump, check=True, capture_output=True).stdout
    restore: list[str | Path] = [postgresql.bin / "psql", "--quiet", "--set=ON_ERROR_STOP=1"]
    restore += ["--dbname", plain_url(empty)]
    subprocess.run(restore, check=True, capture_output=True, input=told)


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
    issue = await all_of_it.scene.issue("/orchestrate add more")
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
    postgresql: Cluster, bots: Nursery, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, bots, SLOW) as all_of_it:
        await all_of_it.begin_all("web", "worker", "worker", "worker")
        issue = await all_of_it.scene.issue("/orchestrate add a note")
        killed = await all_of_it.until_at_work("begun")
        somebody_else_sweeps(all_of_it)
        await killed.end()
        died = time.monotonic()
        as_the_first_version_had_it(all_of_it)
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
        said = await all_of_it.scene.comments(issue)
        assert len([body for body in said if ":attention:" not in body]) == 1


async def test_what_was_taken_and_not_begun_is_another_s_within_ten_seconds(
    postgresql: Cluster, bots: Nursery, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, bots, AGENT) as all_of_it:
        await all_of_it.begin_all("web")
        await all_of_it.begin_to_die("worker", "admitted #1")
        issue = await all_of_it.scene.issue("/orchestrate add a note")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await all_of_it.programs[-1].life.ended == -signal.SIGKILL
        died = time.monotonic()
        assert all_of_it.rows("SELECT admitted FROM queue") == [(True,)]
        all_of_it.programs.pop()
        await all_of_it.begin_all("worker")
        await all_of_it.until_recorded(issue, "started")
        assert time.monotonic() - died < TAKEOVER_SECONDS
        await all_of_it.until_shown(issue, READY)
        assert all_of_it.rows("SELECT * FROM queue") == []


def somebody_else_sweeps(all_of_it: Fleet) -> None:
    """Let the post of who looks for lost segments be one's who lives and does nothing.

    As it is for the time of a lease when that one dies: nobody must wait for it.
    """
    with psycopg.connect(plain_url(all_of_it.database)) as connection:
        connection.execute(
            "INSERT INTO workers (id, role, host, pid, started_at, until) VALUES ('idle', 'worker',"
            " 'elsewhere', 1, now(), now() + interval '1 hour')"
        )
        connection.execute("UPDATE posts SET worker = 'idle' WHERE name = 'sweeper'")


def as_the_first_version_had_it(all_of_it: Fleet) -> None:
    """Let the segment at work be one that a worker of the first version began.

    It named no round, and had the engine write down each step: here the start of the run.
    """
    with psycopg.connect(plain_url(all_of_it.database)) as connection:
        query = "SELECT workflow_uuid, given.inputs FROM dbos.workflow_status "
        query += "JOIN dbos.workflow_input AS given USING (workflow_uuid) WHERE status = 'PENDING'"
        [(name, inputs)] = connection.execute(query.encode()).fetchall()
        given = json.loads(inputs)
        assert given["positionalArgs"].pop() == 0
        put = "UPDATE dbos.workflow_input SET inputs = %s WHERE workflow_uuid = %s"
        connection.execute(put.encode(), (json.dumps(given), name))
        step = "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, "
        step += "output, serialization) VALUES (%s, 1, 'advance', 'true', 'portable_json')"
        connection.execute(step.encode(), (name,))


async def test_a_worker_that_stood_still_ends_itself_and_writes_nothing(
    postgresql: Cluster, bots: Nursery, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, bots, SLOW) as all_of_it:
        await all_of_it.begin_all("web", "worker", "worker")
        issue = await all_of_it.scene.issue("/orchestrate add a note")
        stopped = await all_of_it.until_at_work("begun")
        stopped.life.kill(signal.SIGSTOP)
        died = time.monotonic()
        await all_of_it.until_recorded(issue, "turn_ended")
        assert time.monotonic() - died < TAKEOVER_SECONDS
        stopped.life.kill(signal.SIGCONT)
        assert await stopped.life.ended == LOST
        await all_of_it.merged(issue)
        record = all_of_it.record(issue)
        assert [each["seq"] for each in record] == [*range(1, len(record) + 1)]
        kinds = [each["type"] for each in record]
        assert (kinds.count("turn_started"), kinds.count("checkpointed")) == (2, 1)


async def test_a_worker_that_is_told_to_end_hands_on_what_its_agent_did(
    postgresql: Cluster, bots: Nursery, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, bots, SLOW) as all_of_it:
        await all_of_it.begin_all("web", "worker", "worker", drain_seconds=0.0)
        issue = await all_of_it.scene.issue("/orchestrate add a note")
        ended = await all_of_it.until_at_work("begun")
        await ended.end(signal.SIGTERM)
        await all_of_it.merged(issue)
        record = all_of_it.record(issue)
        made = [each["data"] for each in record if each["type"] == "checkpointed"]
        assert [each["kind"] for each in made] == ["interrupted", "agent"]
        assert not any(each["data"].get("lost") for each in record)


async def test_a_database_that_is_killed_and_comes_back_loses_and_doubles_nothing(
    postgresql: Cluster, bots: Nursery, tmp_path: Path
) -> None:
    async with fleet(tmp_path, postgresql, bots, WAITING) as all_of_it:
        await all_of_it.begin_all("web", "worker", lease_seconds=60.0)
        issue = await all_of_it.scene.issue("/orchestrate add a note")
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
