"""A damaged mirror is noticed, set aside and made anew; no checkpoint is lost."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bot.errors import OrchestrateError, Refused
from bot.git import ledger, locks, objects, refs
from bot.git import mend as mending
from bot.git import mirror as mirrors
from bot.git.mirror import Mirror, ensure, fetch, mend, recover
from bot.git.program import git
from bot.git.push import Update, push
from bot.git.remote import Remote
from bot.git.soundness import check, is_told, look

from .conftest import AT, BOT, commit_all, sh

RUN = "abcdefgh23"
BRANCH = f"refs/heads/orchestrate/1-x-{RUN}"
RECORD = f"refs/orchestrate/{RUN}"
HELD = f"refs/quarantine/{RUN}/2"
"""A candidate that was refused."""


@pytest.fixture
async def used(mirror: Mirror, head: str) -> Mirror:
    """A mirror with a run's branch of two checkpoints, its record and a candidate of it."""
    first = checkpoint(mirror, head, "one\n")
    second = checkpoint(mirror, first, "two\n")
    refs.set_ref(mirror, BRANCH, second, None)
    refs.set_ref(mirror, HELD, checkpoint(mirror, second, "three\n"), None)
    record(mirror, 1, head)
    record(mirror, 2, first)
    record(mirror, 3, second)
    sh(mirror.path, "repack", "-q", "-d", "-l")
    return mirror


def forget(mirror: Mirror) -> None:
    """As if the process had just begun."""
    mirrors._looked.clear()


# -- damages


