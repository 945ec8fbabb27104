from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.errors import OperatorError, Refused
from bot.git import base, overlay, workspace
from bot.git.candidate import Made, Source, take
from bot.git.mirror import Mirror, fetch
from bot.git.overlay import Kind, Means, mounts_below, probe
from bot.git.remote import Remote
from bot.git.workspace import Workspace, Workspaces

from .conftest import AT, BOT, commit_all, sh

ROOT = Path(__file__).resolve().parents[3]


KINDS: list[Kind] = ["overlay", "rootless", "checkout"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture(params=KINDS)
async def workspaces(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workspaces]:
    kind: Kind = request.param
    try:
        means = probe(tmp_path / "runs", kind)
    except OperatorError as error:
        pytest.skip(str(error))
    made = Workspaces(tmp_path / "runs", tmp_path / "bases", means)
    yield made
    await made.stop()
    assert mounts_below(tmp_path) == []


def through(opened: Workspace) -> Path:
    """The workspace's folder as the host sees it, in whatever namespace it is."""
    if opened.namespace is None:
        return opened.folder
    return Path(f"/proc/{opened.namespace}/root", *opened.folder.parts[1:])


async def test_an_open_workspace_has_the_files_and_shows_what_was_changed(
    workspaces: Workspaces, mirror: Mirror, head: str
) -> None:
    opened = await workspaces.open(mirror, head, "run1")
    folder = through(opened)
    assert _names(folder) == [".gitignore", "link", "readme.txt", "run.sh", "src"]
    assert (folder / "readme.txt").read_text() == "hello\n"
    assert (folder / "link").readlink() == Path("src/a.py")
    modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in ("run.sh", "readme.txt")]
    assert modes == [0o755, 0o644]
    assert opened.tree == sh(mirror.path, "rev-parse", f"{head}^{{tree}}")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    (folder / "readme.txt").write_text("changed\n")
    (folder / "run.sh").unlink()
    shutil.rmtree(folder / "src")
    (folder / "src").mkdir()
    (folder / "src" / "new.py").touch()
    found = workspaces.found("run1")
    assert found == opened
    assert (opened.changed / "readme.txt").read_text() == "changed\n"
    if opened.whole:
        assert _names(opened.changed) == [".gitignore", "link", "readme.txt", "src"]
        return
    assert _names(opened.changed) == ["readme.txt", "run.sh", "src"]
    assert stat.S_ISCHR((opened.changed / "run.sh").lstat().st_mode)
    assert os.getxattr(opened.changed / "src", opened.opaque) == b"y"


async def test_what_was_changed_becomes_the_same_tree_in_each_kind(
    workspaces: Workspaces, mirror: Mirror, head: str, origin: Path
) -> None:
    """With the signs that each kind has for what is gone, and for a folder that hides another."""
    for folder in (through(await workspaces.open(mirror, head, "run1")), origin):
        (folder / "readme.txt").write_text("changed\n")
        (folder / "run.sh").chmod(0o644)
        (folder / "link").unlink()
        shutil.move(folder / "src", folder / "lib")
        (folder / "src" / "a.py").mkdir(parents=True)
        (folder / "src" / "a.py" / os.fsdecode(b"caf\xe9")).touch()
        (folder / "empty").mkdir()
        (folder / "build").mkdir()
        (folder / "build" / "output").touch()
    found = workspaces.found("run1")
    assert found is not None
    source = Source(found.changed, found.tree, found.opaque, found.whole)
    taken = take(mirror, source, head, Made("A turn\n", BOT, BOT, AT))
    assert taken.violations == ()
    assert taken.tree == sh(origin, "rev-parse", f"{commit_all(origin)}^{{tree}}")


async def test_line_ends_are_written_as_attributes_say(
    workspaces: Workspaces, origin: Path, mirror: Mirror, remote: Remote
) -> None:
    (origin / ".gitattributes").write_text("*.bat text eol=crlf\n*.x filter=evil\n")
    (origin / "a.bat").write_text("one\ntwo\n")
    (origin / "b.x").write_text("as it is\n")
    head = commit_all(origin)
    await fetch(mirror, remote)
    folder = through(await workspaces.open(mirror, head, "run1"))
    assert (folder / "a.bat").read_bytes() == b"one\r\ntwo\r\n"
    assert (folder / "b.x").read_bytes() == b"as it is\n"


