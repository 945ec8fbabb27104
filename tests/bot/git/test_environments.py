"""Environments: made in a workspace, frozen, and under the workspaces of others."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.errors import OperatorError, Refused
from bot.git import candidate, environments, workspace
from bot.git.checkpoint import Identity
from bot.git.environments import Environments, Made, Recipe
from bot.git.mirror import Mirror, fetch
from bot.git.overlay import mounts_below, probe
from bot.git.remote import Remote
from bot.git.scan import Source
from bot.git.workspace import Layer, Workspace, Workspaces

from .conftest import commit_all, sh

BOT = Identity("orchestrate[bot]", "1+orchestrate[bot]@users.noreply.github.com")
MADE = candidate.Made("Work", BOT, BOT, datetime(2026, 1, 2, tzinfo=UTC))
Fill = Callable[[Path], None]


class World:
    """Workspaces of one kind, and the environments that are made in them."""

    def __init__(self, folder: Path, kind: str, mirror: Mirror, head: str) -> None:
        self.folder, self.mirror, self.head = folder, mirror, head
        means = probe(folder / "runs", kind)  # type: ignore[arg-type]
        self.workspaces = Workspaces(folder / "runs", folder / "bases", means)
        self.store = self.storing(days=7)
        self.installs = 0

    def storing(self, *, days: float, total_bytes: int = 2**40) -> Environments:
        return Environments(
            self.folder / "environments",
            self.folder / "runs",
            self.workspaces,
            days=days,
            total_bytes=total_bytes,
        )

    async def make(self, fill: Fill, key: str = "k1", **recipe: object) -> Made:
        async def install(opened: Workspace, home: Path, _: asyncio.Event) -> bool:
            self.installs += 1
            (home / "cache").write_text("not kept")
            await asyncio.to_thread(fill, through(opened))
            return True

        made = await self.store.make(
            self.mirror,
            self.head,
            Recipe(key, **recipe),  # type: ignore[arg-type]
            install,
            stop=asyncio.Event(),
        )
        assert made is not None
        return made

    def layer(self, key: str = "k1") -> Layer:
        found = self.store.find(self.mirror, key)
        assert found is not None
        return found[1]

    async def open(self, name: str = "run1", commit: str | None = None) -> Workspace:
        layer = self.layer()
        return await self.workspaces.open(self.mirror, commit or self.head, name, under=layer)

    def taken(self, opened: Workspace) -> list[str]:
        """The lines of the difference that a candidate of the workspace makes."""
        found = self.workspaces.found(opened.folder.parent.name)
        assert found is not None
        source = Source(found.changed, found.tree, found.opaque, found.whole, found.made)
        left = candidate.take(self.mirror, source, self.head, MADE)
        assert left.violations == ()
        told = sh(self.mirror.path, "diff-tree", "-r", "--name-status", self.head, left.tree)
        return told.splitlines()


def through(opened: Workspace) -> Path:
    """The workspace's folder as the host sees it, in whatever namespace it is."""
    if opened.namespace is None:
        return opened.folder
    return Path(f"/proc/{opened.namespace}/root", *opened.folder.parts[1:])


def _content(folder: Path) -> dict[str, bytes]:
    files = (each for each in folder.rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): each.read_bytes() for each in files}


def install_some(folder: Path) -> None:
    """What a set-up leaves: folders of its own, files among the repository's, and a change."""
    (folder / "deps" / "bin").mkdir(parents=True)
    (folder / "deps" / "bin" / "tool").write_text("#!/bin/sh\n")
    (folder / "deps" / "lib.txt").write_text("library\n")
    (folder / "src" / "built.py").write_text("BUILT = 1\n")
    (folder / "src" / "__pycache__").mkdir()
    (folder / "src" / "__pycache__" / "a.pyc").write_bytes(b"pyc")
    (folder / "one.log").write_text("ignored\n")


@pytest.fixture(params=["overlay", "rootless", "checkout"])
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, mirror: Mirror, head: str
) -> AsyncIterator[World]:
    try:
        made = World(tmp_path, request.param, mirror, head)
    except OperatorError as error:
        pytest.skip(str(error))
    yield made
    await made.workspaces.stop()
    assert mounts_below(tmp_path) == []


