"""Bots that die where they are told to, for the tests of kill -9.

`python -m tests.support.killable` imports the product once, then forks one bot for each line of
JSON that it reads, which takes milliseconds instead of a second. In such a bot whatever has an
effect is wrapped, from outside: each effect that is over is an instant, written to a trace under
its name, and at the first of those in `kill_at` the process kills itself.

Nothing happens between two effects, so the instant before one is that after another. What only
reads has no effect, and what is made of smaller effects has their instants.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import re
import selectors
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bot.shared import Role
from tests.support.commands import load

READS = {
    "Store": {
        *("load", "has", "events", "all", "of_thread", "of_repository", "scheduled", "of_branch"),
        *("active", "dirty", "to_draw", "results", "repository", "repositories"),
        *("drawing", "turn", "pack", "is_current", "in_state", "turns_since", "costs"),
        "without_pull",
        # They change what is shown, or what an older version left.
        *("touch", "line_up"),
    },
    "Inbox": {"waiting", "get", "known", "received_since"},
    "Workbench": {
        *("config", "read", "paths", "tree", "changes", "compare", "recorded", "top", "touched"),
        *("ids", "pushed_commits"),
    },
    "GitHubForge": {"refresh", "remote", "labels", "rules", "surroundings", "reported"},
}
"""What has no effect; whatever else is public and asynchronous counts as one."""

_NUMBERS = re.compile(r"/(\d+|[0-9a-f]{40})(?=/|$)")
_REPOSITORY = re.compile(r"^/repos/[^/]+/[^/]+")


@dataclass(frozen=True, slots=True)
class Order:
    """One life of a bot: `settings` for it, its port, and where it ends.

    It ends at the first of the instants `kill_at`. `role` is what the process does of it, where
    several share a database.
    """

    settings: dict[str, Any]
    port: int
    trace: str
    log: str
    kill_at: Sequence[str] = ()
    role: Role = "serve"


@dataclass(slots=True)
class Life:
    """A bot that lives, as its parent sees it."""

    pid: int
    ended: asyncio.Future[int]

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self.ended.done()

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal; by default kill it as the kernel does."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)


@dataclass(slots=True)
class Nursery:
    """Makes bots."""

    _process: asyncio.subprocess.Process
    _born: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    _lives: dict[int, Life] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def bear(self, order: Order) -> Life:
        """Begin a life."""
        assert self._process.stdin
        async with self._turn:
            self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
            await self._process.stdin.drain()
            return self._lives[await self._born.get()]

    async def listen(self) -> None:
        """Hear of births and deaths, for ever."""
        assert self._process.stdout
        async for line in self._process.stdout:
            told = json.loads(line)
            if "born" in told:
                pid = told["born"]
                self._lives[pid] = Life(pid, asyncio.get_running_loop().create_future())
                self._born.put_nowait(pid)
            else:
                self._lives.pop(told["died"]).ended.set_result(told["status"])


@contextlib.asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """Start the process that bots are forked from; in the end it kills all of them."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.killable"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    made = Nursery(process)
    listening = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        assert process.stdin
        process.stdin.close()
        await process.wait()
        await listening


# -- inside the bot


