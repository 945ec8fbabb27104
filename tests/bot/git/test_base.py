"""Bases: what a workspace stands on is what git would check out, however it was made."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.errors import Refused
from bot.git import base, overlay
from bot.git.mirror import Mirror, fetch
from bot.git.remote import Remote

from .conftest import commit_all, sh

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")

Entry = tuple[int, bytes]
Snapshot = dict[str, Entry]
Tree = dict[bytes, Any]


@pytest.fixture
def bases(tmp_path: Path) -> Path:
    return tmp_path / "bases"


async def grow(origin: Path, mirror: Mirror, remote: Remote) -> str:
    """Commit what was changed in the person's repository, and fetch it."""
    head = commit_all(origin)
    await fetch(mirror, remote)
    return head


async def test_a_base_has_the_files_of_its_commit_with_plain_modes(
    bases: Path, mirror: Mirror, head: str
) -> None:
    before = os.umask(0o077)
    try:
        made = await base.layers(bases, mirror, head)
    finally:
        os.umask(before)
    (files,) = made.layers
    assert made.tree == sh(mirror.path, "rev-parse", f"{head}^{{tree}}")
    assert files == bases / "1" / made.tree / "files"
    assert shown(files) == {
        ".": (0o40755, b""),
        ".gitignore": (0o100644, b"*.log\nbuild/\n"),
        "link": (0o120777, b"src/a.py"),
        "readme.txt": (0o100644, b"hello\n"),
        "run.sh": (0o100755, b"#!/bin/sh\n"),
        "src": (0o40755, b""),
        "src/a.py": (0o100644, (files / "src" / "a.py").read_bytes()),
    }


async def test_a_base_is_made_once_for_a_tree(bases: Path, mirror: Mirror, head: str) -> None:
    asked = (base.layers(bases, mirror, head) for _ in range(5))
    found = await asyncio.gather(*asked)
    assert {each.layers for each in found} == {found[0].layers}
    assert [each.made for each in found].count(True) == 1
    tree = await base.layers(bases, mirror, found[0].tree)
    assert (tree.layers, tree.made) == (found[0].layers, False)


