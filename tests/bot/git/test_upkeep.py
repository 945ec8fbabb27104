"""Upkeep: it keeps a mirror small, and never takes anything from a run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.errors import OrchestrateError
from bot.git import leases, locks, objects, program, refs, upkeep
from bot.git.mirror import Mirror, ensure, fetch, hydrate
from bot.git.pack import Pack
from bot.git.remote import Remote

from .conftest import commit_all, sh

RUN = "abcdefgh23"
OWN = "refs/heads/orchestrate/1-x"


@pytest.fixture
async def used(mirror: Mirror, origin: Path, remote: Remote, head: str) -> Mirror:
    """A mirror after many fetches and candidates, one of which became a checkpoint."""
    for n in range(upkeep.PACKS):
        (origin / f"f{n}.txt").write_text(f"{n}\n")
        commit_all(origin)
        await fetch(mirror, remote)
        own = Pack(mirror)
        own.add("blob", f"candidate {n}\n".encode())
        own.write()
    refs.set_ref(mirror, OWN, commit_on(mirror, head), None)
    return mirror


async def test_many_packs_become_few_and_everything_is_still_there(
    used: Mirror, remote: Remote
) -> None:
    before = everything(used)
    assert upkeep.needs(used).any
    done = await upkeep.run(used)
    assert "small packs joined" in done
    assert len(packs(used)) < 5
    assert everything(used) == before
    sh(used.path, "fsck", "--strict")
    assert not upkeep.needs(used).any
    assert await upkeep.run(used) == ()
    await fetch(used, remote)


async def test_only_what_nothing_reaches_and_is_old_goes(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    old = pushed_away(origin, head, "old")
    await fetch(mirror, remote)
    loose = commit_on(mirror, head)  # of a checkpoint, with no ref any more
    kept = commit_on(mirror, head, "Kept")
    refs.set_ref(mirror, "refs/quarantine/abc/1", kept, None)
    make_older(mirror.path / "objects", upkeep.GRACE_DAYS + 1)
    sh(origin, "reset", "-q", "--hard", head)
    young = pushed_away(origin, head, "young")
    await fetch(mirror, remote)
    sh(origin, "reset", "-q", "--hard", head)
    commit_all(origin, "The branch goes on elsewhere")
    await fetch(mirror, remote)
    assert "what nothing reaches removed" in await upkeep.run(mirror, whole=True)
    there = {sha: objects.exists(mirror, sha) for sha in (old, loose, kept, young, head)}
    assert there == {old: False, loose: False, kept: True, young: True, head: True}
    assert objects.read(mirror, young, "young.txt", 100) == b"young\n"
    sh(mirror.path, "fsck", "--strict")


async def test_everything_is_packed_anew_once_a_week(mirror: Mirror) -> None:
    assert not upkeep.needs(mirror).any
    make_older(mirror.path / "HEAD", upkeep.WHOLE_DAYS + 1)
    assert upkeep.needs(mirror).is_due
    assert "everything packed anew" in await upkeep.run(mirror)
    assert not upkeep.needs(mirror).any


async def test_nothing_is_done_while_a_run_holds_a_lease(used: Mirror, head: str) -> None:
    leases.take(used, RUN, [head])
    before = packs(used)
    assert await upkeep.run(used, whole=True) == ()
    assert packs(used) == before
    leases.drop(used, RUN)
    assert await upkeep.run(used)


async def test_nothing_is_done_while_somebody_fetches(
    used: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PATIENCE", 0.05)
    async with locks.writing(used.path):
        assert await upkeep.run(used) == ()
    with locks.pinning(used.path, 1):
        assert await upkeep.run(used) == ()


async def test_a_run_that_begins_stops_it_within_a_moment(
    used: Mirror, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_repack", lambda: ("-c", "alias.slow=!sleep 47; :", "slow"))
    keeping = asyncio.create_task(upkeep.run(used))
    await until(lambda: sleeping("47"))
    begin = time.monotonic()
    await asyncio.to_thread(leases.take, used, RUN, [head])
    assert time.monotonic() - begin < leases.WAIT / 2
    assert await keeping == ()
    await until(lambda: not sleeping("47"))
    async with asyncio.timeout(5), locks.writing(used.path):
        sh(used.path, "fsck", "--strict")


async def test_a_server_that_stops_waits_for_nobody(
    used: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_repack", lambda: ("-c", "alias.slow=!sleep 48; :", "slow"))
    keeping = asyncio.create_task(upkeep.run(used))
    await until(lambda: sleeping("48"))
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await until(lambda: not sleeping("48"))


@pytest.mark.parametrize("steps", range(1, 7))
async def test_git_that_is_given_up_while_it_begins_leaves_no_helper(
    used: Mirror, steps: int
) -> None:
    slow = ("-c", "alias.slow=!sleep 49; :", "slow")
    begun = asyncio.create_task(program.git(*slow, git_dir=used.path))
    for _ in range(steps):
        await asyncio.sleep(0)
    # The loop has much else to do, while git goes on to start what it needs.
    held = time.monotonic() + 0.3
    while time.monotonic() < held and not sleeping("49"):
        time.sleep(0.01)  # noqa: ASYNC251
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    await until(lambda: not sleeping("49"))


async def test_what_killed_processes_left_is_removed(mirror: Mirror, head: str) -> None:
    folder = mirror.path / "objects" / "pack"
    stale = [folder / "pack-1.orchestrate", folder / "tmp_pack_1_1", folder / "pack-3.keep"]
    fresh = [folder / "pack-2.orchestrate", folder / "tmp_pack_2_1", folder / "pack-4.keep"]
    for path in (*stale, *fresh):
        path.write_text("")
    stale[2].write_text("fetch-pack 17 on here\n")
    make_older(stale[0], 1)
    make_older(stale[1], upkeep.GRACE_DAYS + 1)
    remains = [mirror.path.with_name(f"{mirror.path.name}.broken-{n}") for n in (1, 2)]
    for path in remains:
        (path / "objects").mkdir(parents=True)
    make_older(remains[0], upkeep.REMAINS_DAYS + 1)
    await upkeep.run(mirror, whole=True)
    assert [path.exists() for path in (*stale, *fresh, *remains)] == [
        *(False, False, False),
        *(True, True, True),
        *(False, True),
    ]


async def test_a_mirror_without_contents_stays_one(
    tmp_path: Path, origin: Path, remote: Remote, head: str
) -> None:
    partial = await ensure(tmp_path / "p.git", remote, blobless=True)
    (origin / "readme.txt").write_text("changed\n")
    new = commit_all(origin)
    await fetch(partial, remote)
    await hydrate(partial, remote, new)
    refs.set_ref(partial, OWN, commit_on(partial, new), None)
    make_older(partial.path / "objects", upkeep.GRACE_DAYS + 1)
    assert "everything packed anew" in await upkeep.run(partial, whole=True)
    sh(partial.path, "fsck", "--strict")
    assert objects.read(partial, new, "readme.txt", 100) == b"changed\n"
    assert await hydrate(partial, remote, head) == 1


async def test_a_damaged_pack_is_told(used: Mirror) -> None:
    pack = max(packs(used), key=lambda path: path.stat().st_size)
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:-30])
    with pytest.raises(OrchestrateError, match="git repack failed"):
        await upkeep.run(used, whole=True)


def commit_on(mirror: Mirror, parent: str, message: str = "Checkpoint") -> str:
    return sh(mirror.path, "commit-tree", "-p", parent, "-m", message, f"{parent}^{{tree}}")


def pushed_away(origin: Path, head: str, name: str) -> str:
    """A commit on the branch that a force-push will take off it."""
    sh(origin, "reset", "-q", "--hard", head)
    (origin / f"{name}.txt").write_text(f"{name}\n")
    return commit_all(origin, name)


def everything(mirror: Mirror) -> set[str]:
    listed = sh(mirror.path, "cat-file", "--batch-all-objects", "--batch-check", "--unordered")
    return set(listed.splitlines())


def packs(mirror: Mirror) -> list[Path]:
    return sorted((mirror.path / "objects" / "pack").glob("*.pack"))


def make_older(path: Path, days: int) -> None:
    """Let a file or folder, with all in it, have been changed some days ago."""
    then = time.time() - days * upkeep.DAY
    for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.utime(each, (then, then))


def sleeping(seconds: str) -> bool:
    """Whether a program that sleeps for so long runs."""
    wanted = b"sleep\0" + seconds.encode() + b"\0"
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if process.read_bytes() == wanted:
                return True
        except OSError:  # it has just ended
            continue
    return False


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - another program does it
            await asyncio.sleep(0.01)
