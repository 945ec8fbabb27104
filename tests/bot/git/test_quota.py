"""Limits that the file system holds a workspace to, on real ones with project quotas."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.git import quota
from bot.git.mirror import Mirror
from bot.git.overlay import Means, probe, unmount
from bot.git.workspace import Workspaces

MEGABYTE = 1024 * 1024


MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"),
    "xfs": ("mkfs.xfs", "-q"),
}
FULL = "Disk quota exceeded|No space left"  # ext4 says the one, xfs the other
SIZE = 320 * MEGABYTE  # the least that xfs takes; the file has holes


@pytest.fixture(scope="module", params=MAKERS)
def disk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A file system that counts by project."""
    if os.geteuid():
        pytest.skip("only root may mount a file system and set quotas")
    place = tmp_path_factory.mktemp("disk")
    image, point = place / "image", place / "disk"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE)
    for command in (
        (*MAKERS[request.param], str(image)),
        ("mount", "-o", "loop,prjquota", str(image), str(point)),
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is missing")
        if done.returncode:
            pytest.skip(f"no file system with project quotas here: {done.stderr.splitlines()[0]}")
    yield point
    unmount(point)


def test_the_probe_finds_out_whether_a_limit_is_enforced(disk: Path, tmp_path: Path) -> None:
    assert probe(disk / "runs").quota
    assert "enforced by a project quota" in probe(disk / "runs").sentence
    assert list((disk / "runs").iterdir()) == []
    plain = probe(tmp_path / "runs")
    assert not plain.quota
    assert "watched" in plain.sentence


async def test_a_workspace_cannot_grow_past_its_limit(
    disk: Path, mirror: Mirror, head: str
) -> None:
    workspaces = Workspaces(
        disk / "runs", disk / "bases", probe(disk / "runs"), disk_bytes=2 * MEGABYTE
    )
    opened = await workspaces.open(mirror, head, "run1")
    other = await workspaces.open(mirror, head, "run2")
    try:
        (opened.folder / "fits").write_bytes(os.urandom(MEGABYTE))
        assert MEGABYTE <= await workspaces.used("run1") < 1.1 * MEGABYTE
        with pytest.raises(OSError, match=FULL):
            (opened.folder / "large").write_bytes(os.urandom(2 * MEGABYTE))
        assert await workspaces.used("run1") <= 2 * MEGABYTE
        (other.folder / "large").write_bytes(os.urandom(MEGABYTE))
        (opened.folder / "large").unlink()
        (opened.folder / "again").write_bytes(os.urandom(MEGABYTE // 2))
    finally:
        await workspaces.close("run1")
        await workspaces.stop()


async def test_a_limit_is_forgotten_with_its_workspace(
    disk: Path, mirror: Mirror, head: str
) -> None:
    means = Means("overlay", "", quota=True)
    workspaces = Workspaces(disk / "runs", disk / "bases", means, disk_bytes=MEGABYTE)
    opened = await workspaces.open(mirror, head, "run1")
    project = quota.project(opened.changed)
    assert project
    assert quota.limited(disk, project) == MEGABYTE
    await workspaces.close("run1")
    await workspaces.stop()
    assert quota.limited(disk, project) == 0


async def test_files_have_a_limit_as_well(
    disk: Path, mirror: Mirror, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "MAX_FILES", 50)
    means = Means("overlay", "", quota=True)
    workspaces = Workspaces(disk / "runs", disk / "bases", means, disk_bytes=8 * MEGABYTE)
    opened = await workspaces.open(mirror, head, "run1")

    def fill() -> None:
        for number in range(60):
            (opened.folder / str(number)).touch()

    with pytest.raises(OSError, match=FULL):
        await asyncio.to_thread(fill)
    await workspaces.close("run1")
    await workspaces.stop()


def test_a_file_system_without_quotas_says_no(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"not supported|not permitted|No such|Inappropriate"):
        quota.limit(tmp_path, MEGABYTE)
