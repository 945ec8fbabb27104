"""What a workspace becomes: by an overlay's upper layer, and by a plain folder, the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.errors import TransientError
from bot.git import candidate, objects, overlay, rollback
from bot.git import scan as scan_module
from bot.git.base import check_out
from bot.git.candidate import Candidate, Made, Source, take
from bot.git.diff import changes
from bot.git.mirror import Mirror, fetch
from bot.git.names import is_git_name, link_reason
from bot.git.objects import tree_of
from bot.git.overlay import OPAQUE
from bot.git.remote import Remote
from bot.git.removal import remove
from bot.git.scan import (
    MAX_DEPTH,
    MAX_FILE,
    MAX_VIOLATIONS,
    Scan,
    scan,
)
from policies.facts import Change

from .conftest import AT, BOT, commit_all, dig, sh

LONG = bool(os.environ.get("ORCHESTRATE_TEST_LONG"))
IS_ROOT = os.geteuid() == 0
KINDS = ["overlay", "checkout"] if IS_ROOT else ["checkout"]


class Desk:
    """A workspace, and how it looks to the host."""

    def __init__(self, mirror: Mirror, parent: str, place: Path, kind: str) -> None:
        self.mirror, self.parent, self.place = mirror, parent, place
        self.tree = tree_of(mirror, parent)
        self.folder, self.upper = place / "workspace", place / "upper"
        self.kind = kind
        place.mkdir(parents=True)

    async def lay_out(self) -> None:
        lower = self.mirror.path.with_name(f"base-{self.tree}")
        if not lower.exists():
            await check_out(self.mirror, self.tree, lower, self.place / "index")
        if self.kind == "checkout":
            shutil.copytree(lower, self.folder, symlinks=True)
            return
        for each in (self.upper, self.place / "work", self.folder):
            each.mkdir()
        overlay.mount([lower], self.upper, self.place / "work", self.folder)

    def clear(self) -> None:
        if self.kind == "overlay":
            overlay.unmount(self.folder)

    @property
    def source(self) -> Source:
        if self.kind == "overlay":
            return Source(self.upper, self.tree, OPAQUE["overlay"])
        return Source(self.folder, self.tree, whole=True)

    def take(self) -> Candidate:
        made = Made("A turn\n", BOT, BOT, AT)
        return take(self.mirror, self.source, self.parent, made)

    def changes(self) -> list[Change]:
        return list(changes(self.mirror, self.parent, self.take().tree))

    def violations(self) -> dict[str, str]:
        return {each.path: each.reason for each in self.take().violations}


async def _desk(mirror: Mirror, parent: str, place: Path, kind: str) -> Desk:
    desk = Desk(mirror, parent, place, kind)
    await desk.lay_out()
    return desk


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def desks(tmp_path: Path, kind: str) -> AsyncIterator[object]:
    made: list[Desk] = []

    async def make(mirror: Mirror, parent: str) -> Desk:
        made.append(await _desk(mirror, parent, tmp_path / f"run{len(made)}", kind))
        return made[-1]

    yield make
    for desk in made:
        desk.clear()


@pytest.fixture
async def desk(mirror: Mirror, head: str, desks: object) -> Desk:
    return await desks(mirror, head)  # type: ignore[operator,no-any-return]


def test_an_untouched_workspace_is_its_parent(desk: Desk, head: str) -> None:
    found = desk.take()
    assert (found.tree, found.commit, found.violations) == (desk.tree, head, ())


def test_a_candidate_is_a_commit_that_nothing_points_to(desk: Desk, head: str) -> None:
    (desk.folder / "readme.txt").write_text("hello\nworld\n")
    before = sh(desk.mirror.path, "for-each-ref")
    found = desk.take()
    assert sh(desk.mirror.path, "for-each-ref") == before
    assert sh(desk.mirror.path, "rev-parse", f"{found.commit}^") == head
    assert sh(desk.mirror.path, "rev-parse", f"{found.commit}^{{tree}}") == found.tree
    assert sh(desk.mirror.path, "show", "-s", "--format=%an <%ae> %ad", found.commit).startswith(
        f"{BOT.name} <{BOT.email}>"
    )
    assert desk.take() == found, "the same again is the same commit"
    sh(desk.mirror.path, "fsck", "--strict", "--no-dangling")


def test_each_kind_of_change_is_told_with_its_figures(desk: Desk) -> None:
    folder = desk.folder
    (folder / "readme.txt").write_text("hello\nworld\n")
    (folder / "src" / "a.py").rename(folder / "src" / "b.py")
    (folder / "run.sh").chmod(0o644)
    (folder / "link").unlink()
    (folder / "link").write_text("now a file\n")
    (folder / "picture").write_bytes(b"\0\1\2")
    (folder / "ignored.log").write_text("x")
    (folder / "empty").mkdir()
    (folder / ".gitignore").unlink()
    (folder / ".gitignore").write_text("*.log\nbuild/\n")
    found = {each.path: each for each in desk.changes()}
    assert {path: (each.status, each.added, each.deleted) for path, each in found.items()} == {
        "link": ("typechange", 1, 1),
        "picture": ("added", 0, 0),
        "readme.txt": ("modified", 1, 0),
        "run.sh": ("mode", 0, 0),
        "src/b.py": ("renamed", 0, 0),
    }
    assert found["picture"].binary
    assert found["src/b.py"].old_path == "src/a.py"
    assert (found["run.sh"].old_mode, found["run.sh"].new_mode) == (0o100755, 0o100644)


def test_a_folder_that_takes_anothers_place_hides_what_was_there(desk: Desk) -> None:
    shutil.rmtree(desk.folder / "src")
    (desk.folder / "src").mkdir()
    (desk.folder / "src" / "new.py").write_text("x\n")
    listed = sh(desk.mirror.path, "ls-tree", "-r", "--name-only", desk.take().tree)
    assert "src/new.py" in listed
    assert "src/a.py" not in listed


async def test_a_folder_made_anew_hides_what_was_there_in_folders_of_the_same_names_too(
    origin: Path, mirror: Mirror, remote: Remote, desks: object
) -> None:
    """Only the folder on top is marked, and there is no sign of what went with those in it."""
    for place in ("top/in/deep", "top/in", "top"):
        (origin / place).mkdir(parents=True, exist_ok=True)
        (origin / place / "old").write_text(f"{place}\n")
    head = commit_all(origin)
    await fetch(mirror, remote)
    desk: Desk = await desks(mirror, head)  # type: ignore[operator]
    shutil.rmtree(desk.folder / "top")
    (desk.folder / "top" / "in" / "deep").mkdir(parents=True)
    (desk.folder / "top" / "in" / "deep" / "new").write_text("x\n")
    listed = sh(mirror.path, "ls-tree", "-r", "--name-only", desk.take().tree, "top/")
    assert listed == "top/in/deep/new"
    _same_as_git(desk, origin)


def test_a_folder_of_the_commit_can_be_moved(desk: Desk) -> None:
    """An overlay that only noted where the folder was would lose what is in it."""
    shutil.move(desk.folder / "src", desk.folder / "lib")
    assert [(each.old_path, each.path) for each in desk.changes()] == [("src/a.py", "lib/a.py")]


def test_when_everything_is_removed_the_tree_is_empty(desk: Desk) -> None:
    for each in list(desk.folder.iterdir()):
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
    found = desk.take()
    assert sh(desk.mirror.path, "ls-tree", found.tree) == ""
    sh(desk.mirror.path, "fsck", "--strict", "--no-dangling")


def test_what_is_touched_and_not_changed_is_no_change(desk: Desk) -> None:
    (desk.folder / "readme.txt").touch()
    (desk.folder / "src" / "a.py").chmod(0o600)
    (desk.folder / "src" / "a.py").rename(desk.folder / "x")
    (desk.folder / "x").rename(desk.folder / "src" / "a.py")
    assert desk.changes() == []


async def test_what_is_tracked_stays_though_it_is_ignored(
    origin: Path, mirror: Mirror, remote: Remote, desks: object
) -> None:
    (origin / "kept.log").write_text("tracked\n")
    (origin / "build").mkdir()
    (origin / "build" / "kept").write_text("tracked\n")
    sh(origin, "add", "-f", "kept.log", "build/kept")
    head = commit_all(origin)
    await fetch(mirror, remote)
    desk: Desk = await desks(mirror, head)  # type: ignore[operator]
    assert desk.changes() == []
    (desk.folder / "kept.log").write_text("changed\n")
    (desk.folder / "build" / "kept").write_text("changed\n")
    (desk.folder / "build" / "other").write_text("not tracked\n")
    assert [each.path for each in desk.changes()] == ["build/kept", "kept.log"]


def test_a_name_in_no_known_encoding_survives(desk: Desk) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (desk.folder / name).write_text("x\n")
    (desk.folder / "new\nline").write_text("x\n")
    found = desk.take()
    assert [each.path for each in desk.changes()] == [name, "new\nline"]
    listed = sh(desk.mirror.path, "ls-tree", "-z", "--name-only", found.tree)
    assert name in listed.split("\0")


GIT_NAMES = [".git", ".GIT", ".gIt", ".git.", ".git ", ".git. .", "git~1", "GIT~1", ".g\u200cit"]
GIT_NAMES += [".git\ufeff", ".git::$INDEX_ALLOCATION", "a\\.git", ".git\\config"]


@pytest.mark.parametrize("name", GIT_NAMES)
def test_every_spelling_of_gits_own_folder_is_refused(desk: Desk, name: str) -> None:
    (desk.folder / name).mkdir()
    (desk.folder / name / "config").write_text("[core]\n\tfsmonitor = touch /tmp/owned\n")
    (desk.folder / "good.txt").write_text("good\n")
    assert list(desk.violations()) == [name]
    assert [each.path for each in desk.changes()] == ["good.txt"]


@pytest.mark.parametrize("name", GIT_NAMES)
def test_it_is_refused_as_a_file_as_a_link_and_in_any_folder(desk: Desk, name: str) -> None:
    """A file of that name leads git to a repository elsewhere."""
    for place in ("src", "lib/inner"):
        (desk.folder / place).mkdir(parents=True, exist_ok=True)
        (desk.folder / place / "file").write_text("x\n")
    (desk.folder / name).write_text("gitdir: src\n")
    (desk.folder / "src" / name).symlink_to("a.py")
    (desk.folder / "lib" / "inner" / name).mkdir()
    assert set(desk.violations()) == {name, f"src/{name}", f"lib/inner/{name}"}
    assert desk.take().tree == desk.tree


def _mangled(*names: str) -> list[str]:
    """Names with what some file systems take away, in front, within and behind."""
    parts = ["", ".", " ", ":", "\\", "x", "~1", "1", "\u200c", "\ufeff"]
    added = {one + other for one in parts for other in parts}
    found = {(each + it, it + each, each[:2] + it + each[2:]) for each in names for it in added}
    return sorted({name for each in found for name in each} - {".", ".."})


def _faults(mirror: Mirror, names: list[str], mode: int, blob: str) -> dict[str, str]:
    """What git finds wrong with an entry of each name, in a tree of its own."""
    entry = f"{mode:o} blob {blob}\t"
    trees = "".join(f"{entry}{name}\0\0" for name in names).encode()
    made = sh(mirror.path, "mktree", "-z", "--batch", input=trees).split()
    done = subprocess.run(
        ["git", "fsck", "--strict", "--no-dangling", "--no-reflogs"],
        cwd=mirror.path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.partition(" in tree ")[2] for line in done.stderr.splitlines()]
    told = {line[:40]: line for line in lines if line}
    return {name: told[tree] for name, tree in zip(names, made, strict=True) if tree in told}


def test_what_git_takes_for_its_own_folder_we_do(mirror: Mirror, head: str) -> None:
    names = _mangled(".git", ".GiT", "git~1", "GIT~1", "git~2", "git", "..git", ".gitx")
    blob = sh(mirror.path, "rev-parse", f"{head}:readme.txt")
    found = _faults(mirror, names, 0o100644, blob)
    refused = {name for name, fault in found.items() if "hasDotgit" in fault}
    assert len(refused) > 100
    assert {name for name in refused if not is_git_name(name)} == set()


async def test_what_git_reads_as_its_own_file_may_be_no_link(
    mirror: Mirror, head: str, tmp_path: Path
) -> None:
    names = _mangled(".gitmodules", ".GITATTRIBUTES", ".gitignore", "gitmod~1", "GITATT~4")
    names += _mangled("gi7eba~1", "gi7eb~10", "g~123456", "~1234567", "gi7d29~9", "gi250a~2")
    blob = sh(mirror.path, "rev-parse", f"{head}:readme.txt")
    found = _faults(mirror, names, 0o120000, blob)
    refused = {name for name, fault in found.items() if "Symlink" in fault}
    assert len(refused) > 100
    desk = await _desk(mirror, head, tmp_path / "run", "checkout")
    missed: set[str] = set()
    for start in range(0, len(refused), MAX_VIOLATIONS):
        some = sorted(refused)[start : start + MAX_VIOLATIONS]
        for name in some:
            (desk.folder / name).unlink(missing_ok=True)
            (desk.folder / name).symlink_to("readme.txt")
        missed |= set(some) - desk.violations().keys()
        for name in some:
            (desk.folder / name).unlink()
    assert missed == set()


@pytest.mark.parametrize("name", [".gitignore", ".github", "git", "git~2", "x.git", ".gitty", "."])
def test_names_that_are_like_it_are_not(name: str) -> None:
    assert not is_git_name(name)


def test_a_repository_within_the_repository_is_refused_and_left_out(desk: Desk) -> None:
    for place in ("lib/inner", "src"):
        sh(desk.folder, "init", "-q", place)
        (desk.folder / place / "file").write_text("x\n")
        commit_all(desk.folder / place)
    assert list(desk.violations()) == ["lib/inner/.git", "src/.git"]
    assert desk.changes() == []


def test_pipes_sockets_devices_and_setuid_files_are_refused_unopened(desk: Desk) -> None:
    (desk.folder / "src" / "a.py").unlink()
    os.mkfifo(desk.folder / "src" / "a.py")  # in a tracked file's place; opening it would hang
    os.mkfifo(desk.folder / "pipe")
    os.mkfifo(desk.folder / "src" / ".gitignore")
    (desk.folder / "tool").touch()
    (desk.folder / "tool").chmod(0o4755)
    (desk.folder / "src" / "group").touch()
    (desk.folder / "src" / "group").chmod(0o2755)
    expected = {"src/a.py": "pipe", "pipe": "pipe", "src/.gitignore": "pipe"}
    expected |= {"tool": "setuid", "src/group": "setgid"}
    with socket.socket(socket.AF_UNIX) as made, tempfile.TemporaryDirectory() as short:
        # A socket's path may have 107 bytes.
        made.bind(f"{short}/sock")
        if desk.kind == "checkout":
            Path(short, "sock").rename(desk.folder / "sock")
            expected["sock"] = "socket"
    if IS_ROOT:
        with contextlib.suppress(PermissionError):
            for name, mode, device in (("dev", 0o020600, (1, 3)), ("disk", 0o060600, (7, 0))):
                os.mknod(desk.folder / name, mode, os.makedev(*device))
                expected[name] = "device"
    found = desk.violations()
    assert found.keys() == expected.keys()
    assert all(word in found[path] for path, word in expected.items())
    assert desk.take().tree == desk.tree


def test_nothing_in_a_workspace_passes_for_a_sign_of_the_overlay(desk: Desk) -> None:
    """Not the device that stands for what is gone, nor the mark of a folder that hides another."""
    file = desk.folder / "readme.txt"
    file.unlink()
    try:
        os.mknod(file, 0o020600, os.makedev(0, 0))
    except PermissionError:  # an overlay makes none for others
        assert desk.kind == "overlay" or not IS_ROOT
    else:
        assert desk.violations() == {"readme.txt": "It is a device, not a file."}
        file.unlink()
    file.write_text("changed\n")
    for name in (*OPAQUE.values(), "user.overlay.whiteout", "trusted.overlay.redirect"):
        for place in ("src", "run.sh"):
            with contextlib.suppress(OSError):
                os.setxattr(desk.folder / place, name, b"y")
    (desk.folder / "src" / "b.py").write_text("new\n")
    (desk.folder / ".wh.readme.txt").write_text("of a kind of overlay that is not used\n")
    (desk.folder / "src" / ".wh..wh..opq").write_text("the same\n")
    assert {each.path: each.status for each in desk.changes()} == {
        ".wh.readme.txt": "added",
        "readme.txt": "modified",
        "src/.wh..wh..opq": "added",
        "src/b.py": "added",
    }


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
def test_a_link_may_not_lead_out(desk: Desk, target: str) -> None:
    (desk.folder / "new").symlink_to(target)
    found, reason = desk.violations(), LINKS[target]
    assert (reason in found["new"]) if reason else found == {}
    assert [each.path for each in desk.changes()] == ([] if reason else ["new"])


def test_links_through_links_stay_inside() -> None:
    """A link may climb to the root; `d -> .` and `e -> d/../x` together would lead out."""
    assert link_reason("src/deep", "../readme.txt") is None
    assert link_reason("d", ".") is None
    assert link_reason("e", "d/../x")


async def test_a_link_that_the_repository_had_is_its_own_affair(
    origin: Path, mirror: Mirror, remote: Remote, desks: object
) -> None:
    (origin / "out").symlink_to("/usr/share")
    head = commit_all(origin)
    await fetch(mirror, remote)
    desk: Desk = await desks(mirror, head)  # type: ignore[operator]
    (desk.folder / "out").unlink()
    (desk.folder / "out").symlink_to("/usr/share")
    assert desk.violations() == {}
    (desk.folder / "out").unlink()
    (desk.folder / "out").symlink_to("/usr")
    assert list(desk.violations()) == ["out"]


def test_what_is_ignored_is_no_violation_and_not_entered(desk: Desk) -> None:
    sh(desk.folder, "init", "-q", "build/dependency")
    os.mkfifo(desk.folder / "build" / "pipe")
    (desk.folder / "build" / "python").symlink_to("/usr/bin/python3")
    (desk.folder / "build" / "closed").mkdir()
    (desk.folder / "build" / "closed").chmod(0)
    found = desk.take()
    assert (found.tree, found.violations) == (desk.tree, ())


def test_an_attack_by_ignoring_everything_hides_no_git_folder(desk: Desk) -> None:
    (desk.folder / ".gitignore").write_text("*\n")
    sh(desk.folder, "init", "-q")
    sh(desk.folder, "init", "-q", "src")
    assert list(desk.violations()) == ["src/.git"]
    assert [each.path for each in desk.changes()] == [".gitignore"]


async def test_a_submodule_stays_and_nothing_in_it_runs(
    origin: Path, mirror: Mirror, remote: Remote, desks: object, tmp_path: Path, head: str
) -> None:
    sh(origin, "update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    sh(origin, "commit", "-q", "-m", "Submodule")
    await fetch(mirror, remote)
    desk: Desk = await desks(mirror, sh(origin, "rev-parse", "HEAD"))  # type: ignore[operator]
    assert desk.changes() == []
    inner = desk.folder / "sub"
    sh(inner, "init", "-q")
    commit_all(inner)
    trap = tmp_path / "owned"
    sh(inner, "config", "core.fsmonitor", f"touch {trap}; false")
    assert list(desk.violations()) == ["sub/.git"]
    assert desk.changes() == []
    assert not trap.exists()
    shutil.rmtree(inner)
    assert [each.status for each in desk.changes()] == ["deleted"]
    inner.mkdir()
    assert desk.changes() == []
    (inner / "file").touch()
    (inner / "folder").mkdir()
    assert set(desk.violations()) == {"sub/file", "sub/folder"}
    assert desk.changes() == []
    shutil.rmtree(inner)
    inner.write_text("in its place\n")
    assert [each.status for each in desk.changes()] == ["typechange"]
    _same_as_git(desk, origin)


def test_configuration_in_the_workspace_runs_nothing(desk: Desk, tmp_path: Path) -> None:
    trap = tmp_path / "owned"
    (desk.folder / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (desk.folder / ".gitconfig").write_text(f"[filter 'evil']\n\tclean = touch {trap}\n")
    (desk.folder / "HEAD").write_text("ref: refs/heads/main\n")
    (desk.folder / "objects").mkdir()
    (desk.folder / "refs").mkdir()
    (desk.folder / "config").write_text(f"[core]\n\tfsmonitor = touch {trap}\n")
    assert desk.violations() == {}
    assert len(desk.changes()) == 4
    assert not trap.exists()


def test_traps_in_a_repository_of_the_agents_own_are_not_sprung(desk: Desk, tmp_path: Path) -> None:
    trap = tmp_path / "owned"
    (desk.folder / "good.txt").write_text("x\n")
    sh(desk.folder, "init", "-q")
    sh(desk.folder, "add", "good.txt")
    for name in ("post-index-change", "pre-commit", "reference-transaction", "post-checkout"):
        hook = desk.folder / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
        hook.chmod(0o755)
    sh(desk.folder, "config", "core.fsmonitor", f"touch {trap}; false")
    assert [each.path for each in desk.changes()] == ["good.txt"]
    desk.take()
    assert not trap.exists()
    sh(desk.folder, "status")  # what shows that they are traps
    assert trap.exists()


@pytest.mark.parametrize("name", [".gitmodules", ".gitattributes", ".gitignore", "GITMOD~1"])
def test_a_link_in_place_of_a_file_that_git_reads_is_refused(desk: Desk, name: str) -> None:
    (desk.folder / name).unlink(missing_ok=True)
    (desk.folder / name).symlink_to("readme.txt")
    (desk.folder / "good.txt").write_text("x\n")
    assert list(desk.violations()) == [name]
    assert [each.path for each in desk.changes()] == ["good.txt"]


@pytest.mark.parametrize("name", [".gitmodules", ".gitattributes", "GITATT~1"])
def test_a_folder_in_place_of_a_file_that_git_reads_is_refused(desk: Desk, name: str) -> None:
    (desk.folder / "src" / name).mkdir()
    (desk.folder / "src" / name / "file").write_text("x\n")
    assert list(desk.violations()) == [f"src/{name}"]
    assert desk.changes() == []


def _modules(line: str, name: str = "lib") -> bytes:
    return f'[submodule "{name}"]\n\tpath = lib\n\turl = ../lib.git\n\t{line}\n'.encode()


UNSAFE = {
    ".gitmodules": {
        "a URL that": [_modules("url = -upload-pack=x"), _modules('url = "https://x/%0ahost=y"')],
        "a path that": [_modules("path = -x")],
        "a name that": [_modules("branch = x", name="../../hooks")],
        "a command to run": [_modules("update = !touch /tmp/owned")],
    },
    ".gitattributes": {"a line of more than 2048 bytes": [b"*.c text" + b" x" * 1100 + b"\n"]},
}
CASES = [
    (name, reason, content)
    for name, reasons in UNSAFE.items()
    for reason, contents in reasons.items()
    for content in contents
]


@pytest.mark.parametrize(("name", "reason", "content"), CASES)
@pytest.mark.parametrize("place", ["", "src"])
def test_what_git_refuses_to_read_is_refused_by_name(
    desk: Desk, name: str, reason: str, content: bytes, place: str
) -> None:
    (desk.folder / place / name).write_bytes(content)
    (desk.folder / "good.txt").write_text("good\n")
    ((path, told),) = desk.violations().items()
    assert path == str(Path(place, name))
    assert reason in told
    assert told.endswith(".")
    assert [each.path for each in desk.changes()] == ["good.txt"]
    sh(desk.mirror.path, "update-ref", "refs/heads/orchestrate/x", desk.take().commit)
    sh(desk.mirror.path, "fsck", "--strict", "--no-dangling")


def test_what_git_reads_and_does_not_refuse_is_a_file_like_any_other(desk: Desk) -> None:
    (desk.folder / ".gitmodules").write_bytes(_modules("branch = main"))
    (desk.folder / "src" / ".gitattributes").write_bytes(b"*.c text" + b" x" * 1000 + b"\n")
    (desk.folder / "GITMOD~1").write_text("no configuration at all\n")
    assert desk.violations() == {}
    expected = [".gitmodules", "GITMOD~1", "src/.gitattributes"]
    assert [each.path for each in desk.changes()] == expected


async def test_what_git_refuses_to_read_stays_where_the_repository_has_it(
    origin: Path, mirror: Mirror, remote: Remote, desks: object
) -> None:
    (origin / ".gitmodules").write_bytes(_modules("url = -x"))
    head = commit_all(origin)
    await fetch(mirror, remote)
    desk: Desk = await desks(mirror, head)  # type: ignore[operator]
    (desk.folder / ".gitmodules").chmod(0o755)
    assert desk.violations() == {}
    assert [each.status for each in desk.changes()] == ["mode"]
    (desk.folder / ".gitmodules").write_bytes(_modules("url = -y"))
    assert list(desk.violations()) == [".gitmodules"]


async def test_a_file_that_github_would_refuse_is_left_out(desk: Desk) -> None:
    with (desk.folder / "big").open("wb") as file:
        file.truncate(MAX_FILE + 1)  # sparse: it takes no room
    assert desk.violations() == {"big": "It is larger than 100 MiB, which GitHub refuses."}
    assert desk.changes() == []


def test_more_than_memory_should_hold_is_not_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate, "MAX_CONTENT", 3 * 2**20)
    for number in range(4):
        (desk.folder / f"file{number}").write_bytes(os.urandom(2**20))
    (violation,) = desk.take().violations
    assert (
        violation.reason == "There are 4 MiB of new content, and 3 MiB are the most that is read."
    )
    assert desk.changes() == []


def test_with_too_many_violations_nothing_is_taken(desk: Desk) -> None:
    for number in range(MAX_VIOLATIONS + 5):
        os.mkfifo(desk.folder / f"pipe{number}")
    (desk.folder / "good.txt").touch()
    found = desk.take()
    assert len(found.violations) == MAX_VIOLATIONS
    assert found.tree == desk.tree


def test_names_with_a_meaning_for_git_are_plain_names(desk: Desk) -> None:
    for name in (":(exclude)x", "*", "-a", "[x]", "!x"):
        os.mkfifo(desk.folder / name)
    assert set(desk.violations()) == {":(exclude)x", "*", "-a", "[x]", "!x"}
    (desk.folder / ":!y").write_text("y\n")
    assert [each.path for each in desk.changes()] == [":!y"]


def test_names_that_differ_in_case_alone_are_refused_where_they_are_new(desk: Desk) -> None:
    (desk.folder / "README.txt").write_text("twin\n")
    (desk.folder / "SRC").mkdir()
    (desk.folder / "SRC" / "x").write_text("x\n")
    (desk.folder / "new").write_text("x\n")
    (desk.folder / "run.sh").rename(desk.folder / "RUN.sh")
    assert set(desk.violations()) == {"README.txt", "SRC"}
    assert [each.path for each in desk.changes()] == ["RUN.sh", "new"]


async def test_names_that_differ_in_case_alone_stay_where_the_repository_has_them(
    origin: Path, mirror: Mirror, remote: Remote, desks: object
) -> None:
    (origin / "README.txt").write_text("twin\n")
    (origin / "SRC").mkdir()
    (origin / "SRC" / "a.py").write_text("twin\n")
    head = commit_all(origin)
    await fetch(mirror, remote)
    desk: Desk = await desks(mirror, head)  # type: ignore[operator]
    for name in ("README.txt", "SRC/a.py"):
        (desk.folder / name).write_text("changed\n")
    (desk.folder / "SRC" / "b.py").touch()
    assert desk.violations() == {}
    assert [each.path for each in desk.changes()] == ["README.txt", "SRC/a.py", "SRC/b.py"]


SWAPS = ["link", "link above", "pipe", "folder", "other file", "nothing"]


@pytest.mark.parametrize("swap", SWAPS)
def test_what_takes_a_files_place_after_the_look_is_not_read(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.py").write_text("a secret of the host\n")
    file = desk.folder / "src" / "a.py"
    file.write_text("what was looked at\n")

    def look_and_swap(*args: Any) -> Scan:
        found = scan(*args)
        file.unlink()
        if swap == "link":
            file.symlink_to(outside / "a.py")
        elif swap == "link above":
            shutil.rmtree(file.parent)
            file.parent.symlink_to(outside)
        elif swap == "pipe":
            os.mkfifo(file)
        elif swap == "folder":
            file.mkdir()
        elif swap == "other file":
            os.link(outside / "a.py", file) if desk.kind == "checkout" else file.touch()
        return found

    monkeypatch.setattr(candidate, "scan", look_and_swap)
    with pytest.raises(TransientError, match=r"keeps changing while it is read: src/a\.py"):
        desk.take()


@pytest.mark.parametrize("swap", ["link", "file", "nothing"])
def test_what_takes_a_folders_place_during_the_look_is_not_entered(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "in").mkdir(parents=True)
    (outside / "in" / "a.py").write_text("a secret of the host\n")
    folder = desk.folder / "src"
    (folder / "in").mkdir()
    (folder / "in" / "a.py").write_text("what was there\n")
    listed = scan_module._listed
    seen: list[str] = []

    def list_and_swap(found: Any) -> Any:
        """Put something else in the place of `src` when its name was read and it is not open."""
        found = [*found]
        seen.extend(name for name, _ in found)
        if "src" in [name for name, _ in found] and not folder.is_symlink():
            shutil.rmtree(folder)
            if swap == "link":
                folder.symlink_to(outside)
            elif swap == "file":
                folder.write_text("x\n")
        return listed(found)

    monkeypatch.setattr(scan_module, "_listed", list_and_swap)
    if swap == "nothing" and desk.kind == "checkout":  # an overlay has a whiteout there
        assert all(each.path.startswith("src/") for each in desk.changes())
    else:
        with pytest.raises(TransientError, match="keeps changing while it is read: src"):
            desk.take()
    assert "in" not in seen, "nothing below the folder was looked at"


def test_a_folder_that_is_moved_away_during_the_look_is_looked_at_where_it_is(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is open stays the same folder, whatever gets its name."""
    outside = tmp_path / "outside"
    (outside / "in").mkdir(parents=True)
    (outside / "in" / "secret").write_text("a secret of the host\n")
    folder = desk.folder / "lib"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.py").write_text("what was there\n")
    listed = scan_module._listed
    seen: list[str] = []

    def list_and_swap(found: Any) -> Any:
        found = [*found]
        seen.extend(name for name, _ in found)
        if [name for name, _ in found] == ["in"]:
            folder.rename(desk.folder / "moved")
            folder.symlink_to(outside)
        return listed(found)

    monkeypatch.setattr(scan_module, "_listed", list_and_swap)
    with pytest.raises(TransientError, match=r"keeps changing while it is read: lib/in/a\.py"):
        desk.take()
    assert "secret" not in seen