def cut_off(mirror: Mirror) -> None:
    rewrite(theirs(mirror), lambda data: data[: len(data) // 2])


def emptied(mirror: Mirror) -> None:
    rewrite(theirs(mirror), lambda _: b"")


def gone(mirror: Mirror) -> None:
    theirs(mirror).unlink()


def garbage(mirror: Mirror) -> None:
    rewrite(theirs(mirror), lambda data: data[:12] + bytes(len(data) - 32) + data[-20:])


def index_cut_off(mirror: Mirror) -> None:
    rewrite(theirs(mirror).with_suffix(".idx"), lambda data: data[:100])


def without_head(mirror: Mirror) -> None:
    (mirror.path / "HEAD").unlink()


def with_an_empty_head(mirror: Mirror) -> None:
    (mirror.path / "HEAD").write_bytes(b"")


def without_configuration(mirror: Mirror) -> None:
    (mirror.path / "config").write_bytes(bytes(60))


def with_an_empty_ref(mirror: Mirror) -> None:
    (mirror.path / "refs" / "remotes" / "origin" / "main").write_bytes(b"")


def with_garbage_in_a_ref(mirror: Mirror) -> None:
    (mirror.path / "refs" / "remotes" / "origin" / "main").write_bytes(b"\x00\xff garbage\n")


def with_a_ref_to_nothing(mirror: Mirror) -> None:
    (mirror.path / "refs" / "remotes" / "origin" / "main").write_text("1" * 40 + "\n")


def with_garbage_among_packed_refs(mirror: Mirror) -> None:
    (mirror.path / "packed-refs").write_bytes(b"# pack-refs with: sorted \n\xfe\xff\x00\n")


def with_an_empty_object(mirror: Mirror) -> None:
    rewrite(loose(mirror), lambda _: b"")


def with_garbage_in_an_object(mirror: Mirror) -> None:
    rewrite(loose(mirror), lambda _: b"no zlib here")


SEEN: list[Callable[[Mirror], None]] = [
    cut_off,
    emptied,
    index_cut_off,
    without_head,
    with_an_empty_head,
    without_configuration,
    with_an_empty_ref,
    with_garbage_in_a_ref,
    with_a_ref_to_nothing,
    with_garbage_among_packed_refs,
    with_an_empty_object,
]
"""What a look finds."""


@pytest.mark.parametrize("damage", SEEN, ids=lambda damage: damage.__name__)
async def test_damage_is_seen_and_mended_without_losing_a_checkpoint(
    used: Mirror, origin: Path, remote: Remote, damage: Callable[[Mirror], None]
) -> None:
    assert look(used.path) is None
    before = own(used)
    damage(used)
    forget(used)
    new = commit_all(origin)
    with capture_logs() as logs:
        assert await ensure(used.path, remote) == used
    assert [log["event"] for log in logs] == ["mirror was damaged and made anew"]
    assert logs[0]["saved"] == sorted(before)
    assert logs[0]["lost"] == []
    assert own(used) == before
    assert contents(used) == {"one\n", "two\n", "three\n"}
    assert [each["seq"] for each in ledger.read(used, RUN)] == [1, 2, 3]
    assert refs.resolve(used, "main") == new
    sh(used.path, "fsck", "--strict")
    assert aside(used) == [used.path.with_name("1.git.broken-1")]
    assert look(used.path) is None


@pytest.mark.parametrize("damage", [garbage, with_garbage_in_an_object, cut_off, gone])
async def test_damage_that_shows_when_objects_are_read_is_mended_then(
    used: Mirror, origin: Path, remote: Remote, head: str, damage: Callable[[Mirror], None]
) -> None:
    await fetch(used, remote)
    before = own(used)
    damage(used)
    (origin / "readme.txt").write_text("changed\n")
    new = commit_all(origin)
    # By another process: in this one libgit2 still has the old files open.
    with pytest.raises(Refused) as caught:
        await git("rev-list", "--objects", head, git_dir=used.path)
    assert await recover(used, remote, caught.value)
    assert objects.paths(used, head) == sh(origin, "ls-tree", "-r", "--name-only", head).split()
    await fetch(used, remote)
    assert refs.resolve(used, "main") == new
    assert own(used) == before
    assert [each["seq"] for each in ledger.read(used, RUN)] == [1, 2, 3]


async def test_a_fetch_that_meets_damage_mends_it_and_goes_on(
    used: Mirror, origin: Path, remote: Remote
) -> None:
    await fetch(used, remote)
    before = own(used)
    garbage(used)
    (origin / "readme.txt").write_text("changed\n")
    new = commit_all(origin)
    await fetch(used, remote)
    assert len(aside(used)) == 1
    assert refs.resolve(used, "main") == new
    assert own(used) == before


async def test_what_of_a_damaged_pack_of_ours_can_be_read_is_saved(
    used: Mirror, remote: Remote
) -> None:
    before = own(used)
    rewrite(ours(used), lambda data: data[:-10])  # all objects are whole, only the end is missing
    forget(used)
    await ensure(used.path, remote)
    assert own(used) == before
    assert contents(used) == {"one\n", "two\n", "three\n"}


async def test_what_only_the_remote_still_has_comes_from_there(
    used: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    before = own(used)
    pushed = [Update(name, before[name], None) for name in (BRANCH, RECORD)]
    await push(used, remote, pushed)
    await fetch(used, remote)
    for pack in packs(used):
        rewrite(pack, lambda _: b"")
    forget(used)
    with capture_logs() as logs:
        await ensure(used.path, remote)
    assert logs[0]["saved"] == [BRANCH, RECORD]
    assert logs[0]["lost"] == [HELD]
    assert own(used) == {BRANCH: before[BRANCH], RECORD: before[RECORD]}
    assert [each["seq"] for each in ledger.read(used, RUN)] == [1, 2, 3]
    assert objects.exists(used, head)


async def test_a_record_on_a_branch_comes_from_there(
    used: Mirror, origin: Path, remote: Remote
) -> None:
    before = own(used)
    await push(
        used, remote, [Update(f"refs/heads/orchestrate-records/{RUN}", before[RECORD], None)]
    )
    await fetch(used, remote)
    rewrite(ours(used), lambda _: b"")
    forget(used)
    await ensure(used.path, remote)
    assert own(used) == {BRANCH: before[BRANCH], RECORD: before[RECORD]}


async def test_a_record_and_a_branch_whose_refs_are_lost_are_found_again(
    used: Mirror, remote: Remote
) -> None:
    before = own(used)
    sh(used.path, "commit-tree", "-m", f"Record of run {RUN}: forged", f"{before[HELD]}^{{tree}}")
    (used.path / RECORD).write_bytes(b"")
    (used.path / BRANCH).write_bytes(b"\0" * 41)
    forget(used)
    await ensure(used.path, remote)
    assert own(used) == before


async def test_one_lost_ref_keeps_no_other_from_being_saved(
    used: Mirror, remote: Remote, head: str
) -> None:
    for n in range(9):
        refs.set_ref(used, f"refs/quarantine/other/{n}", checkpoint(used, head, f"{n}\n"), None)
    before = own(used)
    lost = [f"refs/quarantine/other/{n}" for n in (2, 7)]
    for name in lost:
        sha = before[name]
        (used.path / "objects" / sha[:2] / sha[2:]).unlink()
    forget(used)
    with capture_logs() as logs:
        await ensure(used.path, remote)
    assert [each["lost"] for each in logs if "lost" in each] == [lost]
    assert own(used) == {name: sha for name, sha in before.items() if name not in lost}


async def test_what_is_written_meanwhile_is_brought_over_too(
    used: Mirror, remote: Remote, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two looks at the old mirror another run makes a checkpoint there."""
    swap = mending._swap
    made = checkpoint(used, head, "late\n")

    def late(path: Path, fresh: Path) -> Path:
        refs.set_ref(used, "refs/heads/orchestrate/2-y", made, None)
        return swap(path, fresh)

    monkeypatch.setattr(mending, "_swap", late)
    with_an_empty_object(used)
    assert await mend(used, remote)
    assert refs.tip(used, "refs/heads/orchestrate/2-y") == made
    assert objects.read(used, made, "work.txt", 100) == b"late\n"


async def test_a_blobless_mirror_stays_one_and_keeps_its_checkpoints(
    tmp_path: Path, origin: Path, remote: Remote, head: str
) -> None:
    partial = await ensure(tmp_path / "p.git", remote, blobless=True)
    refs.set_ref(partial, BRANCH, checkpoint(partial, head, "one\n"), None)
    before = own(partial)
    (partial.path / "HEAD").write_bytes(b"")
    forget(partial)
    await ensure(partial.path, remote)
    assert own(partial) == before
    assert contents(partial) == {"one\n"}
    assert mirrors.is_blobless(partial)
    assert next((partial.path / "objects" / "pack").glob("*.promisor"), None)


async def test_a_blobless_mirror_brings_in_what_a_call_missed(
    tmp_path: Path, remote: Remote, head: str
) -> None:
    partial = await ensure(tmp_path / "p.git", remote, blobless=True)
    with pytest.raises(KeyError) as caught:
        objects.read(partial, head, "readme.txt", 100)
    assert await recover(partial, remote, caught.value, head)
    assert objects.read(partial, head, "readme.txt", 100) == b"hello\n"
    assert not await recover(partial, remote, caught.value, head)


async def test_without_its_remote_a_damaged_mirror_stays_where_it_is(
    used: Mirror, origin: Path, remote: Remote
) -> None:
    cut_off(used)
    forget(used)
    away = shutil.move(origin, origin.with_name("away"))
    with pytest.raises(OrchestrateError, match="no repository at"):
        await ensure(used.path, remote)
    assert aside(used) == []
    shutil.move(away, origin)
    await ensure(used.path, remote)
    assert len(aside(used)) == 1


async def test_a_sound_mirror_is_never_set_aside(
    used: Mirror, origin: Path, remote: Remote
) -> None:
    for error in (
        Refused("The commit 111111111111 is not in the mirror; fetch and try again."),
        Refused("git fetch failed: fatal: packed object 1234 is corrupt"),
        KeyError("1" * 40),
    ):
        assert not await recover(used, remote, error)
    sh(origin, "branch", "-m", "main", "trunk")
    await fetch(used, remote)
    assert aside(used) == []


async def test_the_same_words_make_it_check_once(
    used: Mirror, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remote may be what is damaged; a check reads everything."""
    asked: list[Path] = []

    async def counted(path: Path) -> str | None:
        asked.append(path)
        return await check(path)

    monkeypatch.setattr(mirrors, "check", counted)
    error = Refused("git fetch failed: error: /a did not send all necessary objects")
    other = Refused("git fetch failed: fatal: packed object 12 is corrupt")
    for told in (error, error, other, other):
        assert not await mend(used, remote, told)
    assert len(asked) == 2


async def test_an_index_without_its_pack_may_be_a_leftover_or_a_loss(
    used: Mirror, origin: Path, remote: Remote, head: str
) -> None:
    (origin / "readme.txt").write_text("changed\n")
    commit_all(origin)
    await fetch(used, remote)  # so that nothing at a look depends on the first pack
    first = theirs(used)
    copy = first.with_name(f"pack-{'1' * 40}.idx")
    copy.write_bytes(first.with_suffix(".idx").read_bytes())
    error = Refused("The tree 111111111111 is not in the mirror; fetch and try again.")
    assert not await mend(used, remote)
    assert not await recover(used, remote, error)
    before = own(used)
    first.unlink()
    for name in before:
        refs.set_ref(used, name, None, before[name])
    assert not await mend(used, remote)
    error = Refused("The tree 222222222222 is not in the mirror; fetch and try again.")
    assert await recover(used, remote, error)
    assert objects.exists(used, head)


async def test_many_who_meet_the_damage_at_once_mend_it_once(used: Mirror, remote: Remote) -> None:
    before = own(used)
    cut_off(used)
    forget(used)
    await asyncio.gather(*(ensure(used.path, remote) for _ in range(4)))
    assert own(used) == before
    assert len(aside(used)) == 1
    async with locks.writing(used.path, 1):
        pass


def test_a_full_disk_or_a_missing_commit_are_no_damage() -> None:
    for words in (
        "The commit 111111111111 is not in the mirror; fetch and try again.",
        "git fetch failed: fatal: write error: No space left on device",
        "git fetch failed: fatal: couldn't find remote ref refs/heads/x",
        "There is no repository at /a, or it may not be read.",
    ):
        assert not is_told(Refused(words))


def checkpoint(mirror: Mirror, parent: str, text: str) -> str:
    blob = sh(mirror.path, "hash-object", "-w", "--stdin", input=text.encode())
    tree = sh(mirror.path, "mktree", input=f"100644 blob {blob}\twork.txt\n".encode())
    return sh(mirror.path, "commit-tree", "-p", parent, "-m", text, tree)


def record(mirror: Mirror, seq: int, *checkpoints: str) -> None:
    event = {"v": 1, "seq": seq, "id": f"e{seq}", "type": "noted", "data": {}}
    ledger.append(mirror, RUN, [event], checkpoints=checkpoints, identity=BOT, at=AT)


def own(mirror: Mirror) -> dict[str, str]:
    """Our own refs, as git lists them."""
    listed = sh(
        mirror.path,
        "for-each-ref",
        "--format=%(refname) %(objectname)",
        "refs/heads",
        "refs/orchestrate",
        "refs/quarantine",
    )
    return dict(line.split() for line in listed.splitlines())


def contents(mirror: Mirror) -> set[str]:
    """What stood in the file of each checkpoint that our own refs reach."""
    listed = sh(mirror.path, "log", "--format=%H", "--glob=refs/heads", "--glob=refs/quarantine",
                "--", "work.txt")  # fmt: skip
    return {sh(mirror.path, "show", f"{sha}:work.txt") + "\n" for sha in listed.split()}


def packs(mirror: Mirror) -> list[Path]:
    return list((mirror.path / "objects" / "pack").glob("*.pack"))


def theirs(mirror: Mirror) -> Path:
    """The pack that holds what the remote has."""
    return _with(mirror, sh(mirror.path, "rev-list", "--max-parents=0", "refs/remotes/origin/main"))


def ours(mirror: Mirror) -> Path:
    """The pack that holds the checkpoints."""
    return _with(mirror, own(mirror)[BRANCH])


def _with(mirror: Mirror, sha: str) -> Path:
    for pack in packs(mirror):
        if sha in sh(mirror.path, "verify-pack", "-v", str(pack)):
            return pack
    raise AssertionError(f"no pack has {sha}")


def loose(mirror: Mirror) -> Path:
    """A commit of the remote's, in a file of its own."""
    head = refs.resolve(mirror, "main")
    assert head is not None
    pack = theirs(mirror)
    data = pack.read_bytes()
    for path in (pack, pack.with_suffix(".idx")):
        path.unlink()
    sh(mirror.path, "unpack-objects", "-q", input=data)
    return mirror.path / "objects" / head[:2] / head[2:]


def rewrite(file: Path, damage: Callable[[bytes], bytes]) -> None:
    """Put another file in the place of one: whoever has opened the old one goes on reading it."""
    data = damage(file.read_bytes())
    file.unlink()
    file.write_bytes(data)


def aside(mirror: Mirror) -> list[Path]:
    return sorted(mirror.path.parent.glob("*.broken-*"))
