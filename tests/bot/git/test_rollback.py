from __future__ import annotations

import tempfile
from pathlib import Path

import pygit2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.git import merge, objects, refs, rollback, workspace
from bot.git.mirror import Mirror, fetch
from bot.git.remote import Remote

from .conftest import AT, BOT, commit_all, sh

REF = "refs/heads/orchestrate/1-x"
NAMES = st.sampled_from(["a", "b", "c"])
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.tuples(st.sampled_from([0o100644, 0o100755, 0o120000]), st.sampled_from(["x", "y", "z\n"])),
    max_size=6,
)


def _tree(mirror: Mirror, files: dict[str, tuple[int, str]]) -> str:
    """Write a tree, later files in the place of what is in their way."""
    kept: dict[str, tuple[int, str]] = {}
    for path, file in files.items():
        for other in list(kept):
            if path.startswith(other + "/") or other.startswith(path + "/"):
                del kept[other]
        kept[path] = file
    repo = pygit2.Repository(str(mirror.path))
    index = pygit2.Index()
    for path, (mode, content) in kept.items():
        blob = repo.create_blob(content.encode())
        index.add(pygit2.IndexEntry(path, blob, pygit2.enums.FileMode(mode)))
    return str(index.write_tree(repo))


def _listed(mirror: Mirror, tree: str) -> dict[str, str]:
    out = sh(mirror.path, "ls-tree", "-r", "-z", tree)
    return {line.split("\t")[1]: line.split("\t")[0] for line in out.split("\0") if line}


async def test_going_back_is_a_new_commit_with_exactly_the_tree(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    (origin / "readme.txt").write_text("changed\n")
    (origin / "run.sh").chmod(0o644)
    (origin / "added").write_text("x")
    new = commit_all(origin)
    await fetch(mirror, remote)
    refs.set_ref(mirror, REF, new, None)
    for _ in range(2):  # twice is harmless
        sha = rollback.roll_back(
            mirror,
            head=new,
            target=head,
            message="Roll back",
            author=BOT,
            committer=BOT,
            at=AT,
            ref=REF,
        )
    assert refs.tip(mirror, REF) == sha
    assert sh(mirror.path, "rev-parse", f"{sha}^") == new
    assert objects.tree_of(mirror, sha) == objects.tree_of(mirror, head)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=FILES, after=FILES, chosen=st.frozensets(NAMES))
def test_a_part_goes_back_and_the_rest_stays(
    mirror: Mirror,
    before: dict[str, tuple[int, str]],
    after: dict[str, tuple[int, str]],
    chosen: frozenset[str],
) -> None:
    old, new = _tree(mirror, before), _tree(mirror, after)

    def selects(path: str) -> bool:
        return path[-1] in chosen

    back = _listed(mirror, rollback.restore(mirror, new, old, selects))
    was, now = _listed(mirror, old), _listed(mirror, new)
    wanted = {path: entry for path, entry in was.items() if selects(path)}
    assert {path: entry for path, entry in back.items() if selects(path)} == wanted
    stays = {path for path in now if not selects(path)}
    in_the_way = {
        path
        for path in stays
        for other in wanted
        if path.startswith(other + "/") or other.startswith(path + "/")
    }
    assert {path for path in back if not selects(path)} == stays - in_the_way
    assert all(back[path] == now[path] for path in stays - in_the_way)
    assert rollback.restore(mirror, new, old) == old


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=FILES)
async def test_a_workspace_of_any_tree_is_that_tree_to_the_byte(
    mirror: Mirror, tmp_path: Path, files: dict[str, tuple[int, str]]
) -> None:
    tree = _tree(mirror, files)
    with tempfile.TemporaryDirectory(dir=tmp_path) as place:
        folder = Path(place) / "w"
        await workspace.create(mirror, tree, folder, Path(place) / "i")
        sh(folder, "init", "-q")
        sh(folder, "add", "-A")
        assert sh(folder, "write-tree") == tree


def _branch(origin: Path, name: str, start: str, path: str, content: str) -> str:
    sh(origin, "checkout", "-q", "-B", name, start)
    (origin / path).write_text(content)
    return commit_all(origin, name)


async def test_two_commits_are_merged_or_say_where_they_conflict(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    lines = [f"line {n}\n" for n in range(20)]
    ours = _branch(origin, "ours", head, "src/a.py", "".join(["first\n", *lines[1:]]))
    theirs = _branch(origin, "theirs", head, "src/a.py", "".join([*lines[:-1], "last\n"]))
    clash = _branch(origin, "clash", head, "src/a.py", "".join(["other\n", *lines[1:]]))
    await fetch(mirror, remote)
    merged = merge.merge_trees(mirror, ours, theirs)
    assert merged.tree
    content = "".join(["first\n", *lines[1:-1], "last\n"])
    assert sh(mirror.path, "show", f"{merged.tree}:src/a.py") == content.strip()
    refs.set_ref(mirror, REF, ours, None)
    asked = {"message": "Merge", "author": BOT, "committer": BOT, "at": AT, "ref": REF}
    sha = merge.merge_commit(mirror, ours=ours, theirs=theirs, **asked)  # type: ignore[arg-type]
    assert sh(mirror.path, "show", "-s", "--format=%P", sha) == f"{ours} {theirs}"
    assert refs.tip(mirror, REF) == sha
    assert merge.merge_trees(mirror, ours, clash) == merge.Merged(None, ("src/a.py",))
    with pytest.raises(merge.MergeConflict, match=r"conflicts in src/a\.py\.$") as caught:
        merge.merge_commit(mirror, ours=ours, theirs=clash, **asked)  # type: ignore[arg-type]
    assert caught.value.paths == ("src/a.py",)
    assert refs.tip(mirror, REF) == sha