def test_a_folder_that_changes_meanwhile_is_read_or_tried_again_later(desk: Desk) -> None:
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
                assert "good.txt" in {each.path for each in desk.changes()}
    finally:
        stop.set()
        thread.join()
    there = {str(each.relative_to(desk.folder)) for each in desk.folder.glob("churn*/file")}
    assert {each.path for each in desk.changes()} == {"good.txt", *there}


def test_a_file_that_grows_while_it_is_read_is_one_state_of_it_or_none(desk: Desk) -> None:
    stop = threading.Event()

    def grow() -> None:
        with (desk.folder / "log.txt").open("a", buffering=1) as file:
            while not stop.is_set():
                file.write("a line that is written whole\n")

    (desk.folder / "log.txt").touch()
    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(5):
            with contextlib.suppress(TransientError):
                content = sh(desk.mirror.path, "show", f"{desk.take().tree}:log.txt")
                assert set(content.split("\n")) <= {"", "a line that is written whole"}
    finally:
        stop.set()
        thread.join()


def test_a_path_longer_than_any_may_be_is_a_violation(desk: Desk) -> None:
    dig(desk.folder, 1200)
    ((path, reason),) = desk.violations().items()
    assert path.count("/") == MAX_DEPTH
    assert "cannot be read" in reason
    desk.clear()  # an overlay moves no folder, which is how such a depth is removed
    remove(desk.source.folder / "deep")


