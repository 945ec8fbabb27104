from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.git import base, objects, refs, rollback
from bot.git.diff import names
from bot.git.mirror import Mirror, fetch
from bot.git.remote import Remote

from .conftest import AT, BOT, commit_all, sh
from .planted import FILES, NAMES, Files, listed, many, plant

REF = "refs/heads/orchestrate/1-x"


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


@many
@given(before=FILES, after=FILES, chosen=st.frozensets(NAMES))
def test_a_part_goes_back_and_the_rest_stays(
    mirror: Mirror, before: Files, after: Files, chosen: frozenset[str]
) -> None:
    old, new = plant(mirror, before), plant(mirror, after)

    def selects(path: str) -> bool:
        return path.rpartition("/")[2] in chosen

    back = listed(mirror, rollback.restore(mirror, new, old, selects))
    was, now = listed(mirror, old), listed(mirror, new)
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
    assert rollback.restore(mirror, new, old, lambda _: True) == old
    assert rollback.restore(mirror, new, old, lambda _: False) == new


def test_half_of_a_renamed_folder_goes_back_and_hides_nothing(mirror: Mirror) -> None:
    """What is taken back are entries of trees: no sign of a rename is left that hides others."""
    plain, odd = 0o100644, "caf\udce9"
    blob = sh(mirror.path, "hash-object", "-w", "--stdin", input=b"x")

    def tree(*paths: str) -> str:
        lines = "".join(f"{plain:o} {blob}\t{path}\0" for path in paths)
        index = str(mirror.path / "half")
        sh(mirror.path, "read-tree", "--empty", GIT_INDEX_FILE=index)
        entries = lines.encode("utf-8", "surrogateescape")
        told = ("update-index", "-z", "--index-info")
        sh(mirror.path, *told, input=entries, GIT_INDEX_FILE=index)
        return sh(mirror.path, "write-tree", GIT_INDEX_FILE=index)

    was = tree("old/a", f"old/{odd}", "old/in/c", "way")
    now = tree("new/a", f"new/{odd}", "new/in/c", "way/x")

    def back(*paths: str) -> list[str]:
        made = rollback.restore_paths(mirror, now, was, frozenset(paths))
        return sorted(listed(mirror, made))

    rest = ["new/a", f"new/{odd}", "new/in/c"]
    assert back("old/a") == [*rest, "old/a", "way/x"]
    assert back(f"new/{odd}", f"old/{odd}") == ["new/a", "new/in/c", f"old/{odd}", "way/x"]
    assert back("new/in", "old/in") == [*rest[:2], "old/in/c", "way/x"]
    assert back("new") == ["way/x"]
    assert back("way") == [*rest, "way"]
    assert rollback.restore_paths(mirror, now, was, frozenset({"old", "new", "way"})) == was
    sh(mirror.path, "fsck", "--strict", "--no-dangling")


def test_only_the_folders_above_what_goes_back_are_written(mirror: Mirror) -> None:
    files = {f"d{n}/e/f{m}": (0o100644, f"{n} {m}") for n in range(40) for m in range(3)}
    changed = {path: (0o100755, content) for path, (_, content) in files.items()}
    old, new = plant(mirror, files), plant(mirror, changed)
    packs = mirror.path / "objects" / "pack"
    before = set(packs.glob("*.idx"))
    back = rollback.restore(mirror, new, old, lambda path: path == "d7/e/f1")
    (made,) = set(packs.glob("*.idx")) - before
    assert len(sh(mirror.path, "show-index", input=made.read_bytes()).splitlines()) == 3
    assert listed(mirror, back)["d7/e/f1"].startswith("100644 ")
    assert [each.path for each in names(mirror, new, back)] == ["d7/e/f1"]
    # What goes back as a whole is there already.
    rollback.restore(mirror, new, old, lambda path: path.startswith("d7/"))
    (second,) = set(packs.glob("*.idx")) - before - {made}
    assert len(sh(mirror.path, "show-index", input=second.read_bytes()).splitlines()) == 1
    sh(mirror.path, "fsck", "--strict", "--no-dangling")


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=FILES)
async def test_a_workspace_of_any_tree_is_that_tree_to_the_byte(
    mirror: Mirror, tmp_path: Path, files: Files
) -> None:
    tree = plant(mirror, files)
    with tempfile.TemporaryDirectory(dir=tmp_path) as place:
        folder = Path(place) / "w"
        await base.check_out(mirror, tree, folder, Path(place) / "i")
        sh(folder, "init", "-q")
        sh(folder, "add", "-A")
        assert sh(folder, "write-tree") == tree