async def test_what_a_setup_added_is_under_every_workspace(world: World) -> None:
    made = await world.make(install_some, programs=("deps/bin", "absent/bin"), env={"A": "1"})
    assert made.paths == ("deps", "one.log", "src/__pycache__", "src/built.py")
    assert (made.path, made.env, made.dropped) == (("deps/bin",), {"A": "1"}, ())
    assert made.size > 0
    for name in ("run1", "run2"):
        opened = await world.open(name)
        folder = through(opened)
        assert (folder / "deps" / "lib.txt").read_text() == "library\n"
        assert (folder / "src" / "built.py").read_text() == "BUILT = 1\n"
        assert (folder / "src" / "a.py").read_text().startswith("line 0")
        assert world.taken(opened) == []
    assert sorted(each.name for each in world.layer().files.iterdir()) == ["deps", "one.log", "src"]
    assert sorted(each.name for each in (world.layer().files / "src").iterdir()) == [
        "__pycache__",
        "built.py",
    ]
    assert [each.name for each in world.layer().files.parent.iterdir()].count("home") == 0
    assert not list((world.folder / "runs").glob("setup-*"))


async def test_changes_to_the_files_of_the_commit_are_dropped_and_named(world: World) -> None:
    def fill(folder: Path) -> None:
        install_some(folder)
        (folder / "readme.txt").write_text("changed by the set-up\n")
        (folder / "run.sh").unlink()
        (folder / ".git").mkdir()
        (folder / ".git" / "config").write_text("[core]\n\tfsmonitor = /evil\n")

    made = await world.make(fill)
    if world.workspaces._means.kind == "checkout":
        assert made.dropped == (".git",)  # in a full copy the others cannot be told, and stay there
    else:
        assert made.dropped == (".git", "readme.txt", "run.sh")
    opened = await world.open()
    assert (through(opened) / "readme.txt").read_text() == "hello\n"
    assert (through(opened) / "run.sh").exists()
    assert not (through(opened) / ".git").exists()
    assert world.taken(opened) == []


async def test_a_folder_of_the_commit_made_anew_is_the_commits_again(world: World) -> None:
    def fill(folder: Path) -> None:
        shutil.rmtree(folder / "src")
        (folder / "src").mkdir()
        (folder / "src" / "built.py").write_text("BUILT = 1\n")

    await world.make(fill)
    opened = await world.open()
    assert sorted(each.name for each in (through(opened) / "src").iterdir()) == ["a.py", "built.py"]


def _edit(folder: Path) -> None:
    (folder / "deps" / "lib.txt").write_text("changed by the agent\n")
    (folder / "deps" / "new.txt").write_text("new\n")
    (folder / "src" / "built.py").unlink()


def _delete(folder: Path) -> None:
    shutil.rmtree(folder / "deps")
    shutil.rmtree(folder / "src" / "__pycache__")


def _make_again(folder: Path) -> None:
    shutil.rmtree(folder / "deps")
    (folder / "deps").mkdir()
    (folder / "deps" / "other").write_text("other\n")


def _replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder / "deps")
    (folder / "deps").write_text("a file now\n")
    (folder / "src" / "built.py").unlink()
    (folder / "src" / "built.py").mkdir()
    (folder / "src" / "built.py" / "inner").touch()


def _replace_by_link(folder: Path) -> None:
    shutil.rmtree(folder / "deps")
    (folder / "deps").symlink_to("/etc")


@pytest.mark.parametrize("edit", [_edit, _delete, _make_again, _replace_by_file, _replace_by_link])
async def test_nothing_of_the_environment_is_ever_in_a_checkpoint(world: World, edit: Fill) -> None:
    await world.make(install_some)
    before = _content(world.layer().files)
    opened = await world.open()
    folder = through(opened)
    edit(folder)
    (folder / "src" / "a.py").write_text("the agent's work\n")
    (folder / "src" / "fresh.py").write_text("more of it\n")
    assert world.taken(opened) == ["M\tsrc/a.py", "A\tsrc/fresh.py"]
    # What one run does with it is seen by no other.
    assert _content(world.layer().files) == before
    other = await world.open("run2")
    assert (through(other) / "deps" / "lib.txt").read_text() == "library\n"


