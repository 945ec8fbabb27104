"""Merges are git's where git merges, and say what people must decide where it does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import Refused
from bot.git import merge, refs
from bot.git.merge import Merged, merge_all, merge_trees
from bot.git.mirror import Mirror, ensure, fetch
from bot.git.remote import Remote
from bot.runs.ports import Conflict, Hunk, Lines

from .conftest import AT, BOT, commit_all, sh
from .planted import FILES, Files, many, plant

REF = "refs/heads/orchestrate/1-x"
LINES = [f"line {n}\n" for n in range(20)]
FILE, SCRIPT, LINK = 0o100644, 0o100755, 0o120000


def text(lines: Sequence[str]) -> tuple[int, str]:
    return FILE, "".join(lines)


def content(mirror: Mirror, tree: str | None, path: str) -> str:
    done = subprocess.run(
        ["git", "cat-file", "blob", f"{tree}:{path}"],
        cwd=mirror.path, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.decode()


def committed(mirror: Mirror, files: Files, *parents: str) -> str:
    tree = plant(mirror, files)
    asked = [word for parent in parents for word in ("-p", parent)]
    return sh(mirror.path, "commit-tree", "-m", "One", *asked, tree)


# -- branches that were begun together


@many
@given(data=st.data(), base=FILES, count=st.integers(2, 4))
def test_edits_that_do_not_meet_always_merge_in_any_order(
    mirror: Mirror, data: st.DataObject, base: Files, count: int
) -> None:
    files = {**base, **{f"own{n}/x": text(LINES) for n in range(count)}}
    start = plant(mirror, files)
    present = [path for path in files if path.startswith("own")]
    heads, together = [], dict(files)
    for number, path in enumerate(present):
        edits: dict[str, tuple[int, str] | None] = {
            path: data.draw(st.sampled_from([None, text(LINES[:9]), (SCRIPT, "other\n")])),
            f"new{number}/y": data.draw(st.sampled_from([None, (LINK, "own0/x")])),
        }
        mine = dict(files)
        for name, entry in edits.items():
            for target in (mine, together):
                target.pop(name, None)
                if entry is not None:
                    target[name] = entry
        heads.append(plant(mirror, mine))
    order = data.draw(st.permutations(heads))
    assert merge_all(mirror, start, heads) == Merged(plant(mirror, together))
    assert merge_all(mirror, start, order) == Merged(plant(mirror, together))


@many
@given(data=st.data())
def test_a_file_merges_as_git_merges_it_or_conflicts_where_git_does(
    mirror: Mirror, tmp_path: Path, data: st.DataObject
) -> None:
    lines = [f"{n}\n" for n in range(8)]
    edit = st.tuples(st.integers(0, 8), st.integers(0, 2), st.sampled_from(["", "a\n", "b\n"]))
    sides = []
    for _ in range(2):
        changed = list(lines)
        for at, gone, come in data.draw(st.lists(edit, max_size=2)):
            changed[at : at + gone] = [come] if come else []
        sides.append(changed)
    base, ours, theirs = (plant(mirror, {"f": text(each)}) for each in (lines, *sides))
    merged = merge_all(mirror, base, [ours, theirs])
    status, expected = merge_file(tmp_path, lines, *sides)
    assert (status == 0) is (merged.tree is not None)
    if merged.tree is not None:
        assert content(mirror, merged.tree, "f") == expected
    else:
        (conflict,) = merged.conflicts
        assert (conflict.path, conflict.kind, merged.commit) == ("f", "content", theirs)
        assert conflict.hunks
        for hunk in conflict.hunks:
            for told, side in ((hunk.ours, sides[0]), (hunk.theirs, sides[1])):
                there = [*"".join(side).split("\n")][told.start - 1 :][: told.count]
                assert tuple(there[:3]) == told.text


def merge_file(folder: Path, *versions: Sequence[str]) -> tuple[int, str]:
    for name, version in zip(("base", "ours", "theirs"), versions, strict=True):
        (folder / name).write_text("".join(version))
    done = subprocess.run(
        ["git", "merge-file", "-p", "ours", "base", "theirs"],
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.decode()


@many
@given(base=FILES, one=FILES, other=FILES)
def test_where_git_merges_trees_cleanly_so_do_we(
    mirror: Mirror, base: Files, one: Files, other: Files
) -> None:
    start = committed(mirror, unlike(base))
    ours = committed(mirror, unlike(one), start)
    theirs = committed(mirror, unlike(other), start)
    done = subprocess.run(
        ["git", "merge-tree", "--write-tree", ours, theirs],
        cwd=mirror.path, capture_output=True, check=False,
    )  # fmt: skip
    merged = merge_trees(mirror, ours, theirs)
    assert merge_all(mirror, start, [ours, theirs]).tree == merged.tree
    if done.returncode == 0:
        assert merged.tree == done.stdout.decode().strip()


def unlike(files: Files) -> Files:
    """Make files at different paths so unlike that none is taken for another one renamed."""
    return {
        path: (mode, "".join(f"{path} {n}\n" for n in range(60)) + content)
        for path, (mode, content) in files.items()
    }


def test_of_no_branches_the_merge_is_the_base_and_of_one_it_is_that(mirror: Mirror) -> None:
    base, head = plant(mirror, {"a": text("x")}), plant(mirror, {"a": text("y")})
    assert merge_all(mirror, base, []) == Merged(base)
    assert merge_all(mirror, base, [head]) == Merged(head)
    with pytest.raises(Refused, match="is not in the mirror"):
        merge_all(mirror, base, [head, "1" * 40])


def test_renames_are_followed(mirror: Mirror) -> None:
    base = plant(mirror, {"src/a": text(LINES), "b": text("b")})
    moved = plant(mirror, {"lib/a": text(LINES), "b": text("b")})
    edited = plant(mirror, {"src/a": text([*LINES, "last\n"]), "b": text("b")})
    merged = merge_all(mirror, base, [moved, edited])
    assert content(mirror, merged.tree, "lib/a").endswith("line 19\nlast\n")
    assert merged == merge_all(mirror, base, [edited, moved])


# -- what people must decide


F, G, X, Y, LONG = (text([each]) for each in ("f", "g", "x\n", "y\n", "x\n" * 20))


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        ({"a": LONG}, {"a": text(["x\n"] * 21)}, {}, [("a", "modify/delete")]),
        ({"a": LONG}, {}, {"a": text(["x\n"] * 21)}, [("a", "modify/delete")]),
        ({}, {"a": X}, {"a": Y}, [("a", "add/add")]),
        ({}, {"a": X}, {"a/b": Y}, [("a", "type")]),
        ({"a": F}, {"a": G}, {"a/b": Y}, [("a", "type")]),
        ({"a": F}, {"a": (LINK, "g")}, {"a": Y}, [("a", "type")]),
        ({"a": (LINK, "f")}, {"a": F}, {"a": (SCRIPT, "f")}, [("a", "mode")]),
        ({"a": LONG}, {"b": LONG}, {"c": LONG}, [(each, "rename") for each in "abc"]),
        ({"a": LONG, "z": X}, {"b": LONG, "z": X}, {"z": X}, [("a", "rename"), ("b", "rename")]),
    ],
)
def test_each_kind_of_conflict_is_named(
    mirror: Mirror, base: Files, ours: Files, theirs: Files, expected: list[tuple[str, str]]
) -> None:
    planted = [plant(mirror, each) for each in (base, ours, theirs)]
    merged = merge_all(mirror, planted[0], planted[1:])
    assert merged.tree is None
    assert merged.commit == planted[2]
    assert [(each.path, each.kind) for each in merged.conflicts] == expected


async def test_other_repositories_that_moved_apart_conflict(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    made: list[str] = []
    for number in "123":
        sh(origin, "checkout", "-q", "-B", f"m{number}", made[0] if made else head)
        sh(origin, "update-index", "--add", "--cacheinfo", f"160000,{number * 40},other")
        sh(origin, "commit", "-q", "-m", number)
        made.append(sh(origin, "rev-parse", "HEAD"))
        sh(origin, "checkout", "-q", "-f", "--detach", head)
    await fetch(mirror, remote)
    merged = merge_all(mirror, made[0], made[1:])
    assert merged.conflicts == (Conflict("other", "content", ()),)


def test_hunks_tell_the_lines_of_both_sides(mirror: Mirror) -> None:
    ours = [LINES[0], "ours\n", *LINES[2:10], "ours too\n", *LINES[12:], "added\n"]
    theirs = ["theirs 1\n", "theirs 2\n", *LINES[2:], "appended\n", "more\n"]
    planted = [plant(mirror, {"a": text(each)}) for each in (LINES, ours, theirs)]
    (conflict,) = merge_all(mirror, planted[0], planted[1:]).conflicts
    assert conflict.hunks == (
        Hunk(Lines(1, 2, ("line 0", "ours")), Lines(1, 2, ("theirs 1", "theirs 2"))),
        Hunk(Lines(20, 1, ("added",)), Lines(21, 2, ("appended", "more"))),
    )


def test_a_file_that_both_added_differs_where_it_differs(mirror: Mirror) -> None:
    ours, theirs = [*LINES[:5], "x\n", *LINES[5:]], [*LINES[:15], "y" * 500 + "\n", *LINES[16:]]
    planted = [plant(mirror, {"a": text(each)}) for each in (ours, theirs)]
    (conflict,) = merge_all(mirror, plant(mirror, {}), planted).conflicts
    assert conflict.kind == "add/add"
    assert conflict.hunks == (
        Hunk(Lines(6, 1, ("x",)), Lines(6, 0, ())),
        Hunk(Lines(17, 1, ("line 15",)), Lines(16, 1, ("y" * 120,))),
    )


def test_what_has_no_lines_has_no_hunks(mirror: Mirror) -> None:
    planted = [plant(mirror, {"a": text(f"\0{n}")}) for n in range(3)]
    assert merge_all(mirror, planted[0], planted[1:]).conflicts == (Conflict("a", "content", ()),)


# -- commits


async def test_two_commits_are_merged_or_say_where_they_conflict(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    ours = branch(origin, "ours", head, "src/a.py", "".join(["first\n", *LINES[1:]]))
    theirs = branch(origin, "theirs", head, "src/a.py", "".join([*LINES[:-1], "last\n"]))
    clash = branch(origin, "clash", head, "src/a.py", "".join(["other\n", *LINES[1:]]))
    await fetch(mirror, remote)
    merged = merge_trees(mirror, ours, theirs)
    assert content(mirror, merged.tree, "src/a.py") == "".join(["first\n", *LINES[1:-1], "last\n"])
    refs.set_ref(mirror, REF, ours, None)
    asked = {"message": "Merge", "author": BOT, "committer": BOT, "at": AT, "ref": REF}
    sha = merge.merge_commit(mirror, ours=ours, theirs=theirs, **asked)  # type: ignore[arg-type]
    assert sh(mirror.path, "show", "-s", "--format=%P", sha) == f"{ours} {theirs}"
    assert refs.tip(mirror, REF) == sha
    hunk = Hunk(Lines(1, 1, ("first",)), Lines(1, 1, ("other",)))
    conflicts = (Conflict("src/a.py", "content", (hunk,)),)
    assert merge_trees(mirror, ours, clash) == Merged(None, conflicts, clash)
    with pytest.raises(merge.MergeConflict, match=r"conflicts in src/a\.py\.$") as caught:
        merge.merge_commit(mirror, ours=ours, theirs=clash, **asked)  # type: ignore[arg-type]
    assert caught.value.paths == ("src/a.py",)
    assert caught.value.conflicts == conflicts
    assert refs.tip(mirror, REF) == sha


def branch(origin: Path, name: str, start: str, path: str, content: str) -> str:
    sh(origin, "checkout", "-q", "-B", name, start)
    (origin / path).write_text(content)
    return commit_all(origin, name)


async def test_what_was_never_fetched_is_said_to_be_missing(
    tmp_path: Path, origin: Path, remote: Remote, head: str
) -> None:
    ours = branch(origin, "ours", head, "src/a.py", "".join(["first\n", *LINES[1:]]))
    theirs = branch(origin, "theirs", head, "src/a.py", "".join([*LINES[:-1], "last\n"]))
    lacking = await ensure(tmp_path / "lacking.git", remote, blobless=True)
    with pytest.raises(Refused, match="are not in the mirror"):
        merge_trees(lacking, ours, theirs)
    with pytest.raises(Refused, match="are not in the mirror"):
        merge_all(lacking, head, [ours, theirs])


async def test_names_that_are_no_text_merge_like_others(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    name = os.fsdecode(b"caf\xe9")
    start = branch(origin, "start", head, name, "".join(LINES))
    ours = branch(origin, "ours", start, name, "".join(["first\n", *LINES[1:]]))
    theirs = branch(origin, "theirs", start, name, "".join([*LINES[:-1], "last\n"]))
    clash = branch(origin, "clash", start, name, "".join(["other\n", *LINES[1:]]))
    await fetch(mirror, remote)
    merged = merge_trees(mirror, ours, theirs)
    assert content(mirror, merged.tree, name).endswith("last\n")
    assert [each.path for each in merge_trees(mirror, ours, clash).conflicts] == [name]
