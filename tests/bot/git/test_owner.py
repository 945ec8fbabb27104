"""Workspaces whose files belong to the user that jobs of root are."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.git import base
from bot.git.candidate import Made, Source, take
from bot.git.diff import changes
from bot.git.mirror import Mirror, fetch
from bot.git.overlay import Means, mounts_below
from bot.git.remote import Remote
from bot.git.removal import remove
from bot.git.workspace import Workspace, Workspaces
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.model import Job
from bot.sandbox.rights import DEFAULT_UID

from .conftest import AT, BOT, commit_all

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users")

WORK = """
set -e
echo more >> readme.txt
rm run.sh
mv src moved
mkdir closed && echo inner > closed/file && chmod 000 closed
echo mine > new && chmod 000 new
touch -d '2001-01-01' .gitignore
"""


@pytest.fixture(params=["overlay", "checkout"])
async def workspaces(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workspaces]:
    means = Means(request.param, "")
    made = Workspaces(tmp_path / "runs", tmp_path / "bases", means, owner=DEFAULT_UID)
    yield made
    await made.stop()
    assert mounts_below(tmp_path) == []


async def work(opened: Workspace, home: Path, script: str = WORK) -> None:
    job = Job(
        argv=("/bin/sh", "-c", script),
        workspace=opened.folder,
        home=home,
        seconds=20,
        output_bytes=100_000,
    )
    ended = await Bubblewrap(uid=DEFAULT_UID).run(job)
    assert ended.code == 0, ended.tail


async def test_a_job_works_in_it_and_the_host_takes_what_it_left(
    workspaces: Workspaces, mirror: Mirror, head: str, tmp_path: Path
) -> None:
    opened = await workspaces.open(mirror, head, "run1")
    await work(opened, tmp_path / "home")
    source = Source(opened.changed, opened.tree, opened.opaque, whole=opened.whole)
    taken = take(mirror, source, head, Made("A turn\n", BOT, BOT, AT))
    found = {each.path: each.status for each in changes(mirror, head, taken.tree)}
    assert set(found) >= {"readme.txt", "run.sh", "closed/file", "new", "moved/a.py"}
    assert taken.violations == ()
    if not opened.whole:
        # Only what it changed was copied up.
        assert not (opened.changed / "link").is_symlink()
    await workspaces.close("run1")
    await workspaces.stop()
    assert not list((tmp_path / "runs" / ".removed").iterdir())


async def test_what_it_leaves_is_removed_whatever_its_modes(tmp_path: Path) -> None:
    folder = tmp_path / "left"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").touch()
    for path in (folder / "a" / "b" / "file", folder / "a" / "b", folder / "a"):
        os.chown(path, DEFAULT_UID, DEFAULT_UID)
        path.chmod(0)
    remove(folder)
    assert not folder.exists()


async def test_files_of_a_base_and_of_its_differences_belong_to_the_owner(
    mirror: Mirror, remote: Remote, origin: Path, head: str, tmp_path: Path
) -> None:
    first = await base.layers(tmp_path / "bases", mirror, head, None, DEFAULT_UID)
    (origin / "src" / "b.py").write_text("b\n")
    commit = commit_all(origin)
    await fetch(mirror, remote)
    second = await base.layers(tmp_path / "bases", mirror, commit, None, DEFAULT_UID)
    assert len(second.layers) == 2
    assert second.layers[1:] == first.layers
    for layer in second.layers:
        for path in (layer, *layer.rglob("*")):
            status = path.lstat()
            assert (status.st_uid, status.st_gid) == (DEFAULT_UID, DEFAULT_UID), path
    own = await base.layers(tmp_path / "bases", mirror, head)
    assert own.layers[0].stat().st_uid == 0
    assert own.layers != first.layers


async def test_nothing_is_copied_for_a_job_that_changes_nothing(
    mirror: Mirror, head: str, tmp_path: Path
) -> None:
    workspaces = Workspaces(
        tmp_path / "runs", tmp_path / "bases", Means("overlay", ""), owner=DEFAULT_UID
    )
    opened = await workspaces.open(mirror, head, "run1")
    assert stat.S_IMODE(opened.folder.stat().st_mode) == 0o755
    await work(opened, tmp_path / "home", "cat readme.txt")
    assert list(opened.changed.iterdir()) == []
    await workspaces.close("run1")
    await workspaces.stop()
