"""How many runs are carried out, and what waiting ones cost: `python -m bench.runs [--json]`.

On PostgreSQL, its own cluster with durable commits, and on SQLite:

- runs of an agent that writes one file, with one check, on a local repository, a minute: without
  GitHub, from the first request until all of them wait for a review;
- the same through the hub, from the first comment until all pull requests are ready, the hub on
  the same processors;
- a comment until its agent has started, through the hub, at the median;
- runs that wait for a decision: the memory and the processor that a worker takes while nothing
  happens, and how long after a decision the next piece of work begins.

What bounds the runs a minute is the processor. On PostgreSQL one run takes 0.29 s of it where one
worker has the machine: 0.16 in the worker, 0.08 in the programs that it starts (agent and check in
their sandbox, and fifteen times git and its like, of which five fetch or push), 0.03 in the git
workers, 0.02 in the server. Two workers on both processors take 0.38 s, which is 315 runs a minute.
The worker's share is some 110 questions to the database, 14 of which begin a transaction (with the
look at the lease) and 14 of which end it, three of them the engine's own: half a millisecond each
of SQLAlchemy, psycopg and asyncio, which are half of it. The rest is spread: nothing in it takes
more than a twentieth. 1,000 a minute on two cores would leave 0.12 s for all of it, which is what
the programs that a run starts and the git workers alone take.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from bench.measure import Target, at_least, at_most, conclude
from bot.hub import Credentials, Hub, seed, serve

WORKERS = 2
"""Processes that work on runs where the database is shared: one for each of the two processors."""

SEGMENTS = 8
"""Runs at a time in each of them."""

LOCAL_RUNS, HUB_RUNS, COMMENTS = 120, 40, 11
WAITING, WAKES = 10_000, 100
IDLE_SECONDS = 20.0
PATIENCE_SECONDS = 600.0
LOOK_SECONDS = 0.05
WAKE_SECONDS = 0.4
"""Between two decisions: what a decision sets off takes up to 0.38 s of a processor, and how long
work waits for a place where there is more of it than processors is no matter of waking."""

A_MINUTE = 1000.0
WAITING_MB, WAITING_PERCENT, WAKE_MS = 150.0, 2.0, 1000.0

AGENT = "date +%s.%N > made.txt"
"""What it writes is when it began."""
CHECK = "test -s made.txt"
REPO = "acme/widgets"


# -- one process that works on the runs of a local repository


class Worker:
    """Such a process, told what to do line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Have it do something, and return what it tells."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **given}).encode() + b"\n")
        await self._process.stdin.drain()
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
        assert line, f"the worker ended with {await self._process.wait()}"
        told: dict[str, Any] = json.loads(line)
        return told

    async def end(self) -> None:
        """Let it stop."""
        assert self._process.stdin
        self._process.stdin.close()
        await self._process.wait()


@contextlib.asynccontextmanager
async def working(url: str, folder: Path, count: int) -> AsyncIterator[list[Worker]]:
    """Start processes that work on the runs of one new repository."""
    await asyncio.to_thread(_repository, folder / "tool")
    made = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.runs", "--worker", url, str(folder)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            worker = Worker(process)
            stack.push_async_callback(worker.end)
            await worker.ask("begin")
            made.append(worker)
        yield made


def _repository(folder: Path) -> None:
    if folder.exists():
        return
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("one\n")
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for command in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "."),
        (*who, "commit", "--quiet", "--message=first"),
    ):
        subprocess.run(("git", "-C", folder, *command), check=True)


