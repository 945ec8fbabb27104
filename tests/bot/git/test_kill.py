"""A checkpoint killed at each system call that writes: afterwards it is there, or nothing is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bot.git import pack, refs
from bot.git.candidate import Made, Source, take
from bot.git.mirror import Mirror
from bot.git.objects import tree_of
from bot.git.workbench import free
from tests.support.tracing import can_trace, killed_at

from .conftest import AT, BOT, sh

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_trace(), reason="the system calls of this machine are not known"),
]
REF = "refs/heads/orchestrate/1-x"
MADE = Made("A turn\n", BOT, BOT, AT)
LEAST = 12
"""Calls that write in the smallest checkpoint: fewer, and the test has looked at too little."""


def _begun(mirror: Mirror, head: str, place: Path) -> tuple[Mirror, Source]:
    """A mirror of its own with the branch at `head`, and a workspace with changes over it."""
    held = Mirror(place / "1.git")
    shutil.copytree(mirror.path, held.path)
    refs.set_ref(held, REF, head, None)
    folder = place / "workspace"
    sh(held.path, "worktree", "add", "-q", "--detach", str(folder), head)
    (folder / ".git").unlink()
    sh(held.path, "worktree", "prune")
    (folder / "readme.txt").write_text("changed\n")
    (folder / "src" / "a.py").unlink()
    (folder / "new").mkdir()
    (folder / "new" / "file").write_text("new\n")
    return held, Source(folder, tree_of(held, head), whole=True)


def _checkpoint(held: Mirror, source: Source, head: str) -> None:
    refs.set_ref(held, REF, take(held, source, head, MADE).commit, head)


def test_a_checkpoint_killed_anywhere_is_old_or_new(
    mirror: Mirror, head: str, tmp_path: Path
) -> None:
    held, source = _begun(mirror, head, tmp_path / "whole")
    _checkpoint(held, source, head)
    new = refs.tip(held, REF)
    assert new is not None
    assert new != head
    seen = set()
    for number in range(1, 500):
        held, source = _begun(mirror, head, tmp_path / f"killed{number}")
        if not killed_at(number, lambda h=held, s=source: _checkpoint(h, s, head)):  # type: ignore[misc]
            break
        now = refs.tip(held, REF)
        assert now in (head, new)
        seen.add(now)
        sh(held.path, "fsck", "--strict", "--full")
        if now == new:
            assert sh(held.path, "show", f"{new}:new/file") == "new"
        free(held.path.parent, frozenset())  # as the next start does
        _checkpoint(held, source, refs.tip(held, REF) or head) if now == head else None
        assert refs.tip(held, REF) == new, "done again, it is the same checkpoint"
        sh(held.path, "fsck", "--strict", "--full")
        shutil.rmtree(held.path.parent)
    assert number > LEAST
    assert seen == {head, new}, "some kills came before the branch moved, and some after"


def test_packs_folded_under_a_kill_lose_nothing(mirror: Mirror, tmp_path: Path) -> None:
    def begun(place: Path) -> Mirror:
        held = Mirror(place / "1.git")
        shutil.copytree(mirror.path, held.path)
        for number in range(6):
            made = pack.Pack(held)
            ids.add(made.add("blob", b"%d\n" % number).hex())
            ids.add(made.add("blob", b"in all of them\n").hex())
            made.write()
        return held

    ids: set[str] = set()
    for number in range(1, 500):
        held = begun(tmp_path / f"killed{number}")
        done = not killed_at(number, lambda h=held: _fold(h))  # type: ignore[misc]
        assert _found(held) >= ids
        sh(held.path, "fsck", "--strict", "--full")
        _fold(held)
        assert _found(held) >= ids
        if done:
            break
        shutil.rmtree(held.path.parent)
    assert number > LEAST
    assert len(list((held.path / "objects" / "pack").glob("*.orchestrate"))) == 1


def _fold(held: Mirror) -> None:
    pack.fold(held, at_least=2)


def _found(held: Mirror) -> set[str]:
    options = ("--batch-all-objects", "--batch-check=%(objectname)")
    return set(sh(held.path, "cat-file", *options).split())
