"""Trees at hand: those of the packs, whatever became of the file, and new ones are noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pygit2
import pytest

from bot.git import shelf, walk
from bot.git.repository import Mirror, open_repository
from bot.git.shelf import Shelf

from .planted import plant

FILES = {f"d{n % 7}/e{n % 3}/f{n}": (0o100644, str(n)) for n in range(60)}


def all_trees(mirror: Mirror, tree: str) -> dict[bytes, bytes]:
    """Every tree of `tree` by its id, as libgit2 has it."""
    odb = open_repository(mirror).odb
    found: dict[bytes, bytes] = {}
    pending = [tree]
    while pending:
        oid = pygit2.Oid(hex=pending.pop())
        found[oid.raw] = odb.read(oid)[1]
        it = open_repository(mirror)[oid]
        assert isinstance(it, pygit2.Tree)
        pending += [str(each.id) for each in it if isinstance(each, pygit2.Tree)]
    return found


def test_each_tree_is_found_as_it_is_stored_and_no_other(mirror: Mirror) -> None:
    tree = plant(mirror, FILES)
    other = plant(mirror, {"x": (0o100644, "other")})
    shelf.write(mirror, tree)
    at_hand, trees = Shelf(mirror), all_trees(mirror, tree)
    assert len(trees) == 1 + 7 + 7 * 3
    assert {oid: at_hand.find(oid) for oid in trees} == trees
    for absent in (bytes.fromhex(other), bytes(20), b"\xff" * 20):
        assert at_hand.find(absent) is None


def test_without_a_file_there_is_nothing(mirror: Mirror) -> None:
    assert Shelf(mirror).find(bytes(20)) is None


@pytest.mark.parametrize("size", [0, 7, 12, 100, 700])
def test_a_file_that_a_crash_cut_short_is_passed_over(mirror: Mirror, size: int) -> None:
    tree = plant(mirror, FILES)
    shelf.write(mirror, tree)
    file = mirror.path / shelf.NAME
    os.truncate(file, size)
    assert Shelf(mirror).find(bytes.fromhex(tree)) is None
    assert (
        walk.Trees(mirror).raw(bytes.fromhex(tree)) == all_trees(mirror, tree)[bytes.fromhex(tree)]
    )


def test_what_was_changed_in_the_file_is_passed_over(mirror: Mirror) -> None:
    tree = plant(mirror, FILES)
    shelf.write(mirror, tree)
    file = mirror.path / shelf.NAME
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    trees, at_hand = all_trees(mirror, tree), Shelf(mirror)
    found = {oid: at_hand.find(oid) for oid in trees}
    assert list(found.values()).count(None) == 1
    assert {oid: raw for oid, raw in found.items() if raw} == {
        oid: raw for oid, raw in trees.items() if found[oid]
    }


def test_a_reader_notices_a_new_file_and_that_it_is_gone(mirror: Mirror) -> None:
    tree = plant(mirror, FILES)
    trees = walk.trees_of(mirror)
    assert trees._shelf.stamp is None
    shelf.write(mirror, tree)
    assert walk.trees_of(mirror)._shelf.find(bytes.fromhex(tree))
    (mirror.path / shelf.NAME).unlink()
    assert walk.trees_of(mirror)._shelf.find(bytes.fromhex(tree)) is None


def test_so_many_trees_are_left_to_the_packs(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shelf, "MAX_BYTES", 100)
    shelf.write(mirror, plant(mirror, FILES))
    assert not (mirror.path / shelf.NAME).exists()
    assert not list(mirror.path.glob("*.tmp"))