async def test_line_ends_are_recorded_as_attributes_say(
    origin: Path, mirror: Mirror, remote: Remote, desks: object
) -> None:
    (origin / ".gitattributes").write_text(
        "*.bat text eol=crlf\n*.c text\n*.id ident\n*.u working-tree-encoding=UTF-16LE\n"
        "raw.c -text\n[attr]mine text\n*.mine mine\n* text=auto\n"
    )
    (origin / "old.txt").write_bytes(b"kept\r\nas it was\r\n")
    head = commit_all(origin)
    sh(origin, "rm", "-q", "--cached", "old.txt")
    await fetch(mirror, remote)
    desk: Desk = await desks(mirror, head)  # type: ignore[operator]
    assert desk.changes() == []
    contents = {
        "a.bat": b"one\r\ntwo\r\n",
        "a.c": b"one\r\ntwo\r\n",
        "raw.c": b"one\r\ntwo\r\n",
        "a.id": b"$Id: 12345 $\n",
        "a.u": "hé\n".encode("utf-16le"),
        "sub/a.mine": b"x\r\n",
        "sub/auto.txt": b"x\r\n",
        "sub/binary": b"\0x\r\n",
        'qu"ote\n.c': b"x\r\n",
    }
    for name, content in contents.items():
        (desk.folder / name).parent.mkdir(exist_ok=True)
        (desk.folder / name).write_bytes(content)
    assert desk.violations() == {}
    _same_as_git(desk, origin)


