from __future__ import annotations

import os
import random
from pathlib import Path

import pygit2
import pytest

from bot.git import pack
from bot.git.mirror import Mirror

from .conftest import sh


def _packs(mirror: Mirror) -> list[Path]:
    return sorted((mirror.path / "objects" / "pack").glob("*.pack"))


def _written(mirror: Mirror, *contents: bytes) -> list[str]:
    made = pack.Pack(mirror)
    ids = [made.add("blob", content).hex() for content in contents]
    made.write()
    return ids


def _read(repo: pygit2.Repository, oid: str) -> bytes:
    found = repo[oid]
    assert isinstance(found, pygit2.Blob)
    return found.data


def test_a_pack_is_one_that_git_takes(mirror: Mirror) -> None:
    rng = random.Random(7)
    contents = [rng.randbytes(size) for size in (0, 1, 15, 16, 17, 2047, 2048, 300_000)]
    before = set(_packs(mirror))
    ids = _written(mirror, *contents)
    (new,) = set(_packs(mirror)) - before
    assert sh(mirror.path, "verify-pack", str(new)) == ""
    assert ids == [str(pygit2.hash(content)) for content in contents]
    repo = pygit2.Repository(str(mirror.path))
    assert [_read(repo, each) for each in ids] == contents
    rebuilt = new.with_suffix(".check")
    sh(mirror.path, "index-pack", "-o", str(rebuilt), str(new))
    assert rebuilt.read_bytes() == new.with_suffix(".idx").read_bytes()
    rebuilt.unlink()


def test_an_object_is_written_once_and_nothing_is_no_pack(mirror: Mirror) -> None:
    before = _packs(mirror)
    made = pack.Pack(mirror)
    made.write()
    assert _packs(mirror) == before
    assert made.add("blob", b"x") == made.add("blob", b"x")
    made.write()
    assert len(_packs(mirror)) == len(before) + 1


def test_trees_can_be_read_before_they_are_written(mirror: Mirror) -> None:
    made = pack.Pack(mirror)
    blob = made.add("blob", b"x")
    tree = made.add("tree", b"100644 x\0" + blob)
    assert made.tree(tree) == b"100644 x\0" + blob
    assert made.tree(blob) is None


def test_many_packs_of_ours_become_one_and_others_stay(mirror: Mirror) -> None:
    others = set(_packs(mirror))
    ids = [oid for number in range(8) for oid in _written(mirror, b"%d" % number, b"in all")]
    assert pack.fold(mirror, at_least=9) == 0
    assert pack.fold(mirror, at_least=8) == 8
    left = set(_packs(mirror)) - others
    assert len(left) == 1
    assert others <= set(_packs(mirror))
    sh(mirror.path, "verify-pack", str(left.pop()))
    repo = pygit2.Repository(str(mirror.path))
    assert all(oid in repo for oid in ids)
    assert pack.fold(mirror, at_least=2) == 0, "one is not joined with itself"


def test_a_reader_that_had_the_old_packs_open_finds_the_new_one(mirror: Mirror) -> None:
    ids = [_written(mirror, b"%d" % number)[0] for number in range(4)]
    repo = pygit2.Repository(str(mirror.path))
    assert _read(repo, ids[0]) == b"0"
    pack.fold(mirror, at_least=2)
    assert [_read(repo, oid) for oid in ids] == [b"0", b"1", b"2", b"3"]


def test_large_packs_are_not_copied(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "FOLD_BYTES", 1000)
    _written(mirror, os.urandom(2000))
    _written(mirror, b"small")
    _written(mirror, b"small too")
    assert pack.fold(mirror, at_least=2) == 2