class Work:
    """What the worker does in its own process."""

    def __init__(self, bot: Any, repository: Any, person: Any) -> None:
        self.bot, self.repository, self.person = bot, repository, person
        self.begun: dict[str, float] = {}
        segments, original = bot.segments, bot.segments.advance

        async def advance(run_id: str, segment: int, step: int) -> bool:
            self.begun.setdefault(run_id, time.perf_counter())
            more: bool = await original(run_id, segment, step)
            return more

        segments.advance = advance

    async def do(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what was asked."""
        match asked.pop("do"):
            case "runs":
                return await self.runs(**asked)
            case "wait":
                return await self.wait(**asked)
            case "cost":
                return await self.cost(**asked)
            case "wake":
                return await self.wake(**asked)
        return {}

    async def runs(self, count: int) -> dict[str, Any]:
        """Carry out runs; tell in how many seconds all of them waited for a review."""
        from bot.runs.transitions import State

        begun = time.perf_counter()
        await asyncio.gather(*(self._request(number) for number in range(count)))
        # Counted by the database: to load all of them that often would be a load of its own.
        while await self._active():  # noqa: ASYNC110  another process works on them, too
            await asyncio.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - begun
        runs = await self.bot.store.all(count)
        assert {run.state for run in runs} == {State.AWAITING_REVIEW}, runs[0].reason
        return {"seconds": seconds}

    async def _active(self) -> int:
        from sqlalchemy import func, select

        from bot.database import runs

        async with self.bot.database.read() as connection:
            found = await connection.scalar(select(func.count()).where(runs.c.active))
        return int(found)

    async def _request(self, number: int) -> Any:
        from bot.events import Event, Type

        data = {
            "base": "main",
            "request": f"note {number}",
            "email": self.person.email,
            "source": {"kind": "cli", "key": os.urandom(8).hex()},
            "agent": "command",
            "agent_command": AGENT,
            "checks": [CHECK],
        }
        at, who = datetime.now(UTC), self.person.name
        event = Event(id="cli:request", at=at, actor=who, type=Type.REQUESTED, data=data)
        return await self.bot.store.create(self.repository, event)

    async def wait(self, count: int) -> dict[str, Any]:
        """Make runs that wait as one that was carried out does."""
        await self.runs(1)
        [like] = await self.bot.store.all(1)
        store = self.bot.store
        for number in range(count):
            name = f"w{number:09d}"
            at = like.created_at - timedelta(days=1)
            other = like.model_copy(
                update={"id": name, "branch": f"{like.branch}-{number}", "created_at": at}
            )
            await store.restore(other, (), ())
            _, mark = await store.to_draw(name)
            await store.drawn(name, mark)
        return {}

    async def cost(self, seconds: float) -> dict[str, Any]:
        """Tell what this process has in memory, and takes of a processor while nothing happens."""
        status = await asyncio.to_thread(Path("/proc/self/status").read_text)
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        begun, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        share = (time.process_time() - used) / (time.perf_counter() - begun)
        return {"mb": int(found[1]) / 1024, "cpu_percent": share * 100}

    async def wake(self, count: int) -> dict[str, Any]:
        """Decide on runs that wait; tell after how many milliseconds work on each began."""
        from bot.events import Event, Type

        waking = [f"w{number:09d}" for number in range(count)]
        decided: dict[str, float] = {}
        for name in waking:
            at, who = datetime.now(UTC), self.person.name
            event = Event(id=f"cli:{name}", at=at, actor=who, type=Type.RETRIED, data={})
            decided[name] = time.perf_counter()
            await self.bot.store.append(name, lambda _, event=event: [event])
            await asyncio.sleep(WAKE_SECONDS)
        while any(name not in self.begun for name in waking):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        return {"ms": [(self.begun[name] - decided[name]) * 1e3 for name in waking]}


async def _work(url: str, folder: Path) -> None:
    """Be a worker: obey the lines on standard input until it is closed."""
    from bot.serve import configure_logging

    configure_logging(quiet=True)
    told = os.fdopen(os.dup(1), "w", buffering=1)
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async with _bot(url, folder) as work:
        while line := await reader.readline():
            answer = await work.do(json.loads(line))
            told.write(json.dumps(answer) + "\n")
        while await work.bot.store.active():  # noqa: ASYNC110  another process works on them, too
            await asyncio.sleep(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def _bot(url: str, folder: Path) -> AsyncIterator[Work]:
    """Compose what works on the runs of a local repository, on either database."""
    from bot.app import compose, environments_of, workspaces
    from bot.database import open_database
    from bot.git.local import LocalForge, open_repository, person
    from bot.git.pool import Pool
    from bot.git.remote import Remote
    from bot.git.shared import SharedWorkbench
    from bot.git.workbench import Workbench
    from bot.runs.store import Store
    from bot.settings import load
    from bot.shared import Shared

    own: dict[str, Any] = {"database_url": url, "data_dir": folder, "workers": SEGMENTS}
    settings = load(**own)
    repository = await open_repository(folder / "tool")
    identity = await person(folder / "tool")
    database = await open_database(url)
    store, shared, place = Store(database), None, folder
    if database.is_shared:
        shared = Shared(url, database, store, "worker", settings.lease_seconds)
        place = shared.take_folder(folder)

    async def address(_: Any) -> Remote:
        return Remote(repository.url)

    made = await workspaces(settings, place)
    stored = environments_of(settings, place, made)
    given: dict[str, Any] = {"environments": stored, "pool": Pool(settings.git_workers)}
    workbench = (
        SharedWorkbench(place, address, identity, made, store, **given)
        if shared
        else Workbench(place, address, identity, made, **given)
    )
    forge = LocalForge(place, identity)
    bot = await compose(settings, store, database, workbench, forge, shared=shared, folder=place)
    await bot.start()
    try:
        yield Work(bot, repository, identity)
    finally:
        await bot.stop()


# -- the product as it is run, with a hub


class City:
    """A hub, the product's own processes, and the people who ask for runs."""

    def __init__(self, folder: Path, hub: Hub, credentials: Credentials, url: str, port: int):
        self._folder, self._hub, self._port = folder, hub, port
        self._people = httpx.AsyncClient(timeout=60)
        self._environment = {
            **os.environ,
            "ORCHESTRATE_DATABASE_URL": url,
            "ORCHESTRATE_DATA_DIR": str(folder / "data"),
            "ORCHESTRATE_GITHUB_API_URL": hub.api_url,
            "ORCHESTRATE_APP_ID": str(credentials.app_id),
            "ORCHESTRATE_PRIVATE_KEY": credentials.private_key,
            "ORCHESTRATE_WEBHOOK_SECRET": credentials.webhook_secret,
            "ORCHESTRATE_WRITE_SPACING_SECONDS": "0",
            "ORCHESTRATE_WORKERS": str(SEGMENTS),
            "ORCHESTRATE_PORT": str(port),
        }

    @contextlib.asynccontextmanager
    async def running(self, *roles: str) -> AsyncIterator[None]:
        """Start the processes; `web` and `serve` at the port that the hub knows."""
        command = (sys.executable, "-c", "from bot.cli import main; main()")
        processes = []
        try:
            for number, role in enumerate(roles):
                port = self._port if role in ("web", "serve") else _free_port()
                with (self._folder / f"{role}-{number}.log").open("wb") as log:
                    processes.append(
                        await asyncio.create_subprocess_exec(
                            *(*command, role, "--port", str(port)),
                            env=self._environment, stdout=log, stderr=log,
                        )
                    )  # fmt: skip
                await self._ready(port)
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                await process.wait()
            await self._people.aclose()

    async def _ready(self, port: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    found = await self._people.get(f"http://127.0.0.1:{port}/readyz")
                    if found.status_code == 200:
                        return
                await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, method: str, path: str, json: Any = None) -> Any:
        url, who = f"{self._hub.api_url}/repos/{REPO}", {"Authorization": "Bearer user:writer"}
        answer = await self._people.request(method, f"{url}{path}", json=json, headers=who)
        answer.raise_for_status()
        return answer.json()

    async def _request(self, name: str) -> tuple[int, float]:
        issue = (await self._ask("POST", "/issues", {"title": name}))["number"]
        begun = time.time()
        body = {"body": f"/orchestrate {name}"}
        await self._ask("POST", f"/issues/{issue}/comments", body)
        return issue, begun

    async def ready(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many pull requests can be reviewed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                pulls = await self._ask("GET", "/pulls?state=open&per_page=100")
                found: list[dict[str, Any]] = [each for each in pulls if not each["draft"]]
                if len(found) >= count:
                    return found
                await asyncio.sleep(LOOK_SECONDS)

    async def comments(self, count: int) -> float:
        """Milliseconds from a comment until the agent has begun, at the median."""
        waited = []
        for number in range(count + 1):
            _, begun = await self._request(f"one {number}")
            newest = max(await self.ready(number + 1), key=lambda pull: pull["number"])
            made = self._git("show", f"{newest['head']['sha']}:made.txt")
            waited.append((float(made) - begun) * 1e3)
        return statistics.median(waited[1:])

    async def runs(self, count: int, before: int) -> float:
        """Runs a minute, of many that are asked for at once."""
        begun = time.perf_counter()
        await asyncio.gather(*(self._request(f"many {number}") for number in range(count)))
        await self.ready(before + count)
        return count * 60 / (time.perf_counter() - begun)

    def _git(self, *args: str) -> str:
        found = self._hub.repository(REPO)
        assert found is not None
        folder = self._hub.bare(found).folder
        command = ["git", "--git-dir", str(folder), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextlib.asynccontextmanager
async def city(folder: Path, url: str) -> AsyncIterator[City]:
    """A fresh hub whose webhooks go to a free port."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    port = _free_port()
    config = {
        "agents": {"writer": {"command": AGENT}},
        "checks": [{"name": "made", "run": CHECK}],
    }
    hub = Hub(folder / "hub", hourly_limit=1_000_000)
    files = {"a.txt": "one\n", ".github/orchestrate.yml": json.dumps(config)}
    credentials = await seed(hub, webhook_url=f"http://127.0.0.1:{port}/webhook", files=files)
    async with serve(hub):
        yield City(folder, hub, credentials, url, port)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# -- all of it


async def _measured(
    given: argparse.Namespace, folder: Path, urls: Sequence[str], *, shared: bool
) -> dict[str, Any]:
    """Measure one database; `urls` are three empty ones."""
    count = WORKERS if shared else 1
    async with working(urls[0], folder / "local", count) as (first, *_):
        await first.ask("runs", count=count)  # the mirror and the base are there from now on
        seconds = (await first.ask("runs", count=given.runs))["seconds"]
    roles = ("web", *["worker"] * count) if shared else ("serve",)
    async with city(folder / "hub", urls[1]) as made, made.running(*roles):
        comment = await made.comments(given.comments)
        hub_runs = await made.runs(given.hub_runs, given.comments + 1)
    async with working(urls[2], folder / "waiting", 1) as (worker,):
        await worker.ask("wait", count=given.waiting)
    async with working(urls[2], folder / "waiting", 1) as (worker,):  # as after a start
        cost = await worker.ask("cost", seconds=given.idle)
        ms = (await worker.ask("wake", count=given.wakes))["ms"]
    return {
        "runs_per_minute": round(given.runs * 60 / seconds, 1),
        "hub_runs_per_minute": round(hub_runs, 1),
        "comment_to_agent_ms_p50": round(comment, 1),
        "waiting": {
            "runs": given.waiting,
            "mb": round(cost["mb"], 1),
            "cpu_percent": round(cost["cpu_percent"], 2),
            "wake_ms_p50": round(statistics.median(ms), 1),
            "wake_ms_p99": round(sorted(ms)[max(0, -(-len(ms) * 99 // 100) - 1)], 1),
        },
    }


async def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure on both databases, and return the object that is printed."""
    from bot.schema import upgrade
    from tests.support.cluster import cluster

    found: dict[str, Any] = {}
    if "postgresql" in given.database:
        with cluster(sync=True) as made:
            urls = [made.database() for _ in range(3)]
            for url in urls:
                await upgrade(url)
            found["postgresql"] = await _measured(given, folder / "postgresql", urls, shared=True)
    if "sqlite" in given.database:
        urls = [f"sqlite:///{folder / name}.db" for name in "abc"]
        found["sqlite"] = await _measured(given, folder / "sqlite", urls, shared=False)
    return found


def targets(found: dict[str, Any]) -> list[Target]:
    """Compare with what was promised."""
    told = []
    for name, each in found.items():
        if name == "postgresql":
            told.append(at_least(f"{name}: runs a minute", A_MINUTE, each["runs_per_minute"]))
        waiting = each["waiting"]
        told += [
            at_most(f"{name}: MB of those that wait", WAITING_MB, waiting["mb"]),
            at_most(f"{name}: % of a core", WAITING_PERCENT, waiting["cpu_percent"]),
            at_most(f"{name}: wake p99", WAKE_MS, waiting["wake_ms_p99"], " ms"),
        ]
    return told


def main() -> int:
    """Measure, and print a line each or, with `--json`, one object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    both = ["postgresql", "sqlite"]
    parser.add_argument("--json", action="store_true", help="print one JSON object, last")
    parser.add_argument("--database", action="append", choices=both, help="only this one")
    parser.add_argument("--runs", type=int, default=LOCAL_RUNS, help="without GitHub, at once")
    parser.add_argument("--hub-runs", type=int, default=HUB_RUNS, help="through the hub, at once")
    parser.add_argument("--comments", type=int, default=COMMENTS, help="one after the other")
    parser.add_argument("--waiting", type=int, default=WAITING, help="runs that wait")
    parser.add_argument("--wakes", type=int, default=WAKES, help="decisions on some of them")
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, help="seconds of nothing")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        asyncio.run(_work(given.worker[0], Path(given.worker[1])))
        return 0
    given.database = given.database or both
    with tempfile.TemporaryDirectory(prefix="bench-runs-") as place:
        Path(place).chmod(0o755)  # jobs are another user
        found = asyncio.run(measure(given, Path(place)))
    return conclude(found, targets(found), as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