async def test_neither_the_machines_nor_the_persons_configuration_changes_line_ends(
    desk: Desk, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"[core]\n\tautocrlf = input\n\teol = crlf\n\tattributesFile = {tmp_path}/attributes\n"
        f"\texcludesFile = {tmp_path}/ignore\n\tfileMode = false\n\tsymlinks = false\n"
    )
    (tmp_path / "attributes").write_text("* text ident\n")
    (tmp_path / "ignore").write_text("*\n")
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, str(config))
    sh(desk.mirror.path, "config", "core.autocrlf", "input")
    (desk.folder / ".gitattributes").write_text("a.id ident\n")
    (desk.folder / "a.txt").write_bytes(b"x\r\n$Id: 1 $\r\n")
    (desk.folder / "a.id").write_bytes(b"x\r\n$Id: 1 $\r\n")
    (desk.folder / "new").symlink_to("a.txt")
    made = desk.take().commit
    monkeypatch.undo()
    assert [each.path for each in desk.changes()] == [".gitattributes", "a.id", "a.txt", "new"]
    assert objects.read(desk.mirror, made, "a.txt", 100) == b"x\r\n$Id: 1 $\r\n"
    assert objects.read(desk.mirror, made, "a.id", 100) == b"x\r\n$Id$\r\n"
    assert sh(desk.mirror.path, "ls-tree", made, "new").startswith("120000 ")
    _same_as_git(desk, origin)


