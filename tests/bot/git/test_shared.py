"""Two machines that work on one run after the other: what the first made, the second has."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.events import ORCHESTRATE, Event, Type
from bot.git.checkpoint import Identity
from bot.git.overlay import probe
from bot.git.remote import Remote
from bot.git.shared import SharedWorkbench
from bot.git.workbench import BLOBLESS_OVER
from bot.git.workspace import Workspaces
from bot.runs.fold import evolve, new_run
from bot.runs.model import Onto, Repository, Run, Source
from bot.runs.ports import CommitMessage
from bot.runs.transitions import State

AT = datetime(2026, 1, 1, tzinfo=UTC)
REPOSITORY = Repository(id=7, owner="acme", name="widgets", installation=3)


@dataclass(slots=True)
class Kept:
    """What the database keeps."""

    packs: dict[tuple[str, str], bytes] = field(default_factory=dict)

    async def keep_pack(self, run_id: str, commit: str, data: bytes) -> None:
        self.packs.setdefault((run_id, commit), data)

    async def pack(self, run_id: str, commit: str) -> bytes | None:
        return self.packs.get((run_id, commit))

    async def drop_packs(self, run_id: str, commits: Collection[str] | None = None) -> None:
        for run, commit in tuple(self.packs):
            if run == run_id and (commits is None or commit in commits):
                del self.packs[run, commit]


def git(folder: Path, *args: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=ada", "-c", "user.email=a@b", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A repository of three files."""
    work, bare = tmp_path / "work", tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(work))
    for name in ("one", "two", "three"):
        (work / name).write_text(f"{name}\n")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message=First")
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(bare))
    return bare


async def machine(folder: Path, remote: Path, kept: Kept) -> SharedWorkbench:
    async def address(_repository: Repository) -> Remote:
        return Remote(str(remote))

    means = await asyncio.to_thread(probe, folder / "runs", "checkout")
    made = Workspaces(folder / "runs", folder / "bases", means, disk_bytes=10**9)
    return SharedWorkbench(folder, address, Identity("bot", "bot@example.org"), made, kept)


def happened(run: Run, what: Type, /, **data: Any) -> Run:
    event = Event(id=f"{what}:{run.seq}", at=AT, actor=ORCHESTRATE, type=what, data=data)
    return evolve(run, event)


async def begun(machine: SharedWorkbench, repository: Repository = REPOSITORY) -> Run:
    source = Source(kind="comment", key="comment:1:1").model_dump()
    asked = {"request": "fix it", "source": source, "issue": 4}
    first = Event(id="r", seq=1, at=AT, actor="ada", type=Type.REQUESTED, data=asked)
    run = evolve(new_run(first, repository), first)
    base = await machine.base(run, "main")
    started = {"base": "main", "base_sha": base.sha, "base_tree": base.tree, "config": ""}
    started |= {"branch": "orchestrate/4-fix-it", "agent": "ruff"}
    return happened(run, Type.STARTED, **started, turns=3, minutes=30)


async def changed(machine: SharedWorkbench, run: Run, **files: str) -> str:
    """Leave files in a workspace, and take them as a candidate; its commit."""
    place = await machine.open(run, run.head)
    for name, text in files.items():
        (place.workspace / name).write_text(text)
    found = await machine.take(run, CommitMessage("Work", {}, AT))
    await machine.close(run)
    return found.commit


def judged(run: Run, sha: str, tree: str, number: int) -> Run:
    run = run.model_copy(update={"state": State.RUNNING})  # what was checked before was red
    run = happened(run, Type.TURN_STARTED, turn=number, agent="ruff", told=[])
    ended = {"turn": number, "outcome": "ended", "tree": tree, "commit": sha, "violations": []}
    run = happened(run, Type.TURN_ENDED, **ended, at=AT.isoformat())
    made = {"number": number, "sha": sha, "tree": tree, "parent": run.head, "kind": "agent"}
    size = {"title": "Work", "turn": number, "files": 1, "added": 1, "deleted": 0}
    return happened(run, Type.CHECKPOINTED, **made, **size)


async def test_a_large_repository_is_mirrored_without_the_contents_of_old_files(
    remote: Path, tmp_path: Path
) -> None:
    for setting in ("allowFilter", "allowAnySHA1InWant"):
        git(remote, "config", f"uploadpack.{setting}", "true")
    large = await machine(tmp_path / "large", remote, Kept())
    run = await begun(large, REPOSITORY.model_copy(update={"size": BLOBLESS_OVER + 1}))
    mirror = tmp_path / "large" / "mirrors" / "7.git"
    assert git(mirror, "rev-list", "--objects", "--all", "--missing=print").count("\n?") > 1
    sha = await changed(large, run, one="changed\n")
    assert git(mirror, "show", f"{sha}:one") == "changed"
    assert git(mirror, "show", f"{sha}:two") == "two"

    small = await machine(tmp_path / "small", remote, Kept())
    await begun(small, REPOSITORY.model_copy(update={"size": BLOBLESS_OVER}))
    git(tmp_path / "small" / "mirrors" / "7.git", "fsck", "--strict", "--full")


