from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.errors import TransientError
from bot.git import workspace
from bot.git.candidate import MAX_VIOLATIONS, Candidate, snapshot
from bot.git.mirror import Mirror, fetch
from bot.git.remote import Remote
from bot.git.scan import MAX_FILE, is_git_name, link_reason

from .conftest import commit_all, dig, sh


class Desk:
    """A workspace, and how it looks to a snapshot."""

    def __init__(self, mirror: Mirror, parent: str, place: Path) -> None:
        self.mirror, self.parent = mirror, parent
        self.folder, self.index = place / "workspace", place / "index"

    async def snapshot(self) -> Candidate:
        return await snapshot(self.mirror, self.folder, self.index, self.parent)

    async def violations(self) -> dict[str, str]:
        return {each.path: each.reason for each in (await self.snapshot()).violations}


async def _desk(mirror: Mirror, parent: str, place: Path) -> Desk:
    desk = Desk(mirror, parent, place)
    await workspace.create(mirror, parent, desk.folder, desk.index)
    return desk


@pytest.fixture
async def desk(mirror: Mirror, head: str, tmp_path: Path) -> Desk:
    return await _desk(mirror, head, tmp_path / "run")


async def test_an_untouched_workspace_is_its_parent(desk: Desk, origin: Path) -> None:
    found = await desk.snapshot()
    assert found.tree == sh(origin, "rev-parse", "HEAD^{tree}")
    assert (found.changes, found.violations) == ((), ())


async def test_each_kind_of_change_is_told_with_its_figures(desk: Desk) -> None:
    folder = desk.folder
    (folder / "readme.txt").write_text("hello\nworld\n")
    (folder / "src" / "a.py").rename(folder / "src" / "b.py")
    (folder / "run.sh").chmod(0o644)
    (folder / "link").unlink()
    (folder / "link").write_text("now a file\n")
    (folder / "picture").write_bytes(b"\0\1\2")
    (folder / "ignored.log").write_text("x")
    (folder / ".gitignore").unlink()
    (folder / ".gitignore").write_text("*.log\nbuild/\n")
    found = {each.path: each for each in (await desk.snapshot()).changes}
    assert {path: (each.status, each.added, each.deleted) for path, each in found.items()} == {
        "link": ("typechange", 1, 1),
        "picture": ("added", 0, 0),
        "readme.txt": ("modified", 1, 0),
        "run.sh": ("mode", 0, 0),
        "src/b.py": ("renamed", 0, 0),
    }
    assert found["picture"].binary
    assert found["picture"].size == 3
    assert found["src/b.py"].old_path == "src/a.py"
    assert (found["run.sh"].old_mode, found["run.sh"].new_mode) == (0o100755, 0o100644)
    assert (found["picture"].old_mode, found["readme.txt"].size) == (0, 12)


async def test_what_is_tracked_stays_though_it_is_ignored_and_the_index_is_lost(
    origin: Path, mirror: Mirror, remote: Remote, tmp_path: Path
) -> None:
    (origin / "kept.log").write_text("tracked\n")
    sh(origin, "add", "-f", "kept.log")
    head = commit_all(origin)
    await fetch(mirror, remote)
    desk = await _desk(mirror, head, tmp_path / "run")
    desk.index.unlink()
    desk.index.with_name("index.lock").touch()  # of one that was killed
    assert (await desk.snapshot()).changes == ()


async def test_a_name_in_no_known_encoding_survives(desk: Desk) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (desk.folder / name).write_text("x\n")
    (desk.folder / "new\nline").write_text("x\n")
    found = await desk.snapshot()
    assert [each.path for each in found.changes] == [name, "new\nline"]
    listed = sh(desk.mirror.path, "ls-tree", "-z", "--name-only", found.tree)
    assert name in listed.split("\0")


GIT_NAMES = [".git", ".GIT", ".gIt", ".git.", ".git ", ".git. .", "git~1", "GIT~1", ".g\u200cit"]
GIT_NAMES += [".git\ufeff", ".git::$INDEX_ALLOCATION", "a\\.git", ".git\\config"]


@pytest.mark.parametrize("name", GIT_NAMES)
async def test_every_spelling_of_gits_own_folder_is_refused(desk: Desk, name: str) -> None:
    (desk.folder / name).mkdir()
    (desk.folder / name / "config").write_text("[core]\n\tfsmonitor = touch /tmp/owned\n")
    (desk.folder / "good.txt").write_text("good\n")
    found = await desk.snapshot()
    assert [each.path for each in found.violations] == [name]
    assert [each.path for each in found.changes] == ["good.txt"]


@pytest.mark.parametrize("name", [".gitignore", ".github", "git", "git~2", "x.git", ".gitty", "."])
def test_names_that_are_like_it_are_not(name: str) -> None:
    assert not is_git_name(name)


