from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bot.errors import Refused
from bot.git import workspace
from bot.git.mirror import Mirror, fetch
from bot.git.remote import Remote

from .conftest import commit_all, dig, sh


async def test_a_workspace_has_the_files_of_its_commit_and_no_git(
    tmp_path: Path, mirror: Mirror, head: str
) -> None:
    folder, index = tmp_path / "runs" / "1" / "workspace", tmp_path / "runs" / "1" / "index"
    await workspace.create(mirror, head, folder, index)
    assert _names(folder) == [".gitignore", "link", "readme.txt", "run.sh", "src"]
    assert (folder / "readme.txt").read_text() == "hello\n"
    assert os.access(folder / "run.sh", os.X_OK)
    assert not os.access(folder / "readme.txt", os.X_OK)
    assert (folder / "link").readlink() == Path("src/a.py")
    assert index.is_file()
    with pytest.raises(FileExistsError):
        await workspace.create(mirror, head, folder, index)


async def test_line_ends_are_written_as_attributes_say(
    tmp_path: Path, origin: Path, mirror: Mirror, remote: Remote
) -> None:
    (origin / ".gitattributes").write_text("*.bat text eol=crlf\n*.x filter=evil\n")
    (origin / "a.bat").write_text("one\ntwo\n")
    (origin / "b.x").write_text("as it is\n")
    head = commit_all(origin)
    await fetch(mirror, remote)
    await workspace.create(mirror, head, tmp_path / "w", tmp_path / "i")
    assert (tmp_path / "w" / "a.bat").read_bytes() == b"one\r\ntwo\r\n"
    assert (tmp_path / "w" / "b.x").read_bytes() == b"as it is\n"


async def test_a_submodule_is_an_empty_folder(
    tmp_path: Path, origin: Path, mirror: Mirror, remote: Remote, head: str
) -> None:
    sh(origin, "update-index", "--add", "--cacheinfo", f"160000,{head},lib/sub")
    sh(origin, "commit", "-q", "-m", "Submodule")
    await fetch(mirror, remote)
    new = sh(origin, "rev-parse", "HEAD")
    await workspace.create(mirror, new, tmp_path / "w", tmp_path / "i")
    assert list((tmp_path / "w" / "lib" / "sub").iterdir()) == []


async def test_a_tree_with_gits_own_names_is_not_written(
    tmp_path: Path, mirror: Mirror, head: str
) -> None:
    blob = sh(mirror.path, "rev-parse", f"{head}:readme.txt")
    inner = sh(mirror.path, "mktree", input=f"100644 blob {blob}\tconfig\n".encode())
    tree = sh(mirror.path, "mktree", input=f"040000 tree {inner}\t.git\n".encode())
    with pytest.raises(Refused, match="git"):
        await workspace.create(mirror, tree, tmp_path / "w", tmp_path / "i")
    assert not (tmp_path / "w").exists()


async def test_a_workspace_half_made_by_a_killed_process_is_made_anew(
    tmp_path: Path, mirror: Mirror, head: str
) -> None:
    (tmp_path / ".w.making" / "src").mkdir(parents=True)
    (tmp_path / ".w.making" / "stale").touch()
    (tmp_path / "i.lock").touch()
    await workspace.create(mirror, head, tmp_path / "w", tmp_path / "i")
    assert not (tmp_path / "w" / "stale").exists()


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
    workspace.remove(folder)
    workspace.remove(folder)
    assert _names(tmp_path) == ["outside"]
    assert (outside / "kept").exists()


def test_a_removal_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".w.removing" / ".lifted-0" / "a").mkdir(parents=True)
    (tmp_path / "w").mkdir()
    workspace.remove(tmp_path / "w")
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
    code = Path(workspace.__file__).read_text().replace("from .", "from fake_")
    fakes = (
        "import sys, types\n"
        "for n, k in (('fake_program', 'git'), ('fake_repository', 'Mirror')):\n"
        "    sys.modules[n] = types.ModuleType(n); setattr(sys.modules[n], k, None)\n"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *_python(), "-"],
        input=f"{fakes}exec({code!r})\nremove(Path({str(folder)!r}))\n",
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
