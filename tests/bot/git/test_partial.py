"""A mirror without contents: they come in one fetch, before anything reads them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.errors import OrchestrateError
from bot.git import checkpoint, diff, merge, objects, refs
from bot.git.base import check_out
from bot.git.listing import is_current
from bot.git.mirror import Mirror, ensure, fetch, hydrate, is_blobless
from bot.git.push import Update, push
from bot.git.remote import Remote
from tests.support.world import World

from .conftest import AT, BOT, commit_all, sh
from .remotes import private, remote_of


@pytest.fixture
def history(origin: Path) -> list[str]:
    """Three more commits, each with a new content in the same file."""
    made = []
    for n in range(3):
        (origin / "src" / "a.py").write_text(f"version = {n}\n" * 20)
        made.append(commit_all(origin, f"Version {n}"))
    return made


@pytest.fixture
async def partial(tmp_path: Path, remote: Remote, history: list[str]) -> Mirror:
    return await ensure(tmp_path / "p.git", remote, blobless=True)


async def test_it_has_all_commits_and_trees_and_no_contents(
    partial: Mirror, origin: Path, history: list[str]
) -> None:
    assert is_blobless(partial)
    assert objects.paths(partial, history[0]) == sh(origin, "ls-files").splitlines()
    assert len(objects.commits_between(partial, history[0], history[2])) == 2
    assert contents(partial) == 0


async def test_the_contents_of_a_commit_come_at_once_and_no_others(
    partial: Mirror, remote: Remote, history: list[str]
) -> None:
    before = len(packs(partial))
    assert await hydrate(partial, remote, history[2]) == 5
    assert len(packs(partial)) == before + 1
    assert objects.read(partial, history[2], "readme.txt", 100) == b"hello\n"
    assert contents(partial) == 5
    assert await hydrate(partial, remote, history[2]) == 0
    assert await hydrate(partial, remote, history[1], history[0], history[2]) == 2


async def test_a_tree_and_a_single_content_can_be_asked_for(
    partial: Mirror, remote: Remote, history: list[str]
) -> None:
    blob = objects.blob_id(partial, history[0], "src/a.py")
    assert blob is not None
    assert await hydrate(partial, remote, blob) == 1
    assert objects.read_blob(partial, blob, 1000) == b"version = 0\n" * 20
    assert contents(partial) == 1
    assert await hydrate(partial, remote, objects.tree_of(partial, history[0])) == 4


async def test_differences_merges_and_workspaces_work_with_what_was_brought(
    tmp_path: Path, partial: Mirror, remote: Remote, history: list[str]
) -> None:
    await hydrate(partial, remote, history[0], history[2])
    compared = diff.compare(partial, history[0], history[2])
    assert [(c.path, c.added, c.deleted) for c in compared.files] == [("src/a.py", 20, 20)]
    assert "+version = 2\n" in compared.patch
    assert merge.merge_trees(partial, history[0], history[2]).tree is not None
    await check_out(partial, history[2], tmp_path / "w", tmp_path / "index")
    assert (tmp_path / "w" / "src" / "a.py").read_text() == "version = 2\n" * 20


async def test_a_checkpoint_of_it_is_pushed_whole(
    partial: Mirror, origin: Path, remote: Remote, history: list[str]
) -> None:
    await hydrate(partial, remote, history[2])
    older = objects.tree_of(partial, history[0])  # an agent brought an old file back
    ref = "refs/heads/orchestrate/1-x"
    made = checkpoint.commit(
        partial,
        tree=older,
        parents=[history[2]],
        message="Back",
        author=BOT,
        committer=BOT,
        at=AT,
        ref=ref,
    )
    await push(partial, remote, [Update(ref, made, None)])
    assert sh(origin, "show", f"{ref}:src/a.py").startswith("version = 0")
    assert "missing" not in sh(origin, "fsck", "--strict")
    sh(partial.path, "fsck", "--strict")


async def test_it_stays_without_contents_as_the_remote_goes_on(
    partial: Mirror, origin: Path, remote: Remote
) -> None:
    assert is_current(partial, remote)
    (origin / "new.txt").write_text("new\n")
    new = commit_all(origin)
    await fetch(partial, remote)
    assert refs.resolve(partial, "main") == new
    assert contents(partial) == 0


async def test_a_moved_repository_is_asked_at_its_new_address(
    tmp_path: Path, partial: Mirror, origin: Path
) -> None:
    sh(tmp_path, "clone", "-q", "--bare", str(origin), "moved.git")
    new = commit_all(origin)
    sh(origin, "push", "-q", str(tmp_path / "moved.git"), "main")
    moved = Remote(str(tmp_path / "moved.git"))
    await fetch(partial, moved)
    assert await hydrate(partial, moved, new) == 5


async def test_a_candidate_beside_its_head_needs_nothing_and_reads_nothing_else(
    partial: Mirror, remote: Remote, history: list[str]
) -> None:
    await hydrate(partial, remote, history[2])
    blob = sh(partial.path, "hash-object", "-w", "--stdin", input=b"new\n")
    tree = sh(partial.path, "mktree", input=f"100644 blob {blob}\tnew.txt\n".encode())
    before = contents(partial)
    assert await hydrate(partial, remote, history[2], tree, blob) == 0
    assert contents(partial) == before


async def test_a_submodule_is_no_content(partial: Mirror, remote: Remote, head: str) -> None:
    await hydrate(partial, remote, head)
    lines = f"160000 commit {'1' * 40}\tsub\n".encode()
    assert await hydrate(partial, remote, sh(partial.path, "mktree", input=lines)) == 0


async def test_many_who_ask_at_once_fetch_once(
    partial: Mirror, remote: Remote, history: list[str]
) -> None:
    found = await asyncio.gather(*(hydrate(partial, remote, history[1]) for _ in range(5)))
    assert sorted(found) == [0, 0, 0, 0, 5]


async def test_a_full_mirror_has_everything(mirror: Mirror, remote: Remote, head: str) -> None:
    assert not is_blobless(mirror)
    assert await hydrate(mirror, remote, head) == 0


async def test_a_commit_that_is_nowhere_is_an_error_in_a_sentence(
    partial: Mirror, remote: Remote
) -> None:
    with pytest.raises(OrchestrateError, match="fetch"):
        await hydrate(partial, remote, "1" * 40)


async def test_over_http_with_a_token_that_is_kept_nowhere(
    tmp_path: Path, world: World, origin: Path, history: list[str]
) -> None:
    remote = await remote_of(await private(world, origin))
    partial = await ensure(tmp_path / "h.git", remote, blobless=True)
    assert contents(partial) == 0
    assert await hydrate(partial, remote, history[2]) == 5
    assert objects.read(partial, history[2], "readme.txt", 100) == b"hello\n"
    assert remote.token is not None
    assert remote.token not in (partial.path / "config").read_text()


def contents(mirror: Mirror) -> int:
    """How many contents of files a mirror has."""
    listed = sh(
        mirror.path, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)", "--unordered"
    )
    return listed.split().count("blob")


def packs(mirror: Mirror) -> list[Path]:
    return list((mirror.path / "objects" / "pack").glob("*.pack"))
