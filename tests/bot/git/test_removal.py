from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bot.git import removal
from bot.git.overlay import mount, mounts_below, unmount
from bot.git.removal import remove, remove_or_leave

from .conftest import dig


def test_removal_takes_what_is_locked_linked_and_deep(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    folder = tmp_path / "w"
    (folder / "locked" / "inner").mkdir(parents=True)
    (folder / "locked" / "inner" / "file").touch()
    (folder / "out").symlink_to(outside)
    (folder / ".lifted-3").mkdir()
    (folder / "file").touch(mode=0o400)
    os.mkfifo(folder / "pipe")
    dig(folder, 1500)
    (folder / "locked" / "inner").chmod(0)
    (folder / "locked").chmod(0o500)
    folder.chmod(0o500)
    remove(folder)
    remove(folder)
    assert _names(tmp_path) == ["outside"]
    assert (outside / "kept").exists()


def test_a_removal_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".w.removing" / ".lifted-0" / "a").mkdir(parents=True)
    (tmp_path / "w").mkdir()
    remove(tmp_path / "w")
    assert _names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_what_is_in_use_is_left_to_the_next_removal(tmp_path: Path) -> None:
    places = [tmp_path / "w" / name for name in ("lower", "upper", "work", "target")]
    for each in places:
        each.mkdir(parents=True)
    lower, upper, work, target = places
    mount([lower], upper, work, target)
    remove_or_leave(tmp_path / "w")
    (left,) = tmp_path.iterdir()
    remove_or_leave(left)
    assert _names(tmp_path) == [left.name]  # however often: no name grows
    for point in mounts_below(tmp_path):
        unmount(point)
    remove_or_leave(left)
    assert _names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, setpriv")
def test_removal_needs_no_rights_but_those_of_the_owner(tmp_path: Path) -> None:
    """As root no mode forbids anything, so this runs as somebody else."""
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    folder = place / "w"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "c").touch()
    for path in (place, folder, folder / "a", folder / "a" / "b", folder / "a" / "b" / "c"):
        os.chown(path, 65534, 65534)
    for path in (folder / "a" / "b", folder / "a", folder):
        path.chmod(0)
    # The module is given as text: the other user may not reach where it lies.
    code = Path(removal.__file__).read_text()
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *_python(), "-"],
        input=f"{code}\nremove(Path({str(folder)!r}))\n",
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    left = _names(place)
    shutil.rmtree(place)
    if "No such file" in done.stderr and "setpriv" in done.stderr:
        pytest.skip("the other user may not run this Python")
    assert done.returncode == 0, done.stderr
    assert left == []


def _python() -> list[str]:
    system = Path("/usr/bin/python3")
    return [str(system) if system.exists() else sys.executable, "-I"]


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())