class Instants:
    """Counts the instants of a life, and ends it at one of them."""

    def __init__(self, order: Order) -> None:
        self._kill_at = frozenset(order.kill_at)
        self._seen: Counter[str] = Counter()
        self._trace = os.open(order.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def reach(self, name: str) -> None:
        """Say that an effect is over."""
        self._seen[name] += 1
        instant = f"{name} #{self._seen[name]}"
        os.write(self._trace, f"{instant}\n".encode())
        if instant in self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


_within: ContextVar[list[str] | None] = ContextVar("within", default=None)
"""The effects inside the effect that is under way."""

Name = Callable[[Mapping[str, Any], Any], str | None]
"""Names an effect by its arguments and its result; None for what has no effect."""


def wrap(instants: Instants, owner: Any, method: str, name: Name) -> None:
    """Make each call of a function an instant when it is over, unless the calls in it were."""
    original = getattr(owner, method)
    signature = inspect.signature(original)

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        around, inside = _within.get(), list[str]()
        token = _within.set(inside)
        try:
            result = await original(*args, **kwargs)
        finally:
            _within.reset(token)
        named = name(signature.bind(*args, **kwargs).arguments, result)
        if named is None:
            return result
        if not inside:
            instants.reach(named)
        if around is not None:
            around.append(named)
        return result

    setattr(owner, method, wrapped)


def wrap_all(instants: Instants) -> None:
    """Wrap whatever of the product has an effect."""
    from bot.agents.desk import AgentDesk
    from bot.checks.desk import CheckDesk
    from bot.deliveries import Inbox
    from bot.git import records, workbench
    from bot.github.client import GitHubApp
    from bot.github.forge import GitHubForge
    from bot.runs.engine import Engine
    from bot.runs.queue import Queue
    from bot.runs.store import Store

    owners = (Store, Inbox, workbench.Workbench, AgentDesk, CheckDesk, GitHubForge)
    for owner in owners:
        for method in _effects(owner):
            wrap(instants, owner, method, _named(f"{owner.__name__}.{method}"))
    for pushes in (workbench, records):
        wrap(instants, pushes, "push", lambda _given, _result: "git push")
    wrap(instants, Queue, "admit", lambda _given, result: "admitted" if result else None)
    wrap(instants, Engine, "_begin_one", _named("begun"))
    wrap(instants, GitHubApp, "send", _request)


def _effects(owner: type) -> Iterator[str]:
    for method, value in vars(owner).items():
        is_public = inspect.iscoroutinefunction(value) and not method.startswith("_")
        if is_public and method not in READS.get(owner.__name__, ()):
            yield method


def _named(name: str) -> Name:
    def named(given: Mapping[str, Any], result: Any) -> str:
        if name == "Inbox.store":
            return f"{name} {given['event']}"
        if name == "Store.append":
            return f"{name} {result.state}{', turn open' if result.turn_open else ''}"
        return name

    return named


def _request(given: Mapping[str, Any], _result: Any) -> str | None:
    if given["method"] == "GET":
        return None
    path = _NUMBERS.sub("/N", urlsplit(given["path"]).path)
    return f"{given['method']} {_REPOSITORY.sub('/repos/R', path)}"


async def _live(order: Order) -> None:
    import uvicorn
    from pydantic import SecretStr

    from bot.app import Server, build
    from bot.door import Door, build_web
    from bot.redact import Redactor
    from bot.serve import configure_logging, listen, web_config
    from bot.settings import load

    instants = Instants(order)
    wrap_all(instants)
    configure_logging()
    given = dict(order.settings)
    for secret in ("private_key", "webhook_secret"):
        given[secret] = SecretStr(given[secret])
    listening = listen("127.0.0.1", order.port)
    settings = load(**given)
    server: Server | Door
    if order.role == "web":
        server = await build_web(settings, Redactor())
    else:
        server = await build(
            settings,
            on_output=lambda _run, line: instants.reach(f"printed {line.strip()}"),
            wait_max=0.2,
            role=order.role,
        )
    await uvicorn.Server(web_config(server)).serve(sockets=[listening])


def _show_tasks(*_: object) -> None:
    """Write down what the bot waits for, for a test's own failure."""
    for task in asyncio.all_tasks():
        task.print_stack()


def _child(order: Order) -> None:
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    code = 1
    signal.signal(signal.SIGUSR1, _show_tasks)
    try:
        asyncio.run(_live(order))
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if code:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        os._exit(code)


def _tell(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Fork a bot for each order on standard input; kill all of them at its end."""
    load()
    living: dict[int, int] = {}
    waiting = b""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd != 0:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    pid = living.pop(key.fd)
                    _tell(died=pid, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    continue
                data = os.read(0, 65_536)
                if not data:
                    _end(living)
                    return
                *lines, waiting = (waiting + data).split(b"\n")
                for line in lines:
                    pid = _fork(Order(**json.loads(line)), living)
                    descriptor = os.pidfd_open(pid)
                    living[descriptor] = pid
                    selector.register(descriptor, selectors.EVENT_READ)
                    _tell(born=pid)


def _fork(order: Order, living: Mapping[int, int]) -> int:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor in living:
            os.close(descriptor)
        _child(order)
    return pid


def _end(living: Mapping[int, int]) -> None:
    for pid in living.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
