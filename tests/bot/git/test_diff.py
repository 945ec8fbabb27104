"""What differs between two trees is what git says, and costs what differs."""

from __future__ import annotations

import os
from pathlib import Path

import pygit2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pygit2.enums import DiffFind, DiffOption

from bot.errors import Refused
from bot.git import diff, objects, walk
from bot.git.diff import Named, changes, compare, names
from bot.git.mirror import Mirror, fetch
from bot.git.remote import Remote
from bot.git.trees import Entry, serialise

from .conftest import commit_all, sh
from .planted import FILES, Files, many, plant

STATUS = {"added": "A", "deleted": "D", "modified": "M", "mode": "M", "typechange": "T"}


@many
@given(before=FILES, after=FILES)
def test_names_are_those_that_git_gives(mirror: Mirror, before: Files, after: Files) -> None:
    old, new = plant(mirror, before), plant(mirror, after)
    raw = sh(mirror.path, "diff-tree", "-r", "-z", "--raw", "--no-renames", old, new)
    fields = raw.split("\0")[:-1]
    expected = [
        (path, *(int(mode, 8) for mode in told[1:].split()[:2]), told.split()[-1])
        for told, path in zip(fields[::2], fields[1::2], strict=True)
    ]
    found = [(n.path, n.old_mode, n.new_mode, STATUS[n.status]) for n in names(mirror, old, new)]
    assert sorted(found) == sorted(expected)
    assert [each.path for each in names(mirror, old, new)] == sorted(n[0] for n in found)


@many
@example({"a": (0o100644, "x"), "a.b": (0o120000, "x")}, {"a.b": (0o100644, "x")})
@given(before=FILES, after=FILES)
def test_what_is_compared_sparsely_is_compared_the_same(
    mirror: Mirror, before: Files, after: Files
) -> None:
    old, new = plant(mirror, before), plant(mirror, after)
    repo = pygit2.Repository(str(mirror.path))
    before_tree, after_tree = repo[old].peel(pygit2.Tree), repo[new].peel(pygit2.Tree)
    whole = before_tree.diff_to_tree(after_tree, flags=DiffOption.INCLUDE_TYPECHANGE)
    whole.find_similar(DiffFind.FIND_RENAMES)
    expected = [patch.data for patch in whole if patch is not None]
    found = compare(mirror, old, new)
    assert found.patch.encode() == b"".join(expected)
    assert found.files == changes(mirror, old, new)