async def test_a_submodule_is_an_empty_folder(
    workspaces: Workspaces, origin: Path, mirror: Mirror, remote: Remote, head: str
) -> None:
    sh(origin, "update-index", "--add", "--cacheinfo", f"160000,{head},lib/sub")
    sh(origin, "commit", "-q", "-m", "Submodule")
    await fetch(mirror, remote)
    opened = await workspaces.open(mirror, sh(origin, "rev-parse", "HEAD"), "run1")
    assert list((through(opened) / "lib" / "sub").iterdir()) == []


async def test_a_tree_with_gits_own_names_is_not_written(
    workspaces: Workspaces, tmp_path: Path, mirror: Mirror, head: str
) -> None:
    blob = sh(mirror.path, "rev-parse", f"{head}:readme.txt")
    inner = sh(mirror.path, "mktree", input=f"100644 blob {blob}\tconfig\n".encode())
    tree = sh(mirror.path, "mktree", input=f"040000 tree {inner}\t.git\n".encode())
    with pytest.raises(Refused, match="git"):
        await workspaces.open(mirror, tree, "run1")
    assert not (tmp_path / "runs" / "run1").exists()
    assert not list((tmp_path / "runs").rglob("config"))


async def test_other_users_of_the_machine_are_kept_out(
    workspaces: Workspaces, mirror: Mirror, head: str, tmp_path: Path
) -> None:
    await workspaces.open(mirror, head, "run1")
    place = tmp_path / "runs" / "run1"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (place, place / ".layers")] == [0o700] * 2


async def test_each_workspace_is_a_fresh_one(
    workspaces: Workspaces, mirror: Mirror, head: str
) -> None:
    opened = await workspaces.open(mirror, head, "run1")
    (through(opened) / "new").touch()
    (through(opened) / "readme.txt").write_text("changed\n")
    again = await workspaces.open(mirror, head, "run1")
    assert (through(again) / "readme.txt").read_text() == "hello\n"
    assert not (through(again) / "new").exists()
    other = await workspaces.open(mirror, head, "run2")
    (through(other) / "new").touch()
    assert not (through(again) / "new").exists()


async def test_nothing_of_a_closed_workspace_stays(
    workspaces: Workspaces, mirror: Mirror, head: str, tmp_path: Path
) -> None:
    opened = await workspaces.open(mirror, head, "run1")
    locked = through(opened) / "locked"
    (locked / "inner").mkdir(parents=True)
    locked.chmod(0)
    (tmp_path / "runs" / "run1" / "home").mkdir()
    await workspaces.close("run1")
    await workspaces.close("run1")
    await workspaces.stop()
    assert workspaces.found("run1") is None
    assert _names(tmp_path / "runs" / "run1") == ["home"]
    assert _names(tmp_path / "runs" / ".removed") == []


async def test_what_a_stopped_server_left_can_be_read_by_the_next(
    workspaces: Workspaces, mirror: Mirror, head: str
) -> None:
    opened = await workspaces.open(mirror, head, "run1")
    (through(opened) / "new").write_text("work\n")
    await workspaces.stop()
    found = workspaces.found("run1")
    assert found is not None
    assert (found.namespace, found.tree) == (None, opened.tree)
    assert (found.changed / "new").read_text() == "work\n"


async def test_a_refused_commit_leaves_nothing(
    workspaces: Workspaces, mirror: Mirror, head: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused):
        await workspaces.open(mirror, "1" * 40, "run1")
    assert workspaces.found("run1") is None
    assert not (tmp_path / "runs" / "run1").exists()


async def test_the_size_of_what_was_changed_is_known(
    workspaces: Workspaces, mirror: Mirror, head: str
) -> None:
    assert await workspaces.used("run1") == 0
    opened = await workspaces.open(mirror, head, "run1")
    before = await workspaces.used("run1")
    hidden = through(opened) / "hidden"
    hidden.mkdir()
    (hidden / "large").write_bytes(os.urandom(1_000_000))
    hidden.chmod(0)
    used = await workspaces.used("run1") - before
    hidden.chmod(0o700)
    assert 1_000_000 <= used < 1_100_000


async def test_a_workspace_that_grows_past_its_limit_is_told(
    mirror: Mirror, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "WATCH_SECONDS", 0.01)
    means = Means("checkout", "")
    workspaces = Workspaces(tmp_path / "runs", tmp_path / "bases", means, disk_bytes=500_000)
    opened = await workspaces.open(mirror, head, "run1")
    watch = asyncio.create_task(workspaces.too_large("run1"))
    await asyncio.sleep(0.1)
    assert not watch.done()
    (opened.folder / "large").write_bytes(os.urandom(600_000))
    async with asyncio.timeout(5):
        assert await watch >= 600_000