async def test_a_repository_within_the_repository_is_refused_and_left_out(desk: Desk) -> None:
    sh(desk.folder, "init", "-q", "lib/inner")
    (desk.folder / "lib" / "inner" / "file").write_text("x\n")
    commit_all(desk.folder / "lib" / "inner")
    found = await desk.snapshot()
    assert [each.path for each in found.violations] == ["lib/inner/.git"]
    assert found.changes == ()


async def test_pipes_sockets_devices_and_setuid_files_are_refused_unopened(desk: Desk) -> None:
    (desk.folder / "src" / "a.py").unlink()
    os.mkfifo(desk.folder / "src" / "a.py")  # in a tracked file's place; opening it would hang
    os.mkfifo(desk.folder / "pipe")
    (desk.folder / "tool").touch()
    (desk.folder / "tool").chmod(0o4755)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(desk.folder / "sock"))
    expected = {"src/a.py": "pipe", "pipe": "pipe", "sock": "socket", "tool": "setuid"}
    if os.geteuid() == 0:
        try:
            os.mknod(desk.folder / "dev", 0o020600, os.makedev(1, 3))
            expected["dev"] = "device"
        except PermissionError:
            pass
    found = await desk.violations()
    assert found.keys() == expected.keys()
    assert all(word in found[path] for path, word in expected.items())


LINKS = {
    "/etc/passwd": "outside",
    "../x": "outside",
    "sub/../../x": "goes up",
    "src/../readme.txt": "goes up",
    ".git/config": "git's own",
    ".": None,
    "src/a.py": None,
    "./src//a.py": None,
    "absent": None,
}


@pytest.mark.parametrize("target", LINKS)
async def test_a_link_may_not_lead_out(desk: Desk, target: str) -> None:
    (desk.folder / "new").symlink_to(target)
    found = await desk.violations()
    reason = LINKS[target]
    assert (reason in found["new"]) if reason else found == {}


def test_links_through_links_stay_inside() -> None:
    """A link may climb to the root; `d -> .` and `e -> d/../x` together would lead out."""
    assert link_reason("src/deep", "../readme.txt") is None
    assert link_reason("d", ".") is None
    assert link_reason("e", "d/../x")


async def test_a_link_that_the_repository_had_is_its_own_affair(
    origin: Path, mirror: Mirror, remote: Remote, tmp_path: Path
) -> None:
    (origin / "out").symlink_to("/usr/share")
    head = commit_all(origin)
    await fetch(mirror, remote)
    desk = await _desk(mirror, head, tmp_path / "run")
    assert await desk.violations() == {}


async def test_what_is_ignored_is_no_violation(desk: Desk) -> None:
    sh(desk.folder, "init", "-q", "build/dependency")
    os.mkfifo(desk.folder / "build" / "pipe")
    (desk.folder / "build" / "python").symlink_to("/usr/bin/python3")
    found = await desk.snapshot()
    assert (found.changes, found.violations) == ((), ())


async def test_an_attack_by_ignoring_everything_hides_no_git_folder(desk: Desk) -> None:
    (desk.folder / ".gitignore").write_text("*\n")
    sh(desk.folder, "init", "-q")
    found = await desk.snapshot()
    assert [each.path for each in found.changes] == [".gitignore"]