async def test_a_candidate_that_nothing_was_pushed_of_goes_on_elsewhere(
    remote: Path, tmp_path: Path
) -> None:
    kept = Kept()
    first, second = [await machine(tmp_path / name, remote, kept) for name in ("a", "b")]
    run = await begun(first)
    sha = await changed(first, run, one="changed\n")
    tree = await first.tree(run, sha)
    run = happened(run, Type.TURN_STARTED, turn=1, agent="ruff", told=[])
    ended = {"turn": 1, "outcome": "ended", "tree": tree, "commit": sha, "violations": []}
    run = happened(run, Type.TURN_ENDED, **ended, at=AT.isoformat())
    assert [each.path for each in await second.changes(run, run.head, tree)] == ["one"]
    await second.adopt(run, sha)
    assert await second.read(run, sha, "one") == b"changed\n"
    for each in (first, second):
        await each.end()


async def test_checkpoints_go_there_and_back_and_end_on_the_remote(
    remote: Path, tmp_path: Path
) -> None:
    kept = Kept()
    first, second = [await machine(tmp_path / name, remote, kept) for name in ("a", "b")]
    run = await begun(first)
    for number, (here, name) in enumerate(
        [(first, "one"), (second, "two"), (first, "three")], start=1
    ):
        sha = await changed(here, run, **{name: "changed\n"})
        await here.adopt(run, sha)
        run = judged(run, sha, await here.tree(run, sha), number)
    assert len(kept.packs) == 3
    assert await second.push(run) is None
    assert git(remote, "rev-parse", f"refs/heads/{run.branch}") == run.head
    assert git(remote, "rev-list", "--count", f"main..{run.branch}") == "3"
    events = [{"seq": n + 1, "type": "note", "data": {}} for n in range(run.seq)]
    await second.record(run, events)
    await second.publish(run)
    assert kept.packs == {}
    third = await machine(tmp_path / "c", remote, kept)
    assert await third.read(run, run.checkpoints[1].sha, "two") == b"changed\n"
    for each in (first, second, third):
        await each.end()


async def test_a_tree_that_was_put_together_for_a_rollback_is_there_for_who_restores_it(
    remote: Path, tmp_path: Path
) -> None:
    kept = Kept()
    first, second = [await machine(tmp_path / name, remote, kept) for name in ("a", "b")]
    run = await begun(first)
    sha = await changed(first, run, one="changed\n", two="changed\n")
    await first.adopt(run, sha)
    run = judged(run, sha, await first.tree(run, sha), 1)
    tree = await second.restored(run, run.base_sha, ["one"])
    run = run.model_copy(update={"restore": {"tree": tree, "kind": "rollback"}})
    made = await first.checkpoint(run, tree, CommitMessage("Back", {}, AT))
    assert await first.read(run, made, "one") == b"one\n"
    assert await first.read(run, made, "two") == b"changed\n"
    for each in (first, second):
        await each.end()


async def test_a_strangers_head_that_no_branch_has_is_brought_in_by_whoever_goes_on(
    remote: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    git(tmp_path, "clone", "--quiet", str(remote), str(theirs))
    (theirs / "strange").write_text("strange\n")
    git(theirs, "add", ".")
    git(theirs, "commit", "--quiet", "--message=Strange")
    git(theirs, "push", "--quiet", "origin", "HEAD:refs/pull/9/head")
    head = git(theirs, "rev-parse", "HEAD")
    kept = Kept()
    first, second, third = [await machine(tmp_path / name, remote, kept) for name in "abc"]
    run = await begun(first)
    onto = Onto(pull=9, sha=head, author="eve")
    run = run.model_copy(update={"onto": onto, "head": head})
    assert (await first.strange(run)).sha == head
    sha = await changed(first, run, one="changed\n")
    await first.adopt(run, sha)
    run = judged(run, sha, await first.tree(run, sha), 1)
    # Another machine goes on, of which no mirror has the head, nor the checkpoint on it.
    more = await changed(second, run, two="changed\n")
    await second.adopt(run, more)
    run = judged(run, more, await second.tree(run, more), 2)
    assert await second.push(run) is None
    assert git(remote, "rev-list", f"main..{run.branch}").split() == [more, sha, head]
    # And one that has to begin with the stranger's files themselves.
    place = await third.open(run.model_copy(update={"head": head, "checkpoints": ()}), head)
    assert (place.workspace / "strange").read_text() == "strange\n"
    await third.close(run)
    for each in (first, second, third):
        await each.end()