async def test_what_cannot_be_encoded_is_refused_alone(
    origin: Path, mirror: Mirror, remote: Remote, desks: object
) -> None:
    (origin / ".gitattributes").write_text("*.u working-tree-encoding=UTF-16LE\n")
    head = commit_all(origin)
    await fetch(mirror, remote)
    desk: Desk = await desks(mirror, head)  # type: ignore[operator]
    (desk.folder / "bad.u").write_bytes(b"\x00\xd8x")
    (desk.folder / "good.u").write_bytes("hé".encode("utf-16le"))
    found = desk.violations()
    assert list(found) == ["bad.u"]
    assert found["bad.u"].startswith("Git cannot record it as its attributes ask: ")
    assert [each.path for each in desk.changes()] == ["good.u"]


def _same_as_git(desk: Desk, origin: Path) -> None:
    """What `git add -A` makes of the same files is the candidate's tree."""
    index = desk.place / "by-git"
    own = {"GIT_DIR": origin / ".git", "GIT_WORK_TREE": desk.folder, "GIT_INDEX_FILE": index}
    env: dict[str, Any] = {name: str(path) for name, path in own.items()}
    sh(origin, "read-tree", desk.parent, **env)
    sh(desk.folder, "add", "-A", **env)
    assert desk.take().tree == sh(origin, "write-tree", **env)