async def test_a_submodule_stays_and_nothing_in_it_runs(
    origin: Path, mirror: Mirror, remote: Remote, tmp_path: Path, head: str
) -> None:
    sh(origin, "update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    sh(origin, "commit", "-q", "-m", "Submodule")
    await fetch(mirror, remote)
    desk = await _desk(mirror, sh(origin, "rev-parse", "HEAD"), tmp_path / "run")
    assert (await desk.snapshot()).changes == ()
    inner = desk.folder / "sub"
    sh(inner, "init", "-q")
    commit_all(inner)
    trap = tmp_path / "owned"
    sh(inner, "config", "core.fsmonitor", f"touch {trap}; false")
    found = await desk.snapshot()
    assert [each.path for each in found.violations] == ["sub/.git"]
    assert found.changes == ()
    assert not trap.exists()
    workspace.remove(inner)
    assert [each.status for each in (await desk.snapshot()).changes] == ["deleted"]


async def test_configuration_in_the_workspace_runs_nothing(desk: Desk, tmp_path: Path) -> None:
    trap = tmp_path / "owned"
    (desk.folder / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (desk.folder / ".gitconfig").write_text(f"[filter 'evil']\n\tclean = touch {trap}\n")
    (desk.folder / "HEAD").write_text("ref: refs/heads/main\n")
    (desk.folder / "objects").mkdir()
    (desk.folder / "refs").mkdir()
    (desk.folder / "config").write_text(f"[core]\n\tfsmonitor = touch {trap}\n")
    found = await desk.snapshot()
    assert found.violations == ()
    assert not trap.exists()


async def test_a_link_in_place_of_a_file_that_git_reads_is_refused(desk: Desk) -> None:
    (desk.folder / ".gitmodules").symlink_to("readme.txt")
    (desk.folder / "good.txt").write_text("x\n")
    found = await desk.snapshot()
    assert [each.path for each in found.violations] == [".gitmodules"]
    assert [each.path for each in found.changes] == ["good.txt"]


async def test_a_file_that_github_would_refuse_is_left_out(desk: Desk) -> None:
    with (desk.folder / "big").open("wb") as file:
        file.truncate(MAX_FILE + 1)  # sparse: it takes no room
    found = await desk.snapshot()
    assert {each.path: each.reason for each in found.violations} == {
        "big": "It is larger than 100 MiB, which GitHub refuses."
    }
    assert found.changes == ()


async def test_with_too_many_violations_nothing_is_read(desk: Desk) -> None:
    for number in range(MAX_VIOLATIONS + 5):
        os.mkfifo(desk.folder / f"pipe{number}")
    (desk.folder / "good.txt").touch()
    found = await desk.snapshot()
    assert len(found.violations) == MAX_VIOLATIONS
    assert found.changes == ()


async def test_names_with_a_meaning_for_git_are_plain_names(desk: Desk) -> None:
    for name in (":(exclude)x", "*", "-a", "[x]", "!x"):
        os.mkfifo(desk.folder / name)
    assert set(await desk.violations()) == {":(exclude)x", "*", "-a", "[x]", "!x"}
    (desk.folder / ":!y").write_text("y\n")
    assert [each.path for each in (await desk.snapshot()).changes] == [":!y"]


async def test_a_folder_that_changes_meanwhile_is_read_or_tried_again_later(desk: Desk) -> None:
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.wait(0.0005):
            number += 1
            path = desk.folder / f"churn{number % 40}"
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.mkdir()
                (path / "file").write_text(f"{number}\n" * (number % 7))

    thread = threading.Thread(target=churn)
    thread.start()
    (desk.folder / "good.txt").write_text("good\n")
    try:
        for _ in range(5):
            with contextlib.suppress(TransientError):
                assert "good.txt" in {each.path for each in (await desk.snapshot()).changes}
    finally:
        stop.set()
        thread.join()
    found = await desk.snapshot()
    there = {str(each.relative_to(desk.folder)) for each in desk.folder.glob("churn*/file")}
    assert {each.path for each in found.changes} == {"good.txt", *there}


@pytest.mark.parametrize("depth", [1200])
async def test_a_path_longer_than_any_may_be_is_a_violation(desk: Desk, depth: int) -> None:
    dig(desk.folder, depth)
    reasons = list((await desk.violations()).values())
    assert len(reasons) == 1
    assert "cannot be read" in reasons[0]
    workspace.remove(desk.folder)
    assert not desk.folder.exists()


NAMES = st.sampled_from(["a", "b", "c d", "é", "-x", "x.log", "#y"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
EDITS = st.one_of(
    st.tuples(st.just("write"), PATHS, st.sampled_from(["", "x\n", "y" * 300, "x\r\ny\n"])),
    st.tuples(st.just("delete"), PATHS, st.just("")),
    st.tuples(st.just("chmod"), PATHS, st.just("")),
    st.tuples(st.just("link"), PATHS, st.sampled_from(["a", "b/c", "."])),
    st.tuples(st.just("snapshot"), st.just(""), st.just("")),
)


def _edit(folder: Path, kind: str, path: str, content: str) -> None:
    place = folder / path
    for above in reversed(place.relative_to(folder).parents[:-1]):
        if (folder / above).is_symlink() or (folder / above).is_file():
            (folder / above).unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "chmod":
        if place.is_file() and not place.is_symlink():
            place.chmod(place.stat().st_mode ^ 0o111)
        return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    if kind == "write":
        place.write_bytes(content.encode())
    elif kind == "link":
        place.symlink_to(content)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(EDITS, max_size=12))
async def test_a_snapshot_is_the_tree_that_git_makes_of_the_same_files(
    edits: list[tuple[str, str, str]], mirror: Mirror, origin: Path, head: str, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as made:
        desk = await _desk(mirror, head, Path(made) / "run")
        for edit in edits:
            if edit[0] == "snapshot":
                await desk.snapshot()
            else:
                _edit(desk.folder, *edit)
        found = await desk.snapshot()
        plain = Path(made) / "plain"
        sh(origin, "worktree", "add", "-q", "--detach", str(plain), head)
        for entry in plain.iterdir():
            if entry.name == ".git":
                continue
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        shutil.copytree(desk.folder, plain, symlinks=True, dirs_exist_ok=True)
        sh(plain, "add", "-A")
        assert found.tree == sh(plain, "write-tree")
        assert bool(found.changes) == (found.tree != sh(origin, "rev-parse", f"{head}^{{tree}}"))
        sh(origin, "worktree", "remove", "--force", str(plain))
