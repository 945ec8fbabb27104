"""Repositories of odd formats: worked on as any other, or refused in one sentence before any work.

pygit2 cannot open some of these, or sees in them files that are gone; so all that touches a
person's repository is the git program, and only the mirror is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bot.errors import Refused, UserError
from bot.git import objects, refs
from bot.git.local import base_of, open_repository
from bot.git.mirror import ensure, fetch
from bot.git.push import Update, push
from bot.git.remote import Remote

from .conftest import commit_all, sh

BRANCH = "refs/heads/orchestrate/1-x"
RECORD = "refs/orchestrate/abc"


def shallow(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", "--depth=2", f"file://{origin}", str(to))


def sparse(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", "--sparse", str(origin), str(to))
    sh(to, "sparse-checkout", "set", "--no-cone", "readme.txt")


def sparse_index(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", "--sparse", str(origin), str(to))
    sh(to, "sparse-checkout", "set", "--cone", "--sparse-index", "other")
    assert b"sdir" in (to / ".git" / "index").read_bytes()


def split_index(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", str(origin), str(to))
    sh(to, "update-index", "--split-index")
    assert b"link" in (to / ".git" / "index").read_bytes()


def index_v4(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", str(origin), str(to))
    sh(to, "update-index", "--index-version", "4")


def worktree_config(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", str(origin), str(to))
    sh(to, "config", "extensions.worktreeConfig", "true")
    sh(to, "config", "--worktree", "core.sparseCheckout", "false")


def precious_objects(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", str(origin), str(to))
    extend(to, "preciousObjects", "true")


def linked_worktree(origin: Path, to: Path) -> None:
    sh(origin, "worktree", "add", "-q", "-b", "linked", str(to))


def complete_partial(origin: Path, to: Path) -> None:
    blobless(origin, to)
    sh(to, "fetch", "-q", "--refetch", "--no-filter")


def shared(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", "--shared", str(origin), str(to))


def bare(origin: Path, to: Path) -> None:
    sh(origin, "clone", "-q", "--bare", str(origin), str(to))


def blobless(origin: Path, to: Path) -> None:
    sh(origin, "config", "uploadpack.allowFilter", "true")
    sh(origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    sh(origin, "clone", "-q", "--filter=blob:none", f"file://{origin}", str(to))


def extend(repo: Path, extension: str, value: str) -> None:
    """Set an extension as a git that has it would."""
    sh(repo, "config", "core.repositoryFormatVersion", "1")
    sh(repo, "config", f"extensions.{extension}", value)


@pytest.fixture
def history(origin: Path) -> str:
    """Some commits, in which a file has had contents that it has no more."""
    (origin / "other").mkdir()
    (origin / "other" / "b.txt").write_text("b\n")
    for n in range(4):
        (origin / "readme.txt").write_text(f"version {n}\n")
        commit_all(origin)
    return sh(origin, "rev-parse", "main")


HANDLED = [
    shallow,
    sparse,
    sparse_index,
    split_index,
    index_v4,
    worktree_config,
    precious_objects,
    linked_worktree,
    complete_partial,
    shared,
    bare,
]


@pytest.mark.parametrize("kind", HANDLED, ids=lambda kind: kind.__name__)
async def test_it_is_worked_on_as_any_other(
    tmp_path: Path, origin: Path, history: str, kind: Callable[[Path, Path], None]
) -> None:
    folder = tmp_path / "theirs"
    kind(origin, folder)
    before = seen(folder)
    repository = await open_repository(folder)
    branch = await base_of(repository, "")
    remote = Remote(repository.url)
    mirror = await ensure(tmp_path / "m.git", remote)
    head = refs.tip(mirror, f"refs/remotes/origin/{branch}")
    assert head == history
    assert objects.read(mirror, head, "readme.txt", 100) == b"version 3\n"
    assert objects.paths(mirror, head) == sh(origin, "ls-tree", "-r", "--name-only", head).split()
    made = sh(mirror.path, "commit-tree", "-p", head, "-m", "Checkpoint", f"{head}^{{tree}}")
    record = sh(mirror.path, "commit-tree", "-p", made, "-m", "Record", f"{head}^{{tree}}")
    await push(mirror, remote, [Update(BRANCH, made, None), Update(RECORD, record, None)])
    assert sh(folder, "rev-parse", BRANCH, RECORD).split() == [made, record]
    await fetch(mirror, remote, ledgers=True)
    sh(mirror.path, "fsck", "--strict")
    assert seen(folder) == before


async def test_a_history_that_is_completed_later_comes_too(
    tmp_path: Path, origin: Path, history: str
) -> None:
    folder = tmp_path / "theirs"
    shallow(origin, folder)
    remote = Remote((await open_repository(folder)).url)
    mirror = await ensure(tmp_path / "m.git", remote)
    first = sh(origin, "rev-list", "--max-parents=0", "main")
    assert not objects.exists(mirror, first)
    sh(folder, "fetch", "-q", "--deepen=1")
    await fetch(mirror, remote)
    sh(mirror.path, "fsck", "--strict")
    sh(folder, "fetch", "-q", "--unshallow")
    await fetch(mirror, remote)
    assert objects.is_ancestor(mirror, first, history)
    assert not (mirror.path / "shallow").exists()
    sh(mirror.path, "fsck", "--strict")


async def test_a_sha256_repository_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    sh(tmp_path, "init", "-q", "--object-format=sha256", str(folder))
    commit_all(folder)
    with pytest.raises(UserError, match=r"keeps its objects in SHA-256; name one"):
        await open_repository(folder)


async def test_a_partial_clone_that_lacks_contents_is_refused(
    tmp_path: Path, origin: Path, history: str
) -> None:
    folder = tmp_path / "theirs"
    blobless(origin, folder)
    packs = sorted((folder / ".git" / "objects" / "pack").iterdir())
    with pytest.raises(UserError, match="`git fetch --refetch --no-filter` there"):
        await open_repository(folder)
    assert sorted((folder / ".git" / "objects" / "pack").iterdir()) == packs  # nothing was fetched


@pytest.mark.parametrize(
    ("extension", "value"),
    [("refStorage", "reftable"), ("relativeWorktrees", "true"), ("someday", "true")],
)
async def test_an_extension_that_git_does_not_know_is_named(
    tmp_path: Path, origin: Path, extension: str, value: str
) -> None:
    extend(origin, extension, value)
    try:
        sh(origin, "rev-parse", "--git-dir")
    except AssertionError:
        with pytest.raises(UserError, match=f"knows the extension `{extension.lower()}`"):
            await open_repository(origin)
        with pytest.raises(Refused):
            await ensure(tmp_path / "m.git", Remote(str(origin)))
        assert not (tmp_path / "m.git").exists()
    else:  # a newer git, to which it is nothing odd
        assert (await open_repository(origin)).default_branch == "main"
        assert refs.resolve(await ensure(tmp_path / "m.git", Remote(str(origin))), "main")


async def test_what_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no git repository; name one"):
        await open_repository(tmp_path)


def seen(folder: Path) -> tuple[str, bytes]:
    """What a person sees of their repository: the work tree's state, and the index."""
    if sh(folder, "rev-parse", "--is-bare-repository") == "true":
        return sh(folder, "rev-parse", "HEAD"), b""
    index = Path(sh(folder, "rev-parse", "--path-format=absolute", "--git-path", "index"))
    return sh(folder, "status", "--porcelain=v2", "--branch", "--ignored"), index.read_bytes()
