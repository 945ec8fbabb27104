"""Hostile programs in each sandbox: what the table promises is refused.

Each is run twice: in the sandbox, where it must fail, and in one from which that one protection was
taken away, where it must succeed, or else the test would prove nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox import bubblewrap, landlock
from bot.sandbox.bubblewrap import SHM_BYTES, Bubblewrap, Descriptors
from bot.sandbox.cgroups import find
from bot.sandbox.landlock import Landlock
from bot.sandbox.launcher import EVERYTHING, READING
from bot.sandbox.model import MEGABYTE, Job, Limits, Sandbox
from bot.sandbox.none import NoSandbox
from bot.sandbox.protections import TABLE, of_machine
from bot.sandbox.rights import uid_for_jobs
from tests.bot.sandbox import hostile
from tests.bot.sandbox.conftest import MakeJob, alive, pids, until
from tests.bot.sandbox.hostile import GOT, program

HELD = find()
SMALL = Limits(memory_bytes=96 * MEGABYTE, processes=40, cpus=0.1)
WIDE = Limits(cpus=1000)
STRONG: dict[str, Sandbox] = {
    "bubblewrap": Bubblewrap(limits=SMALL, cgroups=HELD),
    "landlock": Landlock(limits=SMALL, cgroups=HELD),
}
PROC = ("--proc", "/proc", "--remount-ro", "/proc")
LIBC = ctypes.CDLL(None, use_errno=True)

Target = Callable[[Path], AbstractContextManager[str]]
Weaken = Callable[[str], Sandbox]


@dataclass(frozen=True, slots=True)
class Weak(Bubblewrap):
    """bubblewrap without some of its options, or with `more`."""

    without: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    filtered: bool = True
    instead: dict[str, str] = field(default_factory=dict)

    def arguments(self, job: Job, uid: int | None, descriptors: Descriptors) -> list[str]:
        given = Bubblewrap.arguments(self, job, uid, descriptors)
        if "--unshare-pid" in self.without:
            # Without a process namespace there is no /proc to be made, only the host's.
            at = given.index("--proc")
            given[at : at + len(PROC)] = ["--ro-bind", "/proc", "/proc"]
        at = given.index("--chdir")
        given[at:at] = self.more
        return [self.instead.get(word, word) for word in given if word not in self.without]

    def filter(self) -> bytes | None:
        return Bubblewrap.filter(self) if self.filtered else None


@dataclass(frozen=True, slots=True)
class Weaker(Landlock):
    """Landlock with more rules, or with fewer kinds of them."""

    more: tuple[tuple[str, int], ...] = ()
    ports: bool = True
    scopes: bool = True
    filtered: bool = True

    def rules(self, job: Job) -> list[tuple[str, int]]:
        return [*Landlock.rules(self, job), *self.more]

    def handled(self) -> tuple[bool, bool]:
        return self.ports, self.scopes

    def filter(self) -> bytes | None:
        return Landlock.filter(self) if self.filtered else None


# -- what is to be reached


@contextlib.contextmanager
def nothing(_folder: Path) -> Iterator[str]:
    yield ""


@contextlib.contextmanager
def a_file(folder: Path) -> Iterator[str]:
    file = folder / "theirs" / "secret"
    file.parent.mkdir()
    file.write_text("hidden")
    file.chmod(0o666)
    yield str(file)


@contextlib.contextmanager
def a_file_of_root(folder: Path) -> Iterator[str]:
    file = folder / "tools" / "key"
    file.parent.mkdir()
    file.write_text("hidden")
    file.chmod(0o600)
    yield str(file)


@contextlib.contextmanager
def a_process(_folder: Path) -> Iterator[str]:
    """A process of the jobs' own user, which no difference of users protects."""
    with victim("3600") as process:
        yield str(process.pid)


@contextlib.contextmanager
def a_name(_folder: Path) -> Iterator[str]:
    seconds = f"3000.{secrets.randbelow(10**12):012d}"
    with victim(seconds):
        yield f"sleep {seconds}"


