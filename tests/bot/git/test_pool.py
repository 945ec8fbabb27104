from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pygit2
import pytest

from bot.errors import Refused, TransientError
from bot.git import candidate, objects, pool, refs
from bot.git.candidate import Made, Source
from bot.git.merge import MergeConflict
from bot.git.mirror import Mirror
from bot.git.pool import Pool
from policies.facts import Change

from .conftest import AT, BOT

HELD_MS = 50.0
"""How long no call may hold the event loop."""


@pytest.fixture
async def workers() -> AsyncIterator[Pool]:
    made = Pool(2)
    yield made
    await made.stop()


async def test_a_worker_answers_and_is_used_again(workers: Pool, mirror: Mirror, head: str) -> None:
    first = await workers.call(os.getpid)
    assert first != os.getpid()
    assert await workers.call(os.getpid) == first
    assert await workers.call(objects.tree_of, mirror, head) == objects.tree_of(mirror, head)
    assert await workers.call(len, b"x" * 5_000_000) == 5_000_000


async def test_there_are_no_more_of_them_than_allowed(workers: Pool) -> None:
    async def slow() -> int:
        await workers.call(time.sleep, 0.1)
        return await workers.call(os.getpid)

    assert len(set(await asyncio.gather(*(slow() for _ in range(6))))) == 2


async def test_errors_come_as_they_were_raised(workers: Pool, mirror: Mirror, head: str) -> None:
    with pytest.raises(refs.RefMoved) as caught:
        await workers.call(refs.set_ref, mirror, "refs/heads/orchestrate/x", head, "1" * 40)
    assert (caught.value.ref, caught.value.now) == ("refs/heads/orchestrate/x", None)
    with pytest.raises(Refused, match="is not in the mirror"):
        await workers.call(objects.tree_of, mirror, "1" * 40)
    with pytest.raises(ZeroDivisionError):
        await workers.call(divmod, 1, 0)
    assert issubclass(MergeConflict, Refused)


async def test_a_worker_that_is_killed_is_replaced(workers: Pool) -> None:
    pid = await workers.call(os.getpid)
    call = asyncio.create_task(workers.call(time.sleep, 30))
    await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TransientError, match="A git worker died at sleep"):
        await call
    assert await workers.call(os.getpid) != pid


async def test_a_call_that_takes_too_long_is_ended(
    workers: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = await workers.call(os.getpid)
    monkeypatch.setattr(pool, "CALL_SECONDS", 0.05)
    with pytest.raises(TransientError, match="sleep took longer than"):
        await workers.call(time.sleep, 30)
    assert _is_gone(pid)


async def test_who_is_cancelled_ends_the_work(workers: Pool) -> None:
    pid = await workers.call(os.getpid)
    call = asyncio.create_task(workers.call(time.sleep, 30))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert _is_gone(pid)


@pytest.mark.slow
def test_workers_die_with_a_server_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(
        "import asyncio, os, time\n"
        "from bot.git.pool import Pool\n"
        "async def main():\n"
        "    pool = Pool(1)\n"
        "    print(await pool.call(os.getpid), flush=True)\n"
        "    await pool.call(time.sleep, 60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        server.kill()
    deadline = time.monotonic() + 10
    while not _is_gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@contextlib.asynccontextmanager
async def held() -> AsyncIterator[list[float]]:
    """Gather for how many ms the loop was held at a time, by its own processor time.

    How long the machine lets others go first is its affair.
    """
    gaps: list[float] = []
    ticked = asyncio.Event()

    async def tick() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            gaps.append((now - last) * 1000)
            last = now
            ticked.set()

    ticking = asyncio.create_task(tick())
    try:
        yield gaps
        ticked.clear()
        await ticked.wait()  # else what held it last goes unseen
    finally:
        ticking.cancel()


async def test_a_large_checkpoint_does_not_hold_the_loop(
    workers: Pool, mirror: Mirror, head: str, tmp_path: Path
) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    for number in range(30):
        (folder / f"file{number}").write_bytes(os.urandom(2**20))
    source = Source(folder, objects.tree_of(mirror, head), whole=True)
    await workers.call(os.getpid)
    made = Made("A turn\n", BOT, BOT, AT)
    async with held() as gaps:
        found = await workers.call(candidate.take, mirror, source, head, made)
    assert found.tree != objects.tree_of(mirror, head)
    assert max(gaps) < HELD_MS, sorted(gaps)[-5:]
    assert len(gaps) > 20


async def test_a_long_answer_does_not_hold_the_loop(workers: Pool) -> None:
    """What a worker tells of very many files is made objects of beside the loop."""
    told = pickle.dumps(
        [Change(f"f{n}", None, "added", 0, 33188, n, 0, False, n) for n in range(50_000)]
    )
    await workers.call(os.getpid)
    async with held() as gaps:
        found = await workers.call(pickle.loads, told)
    assert found[-1].path == "f49999"
    assert max(gaps) < HELD_MS, sorted(gaps)[-5:]


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


async def test_an_error_of_libgit2_comes_as_one_of_ours(workers: Pool, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="The mirror cannot be used: "):
        await workers.call(pygit2.Repository, str(tmp_path))
    assert await workers.call(divmod, 7, 2) == (3, 1), "and the worker lives"
