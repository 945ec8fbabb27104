"""Handles are kept open, and never longer than what they show is there."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bot.errors import Refused
from bot.git import objects, refs, repository
from bot.git.mirror import Mirror
from bot.git.repository import open_repository

from .conftest import sh


async def test_a_mirror_is_opened_once_a_thread(mirror: Mirror) -> None:
    assert open_repository(mirror) is open_repository(Mirror(mirror.path))
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(open_repository(mirror)))
    thread.start()
    thread.join()
    assert others[0] is not open_repository(mirror)


async def test_what_git_writes_meanwhile_is_seen(mirror: Mirror, head: str) -> None:
    repo = open_repository(mirror)
    made = sh(mirror.path, "commit-tree", "-m", "Beside", f"{head}^{{tree}}")
    sh(mirror.path, "update-ref", "refs/heads/beside", made)
    assert refs.tip(mirror, "refs/heads/beside") == made
    assert objects.exists(mirror, made)
    sh(mirror.path, "pack-refs", "--all")
    sh(mirror.path, "update-ref", "-d", "refs/heads/beside")
    assert refs.tip(mirror, "refs/heads/beside") is None
    assert open_repository(mirror) is repo


async def test_a_mirror_made_anew_is_opened_anew(tmp_path: Path, mirror: Mirror, head: str) -> None:
    assert objects.exists(mirror, head)
    shutil.copytree(mirror.path, tmp_path / "kept")
    shutil.rmtree(mirror.path)
    with pytest.raises(Refused, match="cannot be opened"):
        open_repository(mirror)
    sh(tmp_path, "init", "-q", "--bare", str(mirror.path))
    assert not objects.exists(mirror, head)
    shutil.rmtree(mirror.path)
    (tmp_path / "kept").rename(mirror.path)
    assert objects.exists(mirror, head)


async def test_what_a_collection_removed_is_gone(mirror: Mirror, head: str) -> None:
    made = sh(mirror.path, "commit-tree", "-m", "Beside", f"{head}^{{tree}}")
    sh(mirror.path, "update-ref", "refs/heads/beside", made)
    sh(mirror.path, "repack", "-q", "-a", "-d")
    assert objects.exists(mirror, made)
    sh(mirror.path, "update-ref", "-d", "refs/heads/beside")
    sh(mirror.path, "gc", "-q", "--prune=now")
    assert not objects.exists(mirror, made)


def test_only_the_newest_handles_are_kept(tmp_path: Path) -> None:
    mirrors = [Mirror(tmp_path / f"{n}.git") for n in range(repository.HANDLES + 1)]
    for each in mirrors:
        sh(tmp_path, "init", "-q", "--bare", str(each.path))
    first = open_repository(mirrors[0])
    second = open_repository(mirrors[1])
    for each in mirrors[2:]:
        open_repository(each)
    assert open_repository(mirrors[1]) is second
    assert open_repository(mirrors[0]) is not first


def test_a_thread_beside_keeps_the_last_one_alone(tmp_path: Path) -> None:
    mirrors = [Mirror(tmp_path / f"{n}.git") for n in range(2)]
    for each in mirrors:
        sh(tmp_path, "init", "-q", "--bare", str(each.path))

    def look() -> None:
        first = open_repository(mirrors[0])
        assert open_repository(mirrors[0]) is first
        open_repository(mirrors[1])
        assert open_repository(mirrors[0]) is not first

    with ThreadPoolExecutor(1) as beside:
        beside.submit(look).result()