@contextlib.contextmanager
def victim(seconds: str) -> Iterator[subprocess.Popen[bytes]]:
    user = uid_for_jobs()
    process = subprocess.Popen(
        ["sleep", seconds], env={"ORCHESTRATE_ESCAPE": "1"}, user=user, group=user
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def a_port(_folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@contextlib.contextmanager
def a_port_of_datagrams(_folder: Path) -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while (said := server.recvfrom(100))[0] != b"end":
                    server.sendto(b"hello", said[1])

        port = server.getsockname()[1]
        answering = threading.Thread(target=answer)
        answering.start()
        yield str(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", ("127.0.0.1", port))
        answering.join()


@contextlib.contextmanager
def a_unix_socket(folder: Path) -> Iterator[str]:
    path = folder / "theirs" / "socket"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o777)
        server.listen()
        yield str(path)


@contextlib.contextmanager
def an_abstract_socket(_folder: Path) -> Iterator[str]:
    name = f"orchestrate-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()
        yield f"@{name}"


@contextlib.contextmanager
def shared_memory(_folder: Path) -> Iterator[str]:
    key = secrets.randbelow(2**31 - 1) + 1
    segment = LIBC.shmget(key, 4096, 0o1666)  # IPC_CREAT, for all
    assert segment >= 0
    try:
        yield str(key)
    finally:
        LIBC.shmctl(segment, 0, None)  # IPC_RMID


# -- sandboxes without one protection


def shown(target: str) -> Sandbox:
    folder = str(Path(target).parent)
    way = ("--perms", "0755", "--dir", str(Path(folder).parent))
    return Weak(more=(*way, "--bind", folder, folder))


def read_allowed(target: str) -> Sandbox:
    return Weaker(more=((str(Path(target).parent), READING),))


def write_allowed(target: str) -> Sandbox:
    return Weaker(more=((str(Path(target).parent), EVERYTHING),))


def without(*options: str) -> Weaken:
    return lambda _: Weak(without=options)


def unfiltered(_target: str) -> Sandbox:
    return Weak(filtered=False)


def landlock_unfiltered(_target: str) -> Sandbox:
    return Weaker(filtered=False)


def open_network(_target: str) -> Sandbox:
    return Weaker(ports=False, scopes=False, filtered=False)


def unconfined(_target: str) -> Sandbox:
    return NoSandbox()


def wide(kind: str) -> Weaken:
    return lambda _: (
        Bubblewrap(limits=WIDE, cgroups=HELD)
        if kind == "bubblewrap"
        else Landlock(limits=WIDE, cgroups=HELD)
    )


WIDE_BOTH: dict[str, Weaken] = {"bubblewrap": wide("bubblewrap"), "landlock": wide("landlock")}


@dataclass(frozen=True, slots=True)
class Attack:
    """A hostile program, what it is after, and for each sandbox the one where it gets that."""

    protection: str
    name: str
    weak: dict[str, Weaken]
    target: Target = nothing
    job: dict[str, Any] = field(default_factory=dict)
    weak_job: dict[str, Any] = field(default_factory=dict)


FILES = "the host's files cannot be read"
WRITES = "nothing but workspace, home and scratch can be written"
OF_ROOT = "files of root in the folders that it is shown"
MEMORY = "the bot's environment and memory"
ENDED = "other processes cannot be ended"
NETWORK = "no network but the doors"
UNIX = "no unix sockets of the host, abstract or by path"

ATTACKS = (
    Attack(FILES, "READ", {"bubblewrap": shown, "landlock": read_allowed}, a_file),
    Attack(FILES, "READ_BY_LINK", {"bubblewrap": shown, "landlock": read_allowed}, a_file),
    Attack(WRITES, "WRITE", {"bubblewrap": shown, "landlock": write_allowed}, a_file),
    Attack(WRITES, "CUT_SHORT", {"bubblewrap": shown, "landlock": write_allowed}, a_file),
    Attack(
        OF_ROOT,
        "READ",
        {"bubblewrap": lambda _: Bubblewrap(uid=None), "landlock": lambda _: Landlock(uid=None)},
        a_file_of_root,
    ),
    Attack(MEMORY, "ENVIRONMENT", {"bubblewrap": unconfined, "landlock": unconfined}, a_process),
    Attack(MEMORY, "MEMORY_OF_ANOTHER", {"bubblewrap": unconfined}, a_process),
    Attack(MEMORY, "TRACE", {"bubblewrap": unconfined, "landlock": unconfined}, a_process),
    Attack(
        "other processes cannot be seen", "SEE", {"bubblewrap": without("--unshare-pid")}, a_name
    ),
    Attack(
        ENDED,
        "END",
        {
            "bubblewrap": without("--unshare-pid"),
            "landlock": lambda _: Weaker(scopes=False),
        },
        a_process,
    ),
    Attack(
        NETWORK,
        "CONNECT",
        {"bubblewrap": without("--unshare-net"), "landlock": lambda _: Weaker(ports=False)},
        a_port,
    ),
    Attack(
        NETWORK,
        "DATAGRAM",
        {"bubblewrap": without("--unshare-net"), "landlock": landlock_unfiltered},
        a_port_of_datagrams,
    ),
    Attack(
        NETWORK,
        "MPTCP",
        {"bubblewrap": without("--unshare-net"), "landlock": open_network},
        a_port,
    ),
    Attack(
        NETWORK,
        "FAST_OPEN",
        {"bubblewrap": without("--unshare-net"), "landlock": open_network},
        a_port,
    ),
    Attack(UNIX, "UNIX", {"bubblewrap": shown, "landlock": open_network}, a_unix_socket),
    Attack(
        UNIX,
        "UNIX",
        {"bubblewrap": without("--unshare-net"), "landlock": open_network},
        an_abstract_socket,
    ),
    Attack(
        "no shared memory or queues with other processes",
        "SHARED_MEMORY",
        {"bubblewrap": without("--unshare-ipc")},
        shared_memory,
    ),
    Attack("no rights to gain", "RIGHTS", {"bubblewrap": unconfined, "landlock": unconfined}),
    Attack(
        "no namespaces within",
        "NAMESPACES",
        {
            "bubblewrap": lambda _: Weak(uid=None, disable_userns=False, filtered=False),
            "landlock": landlock_unfiltered,
        },
    ),
    Attack(
        "no keyrings, bpf, io_uring, mounts and their like",
        "CALLS",
        {"bubblewrap": unfiltered, "landlock": landlock_unfiltered},
    ),
    Attack("memory", "MEMORY", WIDE_BOTH),
    Attack("processes", "PROCESSES", WIDE_BOTH),
    Attack("processor", "PROCESSOR", WIDE_BOTH),
    Attack(
        "scratch space",
        "SCRATCH",
        {"bubblewrap": lambda _: Weak(instead={str(SHM_BYTES): str(2 * SHM_BYTES)})},
    ),
    Attack(
        "time and output",
        "FLOOD",
        WIDE_BOTH,
        job={"output_bytes": 1000},
        weak_job={"output_bytes": 1_000_000},
    ),
)
# Those whose tests need something of their own, below and in test_guard.py.
APART = {
    "size of one file",
    "no process outlives the job",
    "no process outlives a bot that is killed",
}


def promised(protection: str, kind: str) -> bool:
    """Whether the table says that it is given on this machine."""
    return any(each.given for each in of_machine(STRONG[kind]) if each.name == protection)


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        pytest.param(attack, kind, id=f"{kind}-{attack.name}-{attack.target.__name__}")
        for attack in ATTACKS
        for kind in attack.weak
    ],
)
async def test_it_is_refused(attack: Attack, kind: str, make_job: MakeJob, tmp_path: Path) -> None:
    if not promised(attack.protection, kind):
        pytest.skip("not in force on this machine")
    if attack.name == "CALLS" and platform.machine() != "x86_64":
        pytest.skip("the program has the numbers of x86_64")
    if attack.protection == OF_ROOT and os.geteuid() != 0:
        pytest.skip("the files of this user are no other's")
    with attack.target(tmp_path) as target:
        readable = (Path(target).parent,) if attack.protection == OF_ROOT else ()
        job = make_job(
            "",
            argv=program(getattr(hostile, attack.name)),
            env={"TARGET": target},
            readable=readable,
            **attack.job,
        )
        ended = await STRONG[kind].run(job)
        assert GOT not in ended.tail
        other = tmp_path / "other"
        other.mkdir()
        reached = await attack.weak[kind](target).run(
            replace(job, workspace=other, home=tmp_path / "home-2", **attack.weak_job)
        )
        assert GOT in reached.tail, reached.tail