async def test_what_a_later_commit_tracks_in_it_is_the_commits(
    world: World, origin: Path, remote: Remote
) -> None:
    await world.make(install_some)
    (origin / "deps").mkdir()
    (origin / "deps" / "lib.txt").write_text("tracked\n")
    (origin / "src" / "built.py").write_text("BUILT = 2\n")
    later = commit_all(origin)
    await fetch(world.mirror, remote)
    opened = await world.open(commit=later)
    world.head = later
    folder = through(opened)
    assert (folder / "deps" / "lib.txt").read_text() == "tracked\n"
    assert (folder / "src" / "built.py").read_text() == "BUILT = 2\n"
    assert (folder / "deps" / "bin" / "tool").exists()
    assert world.taken(opened) == []
    (folder / "deps" / "lib.txt").write_text("changed\n")
    (folder / "deps" / "bin" / "tool").write_text("changed as well\n")
    (folder / "deps" / "another").touch()
    assert world.taken(opened) == ["M\tdeps/lib.txt"]


async def test_what_an_earlier_commit_had_there_does_not_hide_it(
    world: World, origin: Path, remote: Remote
) -> None:
    for number in range(20):  # so that the next base is a difference
        (origin / f"file{number}").touch()
    (origin / "deps").mkdir()
    (origin / "deps" / "old").touch()
    earlier = commit_all(origin)
    shutil.rmtree(origin / "deps")
    later = commit_all(origin)
    await fetch(world.mirror, remote)
    await world.workspaces.open(world.mirror, earlier, "run0")
    world.head = later
    await world.make(install_some)
    opened = await world.open(commit=later)
    assert (through(opened) / "deps" / "lib.txt").read_text() == "library\n"
    assert not (through(opened) / "deps" / "old").exists()
    assert world.taken(opened) == []


async def test_a_link_in_the_commit_leads_no_copy_out(
    world: World, origin: Path, remote: Remote, tmp_path: Path
) -> None:
    await world.make(install_some)
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(origin / "src")
    (origin / "src").symlink_to(outside)
    (origin / "link").unlink()
    later = commit_all(origin)
    await fetch(world.mirror, remote)
    opened = await world.open(commit=later)
    assert list(outside.iterdir()) == []
    assert (through(opened) / "src").is_symlink()
    assert (through(opened) / "deps" / "lib.txt").exists()


async def test_many_who_need_it_wait_for_one_maker(world: World) -> None:
    def slowly(folder: Path) -> None:
        time.sleep(0.3)
        install_some(folder)

    made = await asyncio.gather(*(world.make(slowly) for _ in range(4)))
    assert world.installs == 1
    assert len({each.at for each in made}) == 1


async def test_one_that_was_not_to_be_made_leaves_nothing(world: World) -> None:
    async def fail(opened: Workspace, home: Path, _: asyncio.Event) -> bool:
        install_some(through(opened))
        return False

    made = await world.store.make(
        world.mirror, world.head, Recipe("k1"), fail, stop=asyncio.Event()
    )
    assert made is None
    assert world.store.find(world.mirror, "k1") is None
    assert not list((world.folder / "runs").glob("setup-*"))


async def test_who_waits_can_be_stopped(world: World) -> None:
    begun, stop = asyncio.Event(), asyncio.Event()

    async def wait(opened: Workspace, home: Path, halt: asyncio.Event) -> bool:
        begun.set()
        await halt.wait()
        return False

    recipe = Recipe("k1")
    first = asyncio.create_task(
        world.store.make(world.mirror, world.head, recipe, wait, stop=(ending := asyncio.Event()))
    )
    await begun.wait()
    second = asyncio.create_task(
        world.store.make(world.mirror, world.head, recipe, wait, stop=stop)
    )
    stop.set()
    assert await second is None
    assert not first.done()
    ending.set()
    assert await first is None