async def test_a_commit_near_by_is_a_difference_on_it(
    bases: Path, origin: Path, mirror: Mirror, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MAX_SHARE", 10)
    first = await base.layers(bases, mirror, sh(origin, "rev-parse", "HEAD"))
    (origin / "readme.txt").write_text("more\n")
    (origin / "run.sh").unlink()
    shutil.rmtree(origin / "src")
    second = await base.layers(bases, mirror, await grow(origin, mirror, remote))
    assert second.layers[1:] == first.layers
    own = shown(second.layers[0])
    assert own.keys() == {".", "readme.txt", "run.sh", "src"}
    assert stat.S_ISCHR(own["src"][0])
    assert stat.S_ISCHR(own["run.sh"][0])


async def test_no_pile_is_higher_than_allowed(
    bases: Path, origin: Path, mirror: Mirror, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MAX_SHARE", 10)
    monkeypatch.setattr(base, "MAX_LAYERS", 3)
    heights = []
    for number in range(6):
        (origin / f"{number}.txt").write_text("new\n")
        head = await grow(origin, mirror, remote)
        heights.append(len((await base.layers(bases, mirror, head)).layers))
    assert heights == [1, 2, 3, 2, 3, 2]


async def test_much_that_differs_is_a_base_of_its_own(
    bases: Path, origin: Path, mirror: Mirror, remote: Remote, head: str
) -> None:
    await base.layers(bases, mirror, head)
    for number in range(5):
        (origin / f"{number}.txt").write_text("new\n")
    made = await base.layers(bases, mirror, await grow(origin, mirror, remote))
    assert len(made.layers) == 1


async def test_attributes_rule_the_files_of_a_difference(
    bases: Path, origin: Path, mirror: Mirror, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MAX_SHARE", 10)
    (origin / ".gitattributes").write_text("*.bat text eol=crlf\n")
    (origin / "src" / ".gitattributes").write_text("*.id ident\n")
    await base.layers(bases, mirror, await grow(origin, mirror, remote))
    (origin / "a.bat").write_text("one\ntwo\n")
    (origin / "src" / "b.id").write_text("$Id$\n")
    made = await base.layers(bases, mirror, await grow(origin, mirror, remote))
    assert len(made.layers) == 2
    assert (made.layers[0] / "a.bat").read_bytes() == b"one\r\ntwo\r\n"
    assert (made.layers[0] / "src" / "b.id").read_bytes().startswith(b"$Id: ")
    (origin / ".gitattributes").write_text("*.bat text eol=lf\n")
    changed = await base.layers(bases, mirror, await grow(origin, mirror, remote))
    assert len(changed.layers) == 1
    assert (changed.layers[0] / "a.bat").read_bytes() == b"one\ntwo\n"


async def test_names_that_git_does_not_write_are_refused_in_a_difference_too(
    bases: Path, mirror: Mirror, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MAX_SHARE", 10)
    blob = sh(mirror.path, "rev-parse", f"{head}:readme.txt")
    inner = sh(mirror.path, "mktree", input=f"100644 blob {blob}\tconfig\n".encode())
    bad = sh(mirror.path, "mktree", input=f"040000 tree {inner}\t.git\n".encode())
    with pytest.raises(Refused, match="git"):
        await base.layers(bases, mirror, bad)
    await base.layers(bases, mirror, head)
    with pytest.raises(Refused, match="git"):
        await base.layers(bases, mirror, bad)
    assert base.unfinished(bases) == []


async def test_a_commit_that_is_not_there_is_refused(bases: Path, mirror: Mirror) -> None:
    with pytest.raises(Refused):
        await base.layers(bases, mirror, "1" * 40)


async def test_what_a_killed_maker_left_is_not_taken_for_a_base(
    bases: Path, mirror: Mirror, head: str
) -> None:
    tree = sh(mirror.path, "rev-parse", f"{head}^{{tree}}")
    half = bases / "1" / ".making-0"
    (half / "files").mkdir(parents=True)
    (bases / "1" / tree / "files").mkdir(parents=True)
    made = await base.layers(bases, mirror, head)
    assert "readme.txt" in shown(made.layers[0])
    assert base.unfinished(bases) == [half]


async def test_a_base_of_an_earlier_start_of_the_machine_is_made_anew(
    bases: Path, mirror: Mirror, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(base, "boot", lambda: "earlier")
        made = await base.layers(bases, mirror, head)
    (made.layers[0] / "readme.txt").write_bytes(b"")  # as a power cut leaves it
    again = await base.layers(bases, mirror, head)
    assert again.made
    assert (again.layers[0] / "readme.txt").read_text() == "hello\n"


async def test_bases_that_nobody_uses_are_removed_and_those_stood_on_stay(
    bases: Path, origin: Path, mirror: Mirror, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = []
    for number in range(base.KEPT + 4):
        (origin / f"{number}.txt").write_text("new\n")
        monkeypatch.setattr(base, "MAX_SHARE", 0 if number != 2 else 10)
        made = await base.layers(bases, mirror, await grow(origin, mirror, remote))
        trees.append(made.tree)
    home = bases / "1"
    for number, tree in enumerate(trees):
        past = time.time() - 2 * base.IDLE_SECONDS + number
        os.utime(home / tree, (past, past))
    monkeypatch.setattr(base, "IDLE_SECONDS", 3 * base.IDLE_SECONDS)
    base.prune(home, ())
    assert {each.name for each in home.iterdir() if not each.is_symlink()} >= set(trees)
    monkeypatch.setattr(base, "IDLE_SECONDS", base.IDLE_SECONDS / 3)
    base.prune(home, {trees[2]})
    left = {each.name for each in home.iterdir() if not each.is_symlink()}
    # The third stands on the second; the first and the fourth are nobody's.
    assert left == {".lock", trees[1], trees[2], *trees[-base.KEPT :]}
    assert len([each for each in home.iterdir() if each.is_symlink()]) == base.KEPT + 2


# -- any two trees


NAMES = [b"a", b"b", b"d", b"caf\xe9", b" x\n"]
contents = st.sampled_from([b"", b"one\n", b"two\n"])
leaf = st.one_of(
    st.tuples(st.sampled_from(["100644", "100755"]), contents),
    st.tuples(st.just("120000"), st.sampled_from([b"a", b"../b", b"d/a", b"/nowhere"])),
    st.just(("160000", b"")),
)
nodes = st.recursive(
    leaf, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, min_size=1), max_leaves=14
)
trees = st.dictionaries(st.sampled_from(NAMES), nodes, max_size=4)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    path = tmp_path_factory.mktemp("workshop") / "1.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    return Mirror(path)


@needs_root
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(trees, min_size=2, max_size=3))
def test_differences_show_exactly_what_a_full_checkout_has(
    workshop: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grown: list[Tree]
) -> None:
    monkeypatch.setattr(base, "MAX_SHARE", 1000)
    ids = [written(workshop, tree) for tree in grown]
    place = tmp_path / os.urandom(8).hex()
    place.mkdir()
    asyncio.run(same_as_full(workshop, ids, place))
    shutil.rmtree(place)


async def same_as_full(mirror: Mirror, ids: list[str], place: Path) -> None:
    piled = [await base.layers(place / "bases", mirror, each) for each in ids]
    await base.check_out(mirror, ids[-1], place / "full", place / "index")
    for name in ("upper", "work", "merged"):
        (place / name).mkdir()
    layers = [each for each in piled[-1].layers if each.parent.name in ids]
    assert len(layers) == len(piled[-1].layers)
    (place / "upper").chmod(0o755)
    overlay.mount(layers, place / "upper", place / "work", place / "merged")
    try:
        assert shown(place / "merged") == shown(place / "full")
    finally:
        overlay.unmount(place / "merged")


def written(mirror: Mirror, tree: Tree) -> str:
    """Write a tree to the repository, and return its id."""
    lines = []
    for name, node in sorted(tree.items()):
        if isinstance(node, dict):
            lines.append(b"040000 tree %s\t%s" % (written(mirror, node).encode(), name))
            continue
        mode, content = node
        if mode == "160000":
            lines.append(b"160000 commit %s\t%s" % (b"1" * 40, name))
            continue
        sha = sh(mirror.path, "hash-object", "-w", "--stdin", input=content)
        lines.append(b"%s blob %s\t%s" % (mode.encode(), sha.encode(), name))
    return sh(mirror.path, "mktree", "-z", "--missing", input=b"".join(x + b"\0" for x in lines))


def shown(folder: Path) -> Snapshot:
    """Every entry below a folder: its mode, and its content or target."""
    found = {".": (folder.stat().st_mode, b"")}
    for each in folder.rglob("*"):
        mode, data = each.lstat().st_mode, b""
        if stat.S_ISREG(mode):
            data = each.read_bytes()
        elif stat.S_ISLNK(mode):
            data = os.fsencode(each.readlink())
        found[str(each.relative_to(folder))] = (mode, data)
    return found
