"""Many processes at one mirror: nobody breaks another's work, whoever is killed."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from bot.git import leases, locks, refs
from bot.git.mirror import Mirror, ensure, fetch
from bot.git.remote import Remote
from bot.git.soundness import look

from .conftest import commit_all, sh

SECONDS = 6
ROOT = Path(__file__).parents[3]


async def start(role: str, mirror: Mirror, origin: Path, name: str, seconds: float) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bot.git.busy"),
        *(role, str(mirror.path), str(origin), str(seconds), name),
        cwd=ROOT,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    return process


async def finish(process: Process) -> list[str]:
    """Wait for the end of a program; what it did."""
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().split()


async def change(origin: Path, seconds: float) -> None:
    """Let people go on meanwhile: push, force-push, drop branches."""
    first = sh(origin, "rev-parse", "main")
    end = asyncio.get_running_loop().time() + seconds
    number = 0
    while asyncio.get_running_loop().time() < end:
        number += 1
        (origin / "readme.txt").write_text(f"{number} {random.random()}\n")
        await asyncio.to_thread(commit_all, origin)
        await asyncio.to_thread(sh, origin, "branch", "-f", f"topic{number % 3}")
        if number % 7 == 0:
            await asyncio.to_thread(sh, origin, "reset", "-q", "--hard", first)
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_fetchers_readers_writers_and_upkeep_do_not_disturb_one_another(
    mirror: Mirror, origin: Path, remote: Remote
) -> None:
    roles = ["fetch", "fetch", "read", "write", "write", "keep_up"]
    started = [
        await start(role, mirror, origin, f"run{n}", SECONDS) for n, role in enumerate(roles)
    ]
    changing = asyncio.create_task(change(origin, SECONDS - 1))
    done = [await finish(process) for process in started]
    await changing
    await ensure(mirror.path, remote)
    assert all(done)
    assert any("everything_packed_anew" in each for each in done[5]), "the upkeep never had a turn"
    for n in (3, 4):
        ref = f"refs/heads/orchestrate/run{n}"
        there = sh(mirror.path, "rev-list", ref).split()
        assert set(done[n]) <= set(there), "a checkpoint was lost"
    assert refs.resolve(mirror, "main") == sh(origin, "rev-parse", "main")
    assert leases.held(mirror) == frozenset()
    assert look(mirror.path) is None
    assert not list(mirror.path.parent.glob("*.broken-*"))
    sh(mirror.path, "fsck", "--strict")


@pytest.mark.slow
async def test_whoever_is_killed_leaves_no_lock_and_nothing_half_done(
    mirror: Mirror, origin: Path, remote: Remote
) -> None:
    changing = asyncio.create_task(change(origin, SECONDS))
    written: dict[str, list[str]] = {}
    for n in range(10):
        role = ("fetch", "write", "keep_up")[n % 3]
        process = await start(role, mirror, origin, f"run{n}", 60)
        await asyncio.sleep(random.uniform(0.05, 0.4))
        process.kill()
        out, _ = await process.communicate()
        written[f"run{n}"] = out.decode().split() if role == "write" else []
    await changing
    assert leases.sweep(mirror, keep=()) <= written.keys()
    async with asyncio.timeout(10), locks.writing(mirror.path):
        pass  # a git that the killed one had started may hold it for a moment
    commit_all(origin)
    async with asyncio.timeout(30):
        await ensure(mirror.path, remote)
    assert refs.resolve(mirror, "main") == sh(origin, "rev-parse", "main")
    for name, commits in written.items():
        if commits:
            reached = sh(mirror.path, "rev-list", f"refs/heads/orchestrate/{name}").split()
            assert set(commits) <= set(reached)
    assert look(mirror.path) is None
    sh(mirror.path, "fsck", "--strict")


async def test_a_git_that_outlives_its_server_keeps_the_lock(mirror: Mirror) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from bot.git import locks\n"
        "from bot.git.program import git\n"
        "async def main():\n"
        "    async with locks.writing(Path(sys.argv[1])) as lock:\n"
        "        print('held', flush=True)\n"
        "        await git('-c', 'alias.slow=!echo $$ >&9; sleep 1.5; :', 'slow',"
        " keep_open=(lock,))\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(mirror.path), cwd=ROOT, stdout=PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    await asyncio.sleep(0.3)
    os.kill(process.pid, 9)
    await process.wait()
    with pytest.raises(locks.Busy):
        async with locks.writing(mirror.path, 0.2):
            pass
    async with asyncio.timeout(10), locks.writing(mirror.path, 10):
        pass


async def test_the_lock_files_of_a_killed_git_hold_nobody_up(
    mirror: Mirror, origin: Path, remote: Remote
) -> None:
    sh(origin, "branch", "gone")
    await fetch(mirror, remote)
    sh(mirror.path, "pack-refs", "--all", "--prune")
    sh(origin, "branch", "-D", "gone")
    new = commit_all(origin)
    left = ["refs/remotes/origin/main.lock", "refs/tags/v1.lock", "config.lock", "shallow.lock"]
    left += ["packed-refs.lock", "objects/info/commit-graph.lock"]
    for name in left:
        (mirror.path / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror.path / name).touch()
    old = time.time() - locks.PACKED_STALE - 1
    os.utime(mirror.path / "packed-refs.lock", (old, old))
    await fetch(mirror, remote)
    assert refs.resolve(mirror, "main") == new
    assert refs.resolve(mirror, "gone") is None
    assert [name for name in left if (mirror.path / name).exists()] == []


async def test_a_lock_that_nobody_lets_go_of_is_told(mirror: Mirror) -> None:
    async with locks.writing(mirror.path):
        with pytest.raises(locks.Busy, match="is busy with another fetch"):
            async with locks.writing(mirror.path, 0.1):
                pass
    with (
        locks.removing(mirror.path),
        pytest.raises(locks.Busy, match="is busy with its upkeep"),
        locks.pinning(mirror.path, 0.1),
    ):
        pass