NAMES = st.sampled_from(["a", "b", "c d", "é", "-x", "x.log", "#y", "build", "caf\udce9"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENTS = st.sampled_from(["", "x\n", "y" * 300, "x\r\ny\r\n", "$Id: 1 $\n", "\0\r\n", "z" * 9000])
RULES = st.sampled_from(
    ["*.log\n", "build/\n", "a/*\n!a/b\n", "/b\n", "**/c d\n", "*\n!*/\n!x.log\n", "a/**/b\n", ""]
)
ATTRIBUTES = st.sampled_from(
    ["* text\n", "* text=auto\n", "a ident\n", "b/** eol=crlf\n", "* -text\n"]
)
EDITS = st.one_of(
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("ignore"), PATHS, RULES),
    st.tuples(st.just("attributes"), PATHS, ATTRIBUTES),
    st.tuples(st.just("delete"), PATHS, st.just("")),
    st.tuples(st.just("chmod"), PATHS, st.just("")),
    st.tuples(st.just("mkdir"), PATHS, st.just("")),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("hardlink"), PATHS, PATHS),
    st.tuples(st.just("link"), PATHS, st.sampled_from(["a", "b/c", "."])),
    st.tuples(st.just("take"), st.just(""), st.just("")),
)


def _edit(folder: Path, kind: str, path: str, content: str) -> None:
    place = folder / path
    for above in reversed(place.relative_to(folder).parents[:-1]):
        if (folder / above).is_symlink() or (folder / above).is_file():
            (folder / above).unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("ignore", "attributes"):
        (place.parent / f".git{kind}").write_text(content)
        return
    if kind == "chmod":
        if place.is_file() and not place.is_symlink():
            place.chmod(place.stat().st_mode ^ 0o111)
        return
    if kind in ("rename", "hardlink"):
        source = folder / content
        is_file = source.is_file() and not source.is_symlink()
        if place.exists() or place.is_symlink() or not (is_file or source.is_dir()):
            return
        if kind == "hardlink" and is_file:
            os.link(source, place)
        elif kind == "rename" and not place.is_relative_to(source):
            shutil.move(source, place)
        return
    if kind == "mkdir":
        if not place.exists() and not place.is_symlink():
            place.mkdir()
        return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    if kind == "write":
        place.write_bytes(content.encode("utf-8", "surrogateescape"))
    elif kind == "link":
        place.symlink_to(content)