async def test_one_that_fills_the_disk_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "WATCH_SECONDS", 0.05)
    world.workspaces._disk_bytes = 200_000

    async def fill(opened: Workspace, home: Path, halt: asyncio.Event) -> bool:
        (home / "cache").write_bytes(os.urandom(400_000))
        await halt.wait()
        return True

    with pytest.raises(Refused, match="more than the server allows"):
        await world.store.make(world.mirror, world.head, Recipe("k1"), fill, stop=asyncio.Event())
    assert world.store.find(world.mirror, "k1") is None


@pytest.mark.parametrize("form", ["plain", "base64"])
async def test_a_secret_in_a_file_of_it_is_refused(world: World, form: str) -> None:
    told = {"plain": "s3cr3t-token", "base64": "czNjcjN0LXRva2Vu"}[form]

    def fill(folder: Path) -> None:
        install_some(folder)
        (folder / "deps" / ".npmrc").write_text(f"_auth = {told}\n")

    with pytest.raises(Refused, match=r"wrote a secret to `deps/\.npmrc`"):
        await world.make(fill, secrets=frozenset({"s3cr3t-token"}))
    assert world.store.find(world.mirror, "k1") is None


async def test_too_many_places_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "MAX_MADE", 3)
    with pytest.raises(Refused, match="4 places"):
        await world.make(install_some)


async def test_old_ones_go_and_those_in_use_stay(world: World) -> None:
    for key in ("used", "idle", "fresh"):
        await world.make(install_some, key)
    opened = await world.workspaces.open(
        world.mirror, world.head, "run1", under=world.layer("used")
    )
    for key in ("used", "idle"):
        folder = world.layer(key).files.parent
        os.utime(folder, (1, 1))
    assert world.store.prune() == ["1/idle"]
    assert (through(opened) / "deps" / "lib.txt").exists()
    assert world.store.size()[0] == 2


async def test_the_longest_unused_go_first_where_all_are_too_large(world: World) -> None:
    for number, key in enumerate(("first", "second", "third")):
        await world.make(install_some, key)
        at = time.time() - 7200 + number
        os.utime(world.layer(key).files.parent, (at, at))
    one = world.store.size()[1] // 3
    store = world.storing(days=7, total_bytes=2 * one)
    assert store.prune() == ["1/first"]
    assert store.prune() == []


async def test_what_a_killed_maker_left_is_swept(world: World) -> None:
    left = await world.workspaces.open(world.mirror, world.head, "setup-k1")
    install_some(through(left))
    (world.folder / "environments" / "1" / ".removed-k0-1234").mkdir(parents=True)
    again = World(world.folder, world.workspaces._means.kind, world.mirror, world.head)
    await world.workspaces.stop()
    await again.workspaces.sweep(())
    again.store.sweep()
    await again.workspaces.stop()
    assert not list((world.folder / "runs").glob("setup-*"))
    assert list((world.folder / "environments" / "1").iterdir()) == []
    await again.make(install_some)
    assert world.store.find(world.mirror, "k1") is not None


async def test_a_checkpoint_never_walks_over_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.make(install_some)
    opened = await world.open()
    (through(opened) / "src" / "a.py").write_text("work\n")
    (through(opened) / "deps" / "lib.txt").write_text("changed\n")
    listed: list[str] = []
    scandir = os.scandir

    def recording(place: int) -> Any:
        listed.append(str(Path(f"/proc/self/fd/{place}").readlink()))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", recording)
    assert world.taken(opened) == ["M\tsrc/a.py"]
    top = str(opened.changed)
    assert set(listed) == {top, f"{top}/src"}


async def test_it_is_for_reading_only(world: World) -> None:
    await world.make(install_some)
    opened = await world.open()
    file = through(opened) / "deps" / "lib.txt"
    with file.open("r+") as writing:
        writing.write("LIBRARY")
    assert (world.layer().files / "deps" / "lib.txt").read_text() == "library\n"
    assert stat.S_IMODE(world.layer().files.parent.stat().st_mode) == 0o700
