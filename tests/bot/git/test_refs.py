from __future__ import annotations

import asyncio
import os
import time

import pytest

from bot.errors import Refused, TransientError
from bot.git import checkpoint, locks, objects, refs
from bot.git.mirror import Mirror

from .conftest import AT, BOT, sh

REF = "refs/heads/orchestrate/1-x"


def test_a_name_is_resolved_as_people_type_it(mirror: Mirror, head: str) -> None:
    for rev in ("main", "refs/remotes/origin/main", head, head[:7]):
        assert refs.resolve(mirror, rev) == head
    for rev in ("nope", "0" * 40, "abc", "HEAD^{/x}", ":/First", "", "a..b", "refs/", head[:3]):
        assert refs.resolve(mirror, rev) is None


def test_a_ref_moves_only_from_where_it_is_expected(mirror: Mirror, head: str) -> None:
    refs.set_ref(mirror, REF, head, None)
    refs.set_ref(mirror, REF, head, None)  # done already
    other = checkpoint.commit(
        mirror,
        tree=objects.tree_of(mirror, head),
        parents=[head],
        message="x",
        author=BOT,
        committer=BOT,
        at=AT,
    )
    with pytest.raises(refs.RefMoved, match="has moved") as caught:
        refs.set_ref(mirror, REF, other, None)
    assert caught.value.now == head
    refs.set_ref(mirror, REF, other, head)
    assert refs.tip(mirror, REF) == other
    refs.set_ref(mirror, REF, None, other)
    refs.set_ref(mirror, REF, None, other)
    assert refs.tip(mirror, REF) is None


def test_a_name_that_is_no_ref_is_refused(mirror: Mirror, head: str) -> None:
    with pytest.raises(Refused):
        refs.set_ref(mirror, "refs/heads/a..b", head, None)


async def test_a_packed_ref_is_dropped_once_others_let_go_of_the_packed_refs(
    mirror: Mirror, head: str
) -> None:
    refs.set_ref(mirror, REF, head, None)
    sh(mirror.path, "pack-refs", "--all", "--prune")
    lock = mirror.path / "packed-refs.lock"
    lock.touch()
    dropping = asyncio.create_task(asyncio.to_thread(refs.set_ref, mirror, REF, None, head))
    await asyncio.sleep(0.1)
    assert not dropping.done()
    lock.unlink()
    await dropping
    assert refs.tip(mirror, REF) is None


def test_the_lock_of_a_killed_process_is_broken_when_it_is_old(mirror: Mirror, head: str) -> None:
    lock = mirror.path / f"{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    old = time.time() - refs.LOCK_STALE - 1
    os.utime(lock, (old, old))
    refs.set_ref(mirror, REF, head, None)
    assert refs.tip(mirror, REF) == head


def test_an_old_lock_is_kept_while_somebody_moves_a_ref(
    mirror: Mirror, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs, "LOCK_WAIT", 0.1)
    lock = mirror.path / f"{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    old = time.time() - refs.LOCK_STALE - 1
    os.utime(lock, (old, old))
    with locks.moving(mirror.path), pytest.raises(TransientError, match="stays locked"):
        refs.set_ref(mirror, REF, head, None)
    assert lock.exists()
    refs.set_ref(mirror, REF, head, None)


async def test_of_many_that_move_a_ref_at_once_none_is_lost(mirror: Mirror, head: str) -> None:
    tree = objects.tree_of(mirror, head)
    refs.set_ref(mirror, REF, head, None)

    def add(name: str) -> None:
        while True:
            now = refs.tip(mirror, REF)
            assert now is not None
            try:
                checkpoint.commit(
                    mirror,
                    tree=tree,
                    parents=[now],
                    message=name,
                    author=BOT,
                    committer=BOT,
                    at=AT,
                    ref=REF,
                    expected=now,
                )
            except refs.RefMoved:
                continue
            return

    names = [f"{number}" for number in range(24)]
    await asyncio.gather(*(asyncio.to_thread(add, name) for name in names))
    tip = refs.tip(mirror, REF)
    assert tip is not None
    found = [each.message for each in objects.commits_between(mirror, head, tip)]
    assert sorted(found) == sorted(names)
