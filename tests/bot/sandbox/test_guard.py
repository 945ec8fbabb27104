"""What the processes of a job may take together, by control groups and by watching."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bot.sandbox import bubblewrap, cgroups
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.cgroups import PREFIX, Cgroups, Place
from bot.sandbox.guard import Guard, tree, usage
from bot.sandbox.landlock import Landlock
from bot.sandbox.model import MEGABYTE, Limits, Sandbox
from bot.sandbox.none import NoSandbox
from tests.bot.sandbox.conftest import MakeJob, alive, pids, until

HELD = cgroups.find()
LIMITS = Limits(memory_bytes=96 * MEGABYTE, processes=40, cpus=0.5)

EAT = "import time\nheld = []\nwhile True:\n    held.append(bytearray(b'x' * 2**22))\n"
EAT_TOGETHER = (
    "import os, time\n"
    "for _ in range(6):\n"
    "    if os.fork() == 0:\n"
    "        held = bytearray(b'x' * 2**25)\n"
    "        time.sleep(60)\n"
    "time.sleep(60)\n"
)
# A bomb with an end, so that a failure of this test does not take the machine.
FORK = (
    "import os, time\n"
    "count = 0\n"
    "try:\n"
    "    for count in range(300):\n"
    "        if os.fork() == 0:\n"
    "            time.sleep(60)\n"
    "            os._exit(0)\n"
    "except OSError as error:\n"
    "    print('refused', error.errno)\n"
    "print(count)\n"
    "time.sleep(1)\n"
)


def sandboxes(held: Cgroups) -> list[Sandbox]:
    return [
        Bubblewrap(limits=LIMITS, cgroups=held),
        Landlock(limits=LIMITS, cgroups=held),
        NoSandbox(limits=LIMITS, cgroups=held),
    ]


WATCHED = [pytest.param(each, id=f"{each.name}-watched") for each in sandboxes(Cgroups())]
GROUPED = [
    pytest.param(
        each,
        id=f"{each.name}-groups",
        marks=pytest.mark.skipif(
            not {"memory", "pids"} <= HELD.controllers, reason="no control groups to be had here"
        ),
    )
    for each in sandboxes(HELD)
]


@pytest.mark.parametrize("sandbox", [*GROUPED, *WATCHED])
@pytest.mark.parametrize("program", [EAT, EAT_TOGETHER], ids=["one", "together"])
async def test_memory_is_limited(sandbox: Sandbox, make_job: MakeJob, program: str) -> None:
    ended = await sandbox.run(make_job("", argv=("python3", "-c", program), seconds=20))
    assert (ended.how, ended.code) == ("out_of_memory", None)
    assert ended.seconds < 15


@pytest.mark.parametrize("sandbox", GROUPED)
async def test_processes_are_refused(sandbox: Sandbox, make_job: MakeJob) -> None:
    ended = await sandbox.run(make_job("", argv=("python3", "-c", FORK)))
    refused, count = ended.tail.splitlines()
    assert refused == "refused 11"
    assert int(count) < LIMITS.processes


@pytest.mark.parametrize("sandbox", WATCHED)
async def test_too_many_processes_are_seen_or_refused(sandbox: Sandbox, make_job: MakeJob) -> None:
    ended = await sandbox.run(make_job("", argv=("python3", "-c", FORK)))
    assert ended.how == "too_many_processes" or "refused 11" in ended.tail


@pytest.mark.skipif("cpu" not in HELD.controllers, reason="no control groups to be had here")
async def test_a_job_does_not_take_more_than_its_share_of_the_processor(make_job: MakeJob) -> None:
    spin = (
        "import os, time\n"
        "end = time.monotonic() + 2\n"
        "while time.monotonic() < end:\n"
        "    pass\n"
        "print(sum(os.times()[:2]))\n"
    )
    ended = await Bubblewrap(limits=LIMITS, cgroups=HELD).run(
        make_job("", argv=("python3", "-c", spin))
    )
    assert float(ended.tail) < 1.5


@pytest.mark.skipif(not HELD.places, reason="no control groups to be had here")
async def test_no_group_is_left(make_job: MakeJob) -> None:
    for script in ("true", "setsid sleep 60 & exit 3"):
        await Bubblewrap(cgroups=HELD).run(make_job(script))
        assert not [each for each in groups() if f"-{os.getpid()}-" in each.name]


OWNER = """
import asyncio, os, signal, sys
from pathlib import Path
from bot.sandbox import bubblewrap, cgroups, landlock, none
from bot.sandbox.guard import Guard
from bot.sandbox.model import Job
folder, script, kind, how = Path(sys.argv[1]), *sys.argv[2:]
kinds = {
    "bubblewrap": bubblewrap.Bubblewrap, "landlock": landlock.Landlock, "none": none.NoSandbox
}
async def cut_off(self, first):
    # The job's first process is there, and has not been let go.
    print(first, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
if how not in ("whole", "groupless"):
    Guard.begin = cut_off
if how == "unawaited":
    bubblewrap.waiting = none.waiting = tuple
# Not even a group, which the sweep of a neighbouring test would find.
held = cgroups.find() if how == "whole" and kind != "none" else cgroups.Cgroups()
sandbox = kinds[kind](cgroups=held)
job = Job(argv=("/bin/sh", "-c", script), workspace=folder / "w", home=folder / "home",
          seconds=60, output_bytes=1000)
asyncio.run(sandbox.run(job))
"""
"""A bot of one job, which may be killed before it lets that begin.

`whole` is as it is; `groupless` has no groups, by which a neighbour would end what outlives it.
"""


async def own(
    folder: Path, script: str, kind: str, how: str = "whole"
) -> asyncio.subprocess.Process:
    """Start a bot with a job."""
    (folder / "w").mkdir()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(folder), script, kind, how),
        stdout=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("kind", "how"),
    [("bubblewrap", "whole"), ("bubblewrap", "groupless"), ("landlock", "groupless")],
)
async def test_a_killed_bot_leaves_nothing(tmp_path: Path, nap: str, kind: str, how: str) -> None:
    script = f"setsid {nap} & (setsid {nap} &) ; exec 2>&- >&-; {nap}"
    owner = await own(tmp_path, script, kind, how)
    try:
        assert await until(lambda: alive(nap), 10)
    finally:
        owner.send_signal(signal.SIGKILL)
        await owner.wait()
    assert await until(lambda: not alive(nap), 3)
    assert str(tmp_path) not in mounts()
    HELD.sweep()
    assert not [each for each in groups() if f"-{owner.pid}-" in each.name]


@pytest.mark.parametrize("kind", ["bubblewrap", "landlock", "none"])
async def test_a_bot_killed_before_its_job_begins_leaves_nothing(
    tmp_path: Path, nap: str, kind: str
) -> None:
    owner = await own(tmp_path, f"touch began; exec {nap}", kind, "awaited")
    out, _ = await owner.communicate()
    assert owner.returncode == -signal.SIGKILL
    assert await until(lambda: is_over(int(out)), 20)
    assert not (tmp_path / "w" / "began").exists()


TRIES = 10
"""Jobs that are begun until one of them outlives its bot."""


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
async def test_a_job_that_awaits_no_word_outlives_a_bot_killed_before_it_begins(
    tmp_path: Path, nap: str, kind: str
) -> None:
    # What shows that the test above would fail where no word is waited for: not each time, since a
    # job that was quick has asked already to end with its bot.
    for attempt in range(TRIES):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        owner = await own(folder, f"touch began; exec {nap}", kind, "unawaited")
        out, _ = await owner.communicate()
        if await until(lambda: alive(nap) or is_over(int(out)), 20) and alive(nap):  # noqa: B023
            break
    assert (folder / "w" / "began").exists()
    for pid in pids(nap):
        os.kill(pid, signal.SIGKILL)


async def test_without_a_sandbox_something_outlives_a_killed_bot(tmp_path: Path, nap: str) -> None:
    # What shows that the test above would fail where nothing protects.
    owner = await own(tmp_path, nap, "none")
    assert await until(lambda: alive(nap), 10)
    owner.kill()
    await owner.wait()
    await asyncio.sleep(1)
    left = pids(nap)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left


def test_groups_of_the_living_and_of_strangers_are_not_swept(tmp_path: Path) -> None:
    ours = Path("/proc/self/ns/pid").stat().st_ino
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    living = tmp_path / f"{PREFIX}{ours}-{os.getpid()}-{started}-0"
    again = tmp_path / f"{PREFIX}{ours}-{os.getpid()}-1-0"
    stranger = tmp_path / f"{PREFIX}1-{os.getpid()}-1-0"
    other = tmp_path / "user.slice"
    for each in (living, again, stranger, other):
        each.mkdir()
    Cgroups((Place(tmp_path, 1, frozenset({"cpu"})),)).sweep()
    assert {each.name for each in tmp_path.iterdir()} == {living.name, stranger.name, "user.slice"}


def test_a_group_of_version_2_is_written_as_that(tmp_path: Path) -> None:
    # The file system of control groups makes these files itself; here the last write is seen.
    held = Cgroups((Place(tmp_path, 2, frozenset({"memory", "pids", "cpu"})),))
    assert held.version("memory") == 2
    group = held.make(Limits(memory_bytes=1000, processes=7, cpus=0.5))
    assert group is not None
    (folder,) = tmp_path.iterdir()
    written = {each.name: each.read_text() for each in folder.iterdir()}
    assert written == {
        "memory.max": "1000",
        "memory.oom.group": "1",
        "pids.max": "7",
        "cpu.max": "50000 100000",
    }
    assert not group.out_of_memory()
    (folder / "memory.events").write_text("oom 3\noom_kill 1\n")
    assert group.out_of_memory()
    group.add(4242)
    assert (folder / "cgroup.procs").read_text() == "4242"
    group.kill()
    assert (folder / "cgroup.kill").read_text() == "1"


def unified() -> Path | None:
    """A hierarchy of version 2 in which groups can be made, whatever controllers it has."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point, _, kind = line.partition(" - ")
        folder = Path(point.split()[4])
        if kind.startswith("cgroup2 ") and os.access(folder, os.W_OK):
            return folder
    return None


@pytest.mark.skipif(unified() is None, reason="no version 2 to be had here")
async def test_a_group_of_version_2_ends_all_that_is_in_it(nap: str) -> None:
    folder = unified()
    assert folder is not None
    group = Cgroups((Place(folder, 2, frozenset()),)).make(Limits())
    assert group is not None
    (place,) = group.places
    script = f"read go; setsid {nap} & exec {nap}"
    first = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", script, stdin=asyncio.subprocess.PIPE
    )
    try:
        group.add(first.pid)
        assert first.stdin is not None
        first.stdin.write(b"go\n")
        assert await until(lambda: len(pids(nap)) == 2, 10)
        assert not group.remove_now()
        held = (place.folder / "cgroup.procs").read_text().split()
        assert set(map(int, held)) == set(pids(nap))
    finally:
        group.kill()
    assert await first.wait() == -signal.SIGKILL
    assert await until(lambda: not alive(nap), 5)
    await group.remove()
    assert not place.folder.exists()