@pytest.fixture
def sound(mirror: Mirror) -> Iterator[None]:
    """Afterwards git finds nothing wrong with any object of the mirror, pointed to or not."""
    yield
    sh(mirror.path, "fsck", "--strict", "--full", "--no-dangling")


def _there_and_back(desk: Desk, found: Candidate, parent: str) -> None:
    """Roll a checkpoint back, and that back in turn: each is exactly the tree that it was."""
    head = found.commit
    for target, tree in ((parent, desk.tree), (found.commit, found.tree)):
        head = rollback.roll_back(
            desk.mirror,
            head=head,
            target=target,
            message="Roll back",
            author=BOT,
            committer=BOT,
            at=AT,
        )
        assert objects.tree_of(desk.mirror, head) == tree
    part = rollback.restore(desk.mirror, parent, found.commit, lambda _: True)
    assert part == found.tree


@pytest.mark.slow
@pytest.mark.usefixtures("sound")
@settings(
    max_examples=1500 if LONG else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(edits=st.lists(EDITS, min_size=1, max_size=14))
async def test_a_candidate_is_the_tree_that_git_makes_of_the_same_files(
    edits: list[tuple[str, str, str]],
    mirror: Mirror,
    origin: Path,
    head: str,
    tmp_path: Path,
    kind: str,
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as made:
        desk = await _desk(mirror, head, Path(made) / "run", kind)
        try:
            for edit in edits:
                if edit[0] == "take":
                    desk.take()
                else:
                    _edit(desk.folder, *edit)
            _same_as_git(desk, origin)
            found = desk.take()
            assert (found.commit == head) == (found.tree == desk.tree)
            _there_and_back(desk, found, head)
        finally:
            desk.clear()


@pytest.mark.slow
def test_what_random_edits_left_is_clean_to_gits_own_eyes(desk: Desk) -> None:
    for number in range(60):
        _edit(desk.folder, "write", f"f{number % 7}/g{number % 5}/h{number}", f"{number}\n")
        found = desk.take()
        sh(desk.mirror.path, "update-ref", "refs/heads/orchestrate/x", found.commit)
    sh(desk.mirror.path, "fsck", "--strict", "--full")
