from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.errors import Refused
from bot.git import objects, refs
from bot.git.mirror import Mirror, default_branch, ensure, fetch, heads, remote_refs
from bot.git.remote import Remote

from .conftest import commit_all, sh


async def test_a_mirror_has_the_branches_and_tags_of_its_remote(
    tmp_path: Path, origin: Path, remote: Remote, head: str
) -> None:
    sh(origin, "tag", "v1")
    mirror = await ensure(tmp_path / "m.git", remote)
    assert refs.tip(mirror, "refs/remotes/origin/main") == head
    assert refs.tip(mirror, "refs/tags/v1") == head
    assert await heads(remote) == {"main": head}
    assert await default_branch(remote) == "main"


async def test_a_fetch_follows_the_remote_and_leaves_our_own_refs(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    refs.set_ref(mirror, "refs/heads/orchestrate/1-x", head, None)
    refs.set_ref(mirror, "refs/orchestrate/abc", head, None)
    sh(origin, "branch", "gone")
    await fetch(mirror, remote)
    assert refs.resolve(mirror, "gone") == head
    sh(origin, "branch", "-D", "gone")
    new = commit_all(origin)
    await fetch(mirror, remote)
    assert refs.resolve(mirror, "gone") is None
    assert refs.resolve(mirror, "main") == new
    assert refs.tip(mirror, "refs/heads/orchestrate/1-x") == head
    assert refs.tip(mirror, "refs/orchestrate/abc") == head


async def test_nothing_but_branches_and_tags_is_fetched_and_nothing_is_tidied_by_the_way(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    """A server may have 100,000 refs of pull requests; a collection would race with the runs."""
    hidden = commit_all(origin, "Of a pull request")
    for name in ("refs/pull/1/head", "refs/notes/commits", "refs/changes/1"):
        sh(origin, "update-ref", name, hidden)
    sh(origin, "reset", "-q", "--hard", head)
    loose = sh(mirror.path, "hash-object", "-w", "--stdin", input=b"of nobody\n")
    for name, value in (("autoPackLimit", "1"), ("autoDetach", "false"), ("pruneExpire", "now")):
        sh(mirror.path, "config", f"gc.{name}", value)
    for _ in range(3):
        new = commit_all(origin)
        await fetch(mirror, remote)
    assert refs.resolve(mirror, "main") == new
    assert not objects.exists(mirror, hidden)
    assert sh(mirror.path, "cat-file", "-t", loose) == "blob"
    assert len(list((mirror.path / "objects" / "pack").glob("*.pack"))) > 3
    assert sh(mirror.path, "config", "gc.auto") == "0"
    assert {name.split("/")[1] for name in _refs(mirror)} == {"remotes"}


async def test_records_are_fetched_when_asked_and_never_overwrite_ours(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    sh(origin, "update-ref", "refs/orchestrate/abc", head)
    await fetch(mirror, remote)
    assert refs.tip(mirror, "refs/orchestrate/abc") is None
    await fetch(mirror, remote, ledgers=True)
    assert refs.tip(mirror, "refs/orchestrate/abc") == head
    sh(origin, "checkout", "-q", "--orphan", "other")
    sh(origin, "update-ref", "refs/orchestrate/abc", commit_all(origin, "Unrelated"))
    with pytest.raises(Refused):
        await fetch(mirror, remote, ledgers=True)
    assert refs.tip(mirror, "refs/orchestrate/abc") == head


async def test_mirrors_made_at_once_are_made_once(tmp_path: Path, remote: Remote) -> None:
    path = tmp_path / "m.git"
    made = await asyncio.gather(*(ensure(path, remote) for _ in range(4)))
    assert set(made) == {Mirror(path)}
    assert not (tmp_path / ".m.git.making").exists()


async def test_a_mirror_half_made_by_a_killed_process_is_made_anew(
    tmp_path: Path, remote: Remote, head: str
) -> None:
    (tmp_path / ".m.git.making" / "objects").mkdir(parents=True)
    mirror = await ensure(tmp_path / "m.git", remote)
    assert refs.resolve(mirror, "main") == head


async def test_an_empty_repository_has_a_mirror_without_branches(tmp_path: Path) -> None:
    sh(tmp_path, "init", "-q", "--bare", "empty.git")
    remote = Remote(str(tmp_path / "empty.git"))
    mirror = await ensure(tmp_path / "m.git", remote)
    assert await heads(remote) == {}
    assert refs.resolve(mirror, "main") is None


async def test_a_sha256_repository_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    sh(tmp_path, "init", "-q", "--object-format=sha256", "far")
    commit_all(tmp_path / "far")
    with pytest.raises(Refused, match="SHA-256"):
        await ensure(tmp_path / "mirrors" / "m.git", Remote(str(tmp_path / "far")))
    assert not (tmp_path / "mirrors").exists()


async def test_a_reftable_repository_is_refused(tmp_path: Path, origin: Path) -> None:
    sh(origin, "config", "core.repositoryFormatVersion", "1")
    sh(origin, "config", "extensions.refStorage", "reftable")
    with pytest.raises(Refused, match="reftable"):
        await ensure(tmp_path / "m.git", Remote(str(origin)))


async def test_a_path_without_a_repository_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="There is no repository at"):
        await remote_refs(Remote(str(tmp_path / "nowhere")))


@pytest.mark.parametrize("url", ["https://x:secret@host/a.git", "relative", "ext::sh -c id", ""])
def test_an_address_with_credentials_or_of_another_kind_is_no_remote(url: str) -> None:
    with pytest.raises(ValueError, match=r"credentials|neither"):
        Remote(url)


async def test_what_a_commit_holds_can_be_read(mirror: Mirror, origin: Path, head: str) -> None:
    assert objects.read(mirror, head, "readme.txt", 100) == b"hello\n"
    assert objects.read(mirror, head, "link", 100) is None
    assert objects.read(mirror, head, "src", 100) is None
    assert objects.read(mirror, head, "no/such", 100) is None
    assert objects.paths(mirror, head) == sh(origin, "ls-files").splitlines()
    blob = sh(origin, "rev-parse", "HEAD:readme.txt")
    assert objects.blob_id(mirror, head, "readme.txt") == blob
    assert objects.read_blob(mirror, blob, 100) == b"hello\n"
    assert objects.tree_of(mirror, head) == sh(origin, "rev-parse", "HEAD^{tree}")
    assert objects.exists(mirror, head)
    assert not objects.exists(mirror, "0" * 40)
    with pytest.raises(Refused, match="larger than 5 bytes, the most"):
        objects.read(mirror, head, "readme.txt", 5)
    with pytest.raises(Refused, match="not in the mirror"):
        objects.tree_of(mirror, "1" * 40)


async def test_commits_between_two_are_listed_oldest_first(
    mirror: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    second = commit_all(origin, "Second\n\nOrchestrate-Run: abc")
    third = commit_all(origin, "Third")
    await fetch(mirror, remote)
    found = objects.commits_between(mirror, head, third)
    assert [each.sha for each in found] == [second, third]
    assert found[0].trailers == {"Orchestrate-Run": ("abc",)}
    assert found[0].author_name == "Ada"
    assert [each.sha for each in objects.commits_between(mirror, head, third, limit=1)] == [third]
    assert objects.is_ancestor(mirror, head, third)
    assert objects.is_ancestor(mirror, head, head)
    assert not objects.is_ancestor(mirror, third, head)


def _refs(mirror: Mirror) -> list[str]:
    return sh(mirror.path, "for-each-ref", "--format=%(refname)").split()