def test_the_tree_of_a_process_is_known() -> None:
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        assert child in tree(parent)
        memory, threads = usage(child, 0)
        assert memory > 1024 * 1024
        assert threads == 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def is_over(pid: int) -> bool:
    """Whether a process has ended, and so all of a namespace that it was the first of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def groups() -> set[Path]:
    return {
        each
        for place in HELD.places
        for each in place.folder.iterdir()
        if each.name.startswith(PREFIX)
    }


async def test_a_job_is_let_go_when_its_first_process_is_sure_to_end_with_bubblewrap(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # It makes what waits for the word, and asks for its death signal beside that. Held up in
    # between, it would outlive a bot that dies once the word is given.
    began = tmp_path / "workspace" / "began"
    tied, limited = bubblewrap._Namespace.tied, Guard.begin
    first: list[int] = []

    async def begin(self: Guard, pid: int) -> None:
        first.append(pid)
        await limited(self, pid)

    async def held_up(self: bubblewrap._Namespace) -> None:
        os.kill(first[0], signal.SIGSTOP)
        waits = asyncio.create_task(tied(self))
        await asyncio.wait({waits}, timeout=0.2)
        assert not waits.done()
        assert not began.exists()
        os.kill(first[0], signal.SIGCONT)
        await waits

    monkeypatch.setattr(Guard, "begin", begin)
    monkeypatch.setattr(bubblewrap._Namespace, "tied", held_up)
    ended = await Bubblewrap().run(make_job("touch began"))
    assert (ended.how, ended.code) == ("exited", 0)
    assert began.exists()