@pytest.mark.parametrize("kind", STRONG)
async def test_the_metadata_address_is_refused(kind: str, make_job: MakeJob) -> None:
    if not promised(NETWORK, kind):
        pytest.skip("not in force on this machine")
    ended = await STRONG[kind].run(make_job("", argv=program(hostile.METADATA)))
    assert "unreachable" in ended.tail or "Permission denied" in ended.tail
    assert ended.seconds < 1.5


@pytest.mark.parametrize("kind", STRONG)
async def test_a_file_has_a_size(
    kind: str, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("", argv=program(hostile.LARGE_FILE))
    assert "File too large" in (await STRONG[kind].run(job)).tail
    monkeypatch.setattr(bubblewrap, "_LIMITS", ())
    monkeypatch.setattr(landlock, "_resources", lambda *_: [])
    assert GOT in (await STRONG[kind].run(job)).tail


@pytest.mark.parametrize(
    ("kind", "weak"),
    [("bubblewrap", without("--unshare-pid")), ("landlock", unconfined)],
    ids=["bubblewrap", "landlock"],
)
async def test_a_daemon_that_hides_does_not_outlive_the_job(
    kind: str, weak: Weaken, make_job: MakeJob, nap: str
) -> None:
    job = make_job("", argv=program(hostile.DAEMON), env={"TARGET": nap})
    await STRONG[kind].run(job)
    assert not alive(nap)
    await weak("").run(job)
    left = pids(nap)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left
    assert await until(lambda: not alive(nap))


def test_each_protection_of_the_table_is_attacked() -> None:
    assert {each.protection for each in ATTACKS} | APART == {each.name for each in TABLE}
    for each in TABLE:
        attacked = {kind for one in ATTACKS if one.protection == each.name for kind in one.weak}
        for kind in STRONG:
            if each.name not in APART and any(means.given for means in each.means(kind)):
                assert kind in attacked, (each.name, kind)