@needs_root
async def test_an_open_workspace_takes_little_of_the_disk(
    mirror: Mirror, head: str, tmp_path: Path
) -> None:
    workspaces = Workspaces(tmp_path / "runs", tmp_path / "bases", Means("overlay", ""))
    await workspaces.open(mirror, head, "run1")
    try:
        assert _kilobytes(tmp_path / "runs" / "run1") <= 64
    finally:
        await workspaces.stop()


@needs_root
async def test_a_killed_server_leaves_its_work_to_be_read_and_nothing_mounted(
    mirror: Mirror, head: str, tmp_path: Path
) -> None:
    code = f"""
import asyncio, pathlib
from bot.git.mirror import Mirror
from bot.git.overlay import Means
from bot.git.workspace import Workspaces
async def main():
    spaces = Workspaces(pathlib.Path({str(tmp_path / "runs")!r}),
                        pathlib.Path({str(tmp_path / "bases")!r}), Means("overlay", ""))
    for name in ("one", "two"):
        opened = await spaces.open(Mirror(pathlib.Path({str(mirror.path)!r})), {head!r}, name)
        (opened.folder / "new").write_text(name)
    print("ready", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    _killed_when_ready(code)
    runs = tmp_path / "runs"
    assert len(mounts_below(runs)) == 2
    for half in (".removed/x/y", ".making/x/y", ".probe-x/upper"):
        (runs / half).mkdir(parents=True)
    (tmp_path / "bases" / "1" / ".making" / "files").mkdir(parents=True)
    workspaces = Workspaces(runs, tmp_path / "bases", Means("overlay", ""))
    await workspaces.sweep({"two"})
    await workspaces.stop()
    assert mounts_below(runs) == []
    assert workspaces.found("one") is None
    assert _names(runs / "one") == []
    assert _names(runs) == [".making", ".removed", "one", "two"]
    assert _names(runs / ".making") == _names(runs / ".removed") == []
    assert ".making" not in _names(tmp_path / "bases" / "1")
    found = workspaces.found("two")
    assert found is not None
    assert (found.changed / "new").read_text() == "two"
    opened = await workspaces.open(mirror, head, "two")
    assert not (opened.folder / "new").exists()
    await workspaces.stop()


@needs_root
async def test_what_was_written_before_the_machine_started_again_is_not_trusted(
    mirror: Mirror, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspaces = Workspaces(tmp_path / "runs", tmp_path / "bases", Means("overlay", ""))
    await workspaces.open(mirror, head, "run1")
    await workspaces.stop()
    monkeypatch.setattr(base, "boot", lambda: "later")
    assert workspaces.found("run1") is None


@needs_root
async def test_a_mount_that_is_refused_is_one_sentence_and_leaves_nothing(
    mirror: Mirror, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(overlay._OPTIONS, "overlay", "no-such-option=1")
    workspaces = Workspaces(tmp_path / "runs", tmp_path / "bases", Means("overlay", ""))
    with pytest.raises(OperatorError, match=r"cannot be made \(Invalid argument\).*doctor"):
        await workspaces.open(mirror, head, "run1")
    assert workspaces.found("run1") is None
    await workspaces.stop()
    assert _names(tmp_path / "runs" / "run1") == []


async def test_a_hundred_workspaces_at_once_share_one_base(
    mirror: Mirror, head: str, tmp_path: Path
) -> None:
    means = probe(tmp_path / "runs")
    workspaces = Workspaces(tmp_path / "runs", tmp_path / "bases", means)
    opened = await asyncio.gather(*(workspaces.open(mirror, head, f"r{n}") for n in range(100)))
    try:
        assert {(through(each) / "readme.txt").read_text() for each in opened} == {"hello\n"}
        made = [each for each in (tmp_path / "bases" / "1").iterdir() if not each.is_symlink()]
        assert len([each for each in made if each.is_dir()]) == 1
    finally:
        await workspaces.stop()


def _kilobytes(folder: Path) -> int:
    return int(subprocess.check_output(["du", "-skx", str(folder)]).split()[0])


def _killed_when_ready(code: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.kill()
    child.wait()
    child.stdout.close()


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())