def test_what_only_moved_is_found_among_any_number(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f"{n}\n" for n in range(20))
    old = plant(mirror, {f"a/f{n}": (0o100644, f"{n} {lines}") for n in range(4)})
    moved = {f"b/f{n}": (0o100644, f"{n} {lines}") for n in range(3)}
    new = plant(mirror, {**moved, "b/f3": (0o100644, f"3 {lines}more\n")})
    told = [(each.path, each.old_path, each.added) for each in changes(mirror, old, new)]
    assert told == [(f"b/f{n}", f"a/f{n}", n // 3) for n in range(4)]
    monkeypatch.setattr(diff, "RENAME_PAIRS", 0)
    told = [(each.path, each.old_path, each.added) for each in changes(mirror, old, new)]
    assert told[0] == ("a/f3", None, 0)
    assert told[1:] == [*((f"b/f{n}", f"a/f{n}", 0) for n in range(3)), ("b/f3", None, 21)]


async def test_modes_kinds_and_other_repositories_are_named(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    (origin / "run.sh").chmod(0o644)
    (origin / "link").unlink()
    (origin / "link").write_text("src/a.py")
    (origin / "readme.txt").unlink()
    (origin / "readme.txt").mkdir()
    (origin / "readme.txt" / os.fsdecode(b"caf\xe9")).write_text("x")
    (origin / "other").mkdir()
    sh(origin, "update-index", "--add", "--cacheinfo", f"160000,{head},other")
    new = commit_all(origin)
    await fetch(mirror, remote)
    assert names(mirror, head, new) == [
        Named("link", "typechange", 0o120000, 0o100644),
        Named("other", "added", 0, 0o160000),
        Named("readme.txt", "deleted", 0o100644, 0),
        Named("readme.txt/caf\udce9", "added", 0, 0o100644),
        Named("run.sh", "mode", 0o100755, 0o100644),
    ]
    assert names(mirror, new, head) == [
        Named(n.path, _REVERSED.get(n.status, n.status), n.new_mode, n.old_mode)  # type: ignore[arg-type]
        for n in names(mirror, head, new)
    ]
    assert names(mirror, head, head) == []


_REVERSED = {"added": "deleted", "deleted": "added"}


def test_only_what_differs_is_read(mirror: Mirror) -> None:
    files = {f"d{n}/e/f{m}": (0o100644, f"{n} {m}") for n in range(40) for m in range(3)}
    old = plant(mirror, files)
    new = plant(mirror, {**files, "d7/e/f1": (0o100644, "other")})
    trees = walk.Trees(mirror)
    assert len(walk.differing(trees, bytes.fromhex(old), bytes.fromhex(new))) == 1
    assert len(trees._raw) == 2 * 3


_NAMES = st.sampled_from([b"a", b"a a", b"aa", b"b", b"b 1", b"a\xff", b"100644 a", b"c"])
_IDS = st.sampled_from([b"\0" * 20, b"a" * 20, b" b\x00100644 a\x00" + b"a" * 8, b"\xff" * 20])
_FLAT = st.dictionaries(_NAMES, st.tuples(st.sampled_from([b"100644", b"100755"]), _IDS))


@many
@given(before=_FLAT, after=_FLAT)
def test_entries_are_told_apart_whatever_their_bytes(
    mirror: Mirror, before: dict[bytes, Entry], after: dict[bytes, Entry]
) -> None:
    raw = {number: serialise(each) for number, each in ((b"1" * 20, before), (b"2" * 20, after))}
    trees = walk.Trees(mirror)
    trees.keep(raw)
    assert walk.differing(trees, *raw) == [
        (name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def test_what_was_compared_is_not_compared_again_until_it_is_much(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (
        bytes.fromhex(plant(mirror, {f"f{m}": (0o100644, f"{n} {m}") for m in range(9)}))
        for n in range(3)
    )
    trees = walk.Trees(mirror)
    first = walk.differing_lines(trees, one, two)
    assert len(first) == 9
    assert walk.differing_lines(trees, one, two) is first
    assert walk.differing_lines(trees, two, one) == [(path, b, a) for path, a, b in first]
    monkeypatch.setattr(walk, "KEPT_PATHS", 10)
    assert len(walk.differing_lines(trees, one, three)) == 9
    assert walk.differing_lines(trees, one, two) is not first


def test_what_is_kept_of_trees_is_let_go_when_it_is_much(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = plant(mirror, {f"d{n}/f": (0o100644, str(n)) for n in range(9)})
    two = plant(mirror, {f"d{n}/f": (0o100644, str(-n)) for n in range(9)})
    assert len(names(mirror, one, two)) == 8  # 0 is 0
    kept = walk.trees_of(mirror)
    assert len(kept._raw) == 18
    assert walk.trees_of(mirror) is kept
    monkeypatch.setattr(walk, "KEPT_BYTES", 100)
    assert len(walk.trees_of(mirror)._raw) == 0
    assert len(names(mirror, one, two)) == 8


def test_a_tree_that_is_not_there_is_refused(mirror: Mirror) -> None:
    tree = plant(mirror, {"a": (0o100644, "x")})
    with pytest.raises(Refused, match="is not in the mirror"):
        names(mirror, tree, "1" * 40)
    # A tree whose folder was lost.
    repo = pygit2.Repository(str(mirror.path))
    broken = repo.odb.write(pygit2.enums.ObjectType.TREE, b"40000 d\0" + b"\1" * 20)
    with pytest.raises(Refused, match="missing in the mirror"):
        names(mirror, tree, str(broken))


async def test_a_comparison_is_the_patch_that_git_applies(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    (origin / "readme.txt").write_text("hello\nworld\n")
    (origin / "src" / "a.py").rename(origin / "src" / "b.py")
    (origin / "new.sh").write_text("x\n")
    (origin / "new.sh").chmod(0o755)
    new = commit_all(origin)
    await fetch(mirror, remote)
    found = compare(mirror, head, new)
    assert [each.path for each in found.files] == ["new.sh", "readme.txt", "src/b.py"]
    assert found.files[-1].old_path == "src/a.py"
    assert found.files == changes(mirror, head, new)
    assert not found.cut
    sh(origin, "checkout", "-q", "--detach", head)
    sh(origin, "apply", "--index", input=found.patch.encode())
    assert sh(origin, "write-tree") == objects.tree_of(mirror, new)


async def test_names_and_contents_in_no_known_encoding_are_compared_like_others(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (origin / name).write_bytes(b"caf\xe9\n")
    (origin / 'new\nline\t"').write_text("x\n")
    new = commit_all(origin)
    await fetch(mirror, remote)
    found = compare(mirror, head, new)
    assert [each.path for each in found.files] == [name, 'new\nline\t"']
    assert '+++ "b/caf\\351.txt"\n@@ -0,0 +1 @@\n+caf\ufffd\n' in found.patch
    assert '+++ "b/new\\nline\\t\\""\n' in found.patch
    assert [each.path for each in names(mirror, new, head)] == [name, 'new\nline\t"']


async def test_a_long_patch_is_cut_and_says_so(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    (origin / "a.txt").write_text("short\n")
    (origin / "b.txt").write_text("long\n" * 1000)
    new = commit_all(origin)
    await fetch(mirror, remote)
    found = compare(mirror, head, new, limit=1000)
    assert found.cut
    assert "a.txt" in found.patch
    assert "long" not in found.patch
    assert found.patch.endswith("larger than 1000 bytes.\n")
    assert [each.added for each in found.files] == [1, 1000]
