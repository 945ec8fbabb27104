"""What a difference costs: `python -m bench.diff [--json] [--size mid] [--dir DIR]`.

Between a commit and a checkpoint on top of it in which `k` entries differ: `ms` for the names,
`stat_ms` with lines counted and renames found, `patch_ms` with the patch. In turn with
`git diff-tree` for the same, and the floor: the folders' trees that differ, read by their ids.

Warm, as promised, is a worker that compared the same two before, as it did when the checkpoint was
judged: trees never change, so that it still has which paths differ, and names them with their
modes. `cold_ms` is the first comparison in a worker, without a tree at hand: reading them (the
floor) is a fifth to a half of it, and the rest their entries, in Python: 5,000 of 585 folders in
the mid repository, 44,000 of 793 in the large one, for a thousand that differ.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.edits import apply as make
from bench.edits import planned
from bench.measure import (
    WARM,
    Row,
    Target,
    Times,
    at_most,
    options,
    report,
    timed,
    turns,
    workplace,
)
from bench.ours import Ours, changed_trees, need_root
from bench.plain import run
from bench.repositories import Repository
from bot.git import diff, walk
from bot.git.repository import open_repository

KS = (1, 10, 100, 1000)
SHARE = 2
LIMIT_MS = 2.0
PROMISED_FOR = 1000
"""Entries for which the limit was promised."""
UNCUT = 1 << 30
"""Bytes of a patch that is shown in whole, as git's is."""


class Case:
    """Two commits of a repository in which `k` entries differ."""

    def __init__(self, ours: Ours, k: int) -> None:
        rng = random.Random(f"{ours.repository.name} {k}")
        # A renamed file is two entries: so many fewer files are edited.
        many = k - k // 11
        workspace = ours.open("agent")
        make(workspace.folder, planned(ours.repository.sources, many, rng))
        self.mirror = ours.mirror
        self.old, self.new = ours.head, ours.take(workspace).commit
        ours.close()
        self.entries = len(diff.names(self.mirror, self.old, self.new))
        # The folders, and the root above them, on both sides.
        of_new = changed_trees(self.mirror, self.old, self.new)
        of_old = changed_trees(self.mirror, self.new, self.old)
        self._trees = [*of_new, *of_old]

    def measure(self, number: int, times: Times) -> None:
        """Make one round."""
        mirror, old, new = self.mirror, self.old, self.new
        contestants: list[tuple[str, Callable[[], object]]] = [
            ("names", lambda: diff.names(mirror, old, new)),
            ("cold", self._cold),
            ("stat", lambda: diff.changes(mirror, old, new)),
            ("patch", lambda: diff.compare(mirror, old, new, UNCUT)),
            ("floor", self._floor),
            ("git", lambda: self._git("-z", "--raw", "--no-renames")),
            ("git stat", lambda: self._git("-z", "--raw", "--numstat", "-M")),
            ("git patch", lambda: self._git("-p", "-M")),
        ]
        for name, contestant in turns(contestants, number):
            times.add(name, timed(contestant)[0])

    def _cold(self) -> None:
        old, new = (walk.root(self.mirror, each) for each in (self.old, self.new))
        walk.differing_lines(walk.Trees(self.mirror), old, new)

    def _floor(self) -> None:
        odb = open_repository(self.mirror).odb
        for oid in self._trees:
            odb.read(oid)

    def _git(self, *how: str) -> None:
        run(self.mirror.path, "diff-tree", "-r", *how, self.old, self.new)


def measure(repository: Repository, folder: Path, rounds: int) -> list[Row]:
    """Measure a repository with each number of entries that it is large enough for."""
    rows = []
    with Ours(repository, folder) as ours:
        for k in (k for k in KS if k <= repository.files // SHARE):
            case, times = Case(ours, k), Times()
            for number in range(WARM + rounds):
                times.keeping = number >= WARM
                case.measure(number, times)
            rows.append(_row(repository, k, case.entries, times.medians()))
            print(rows[-1], file=sys.stderr)
    shutil.rmtree(folder)
    return rows


def _row(repository: Repository, k: int, entries: int, ms: dict[str, float]) -> Row:
    return {
        "repo": repository.name,
        "files": repository.files,
        "k": k,
        "entries": entries,
        "ms": ms["names"],
        "cold_ms": ms["cold"],
        "floor_ms": ms["floor"],
        "git_ms": ms["git"],
        "git_ratio": round(ms["git"] / ms["names"], 3),
        "stat_ms": ms["stat"],
        "git_stat_ms": ms["git stat"],
        "patch_ms": ms["patch"],
        "git_patch_ms": ms["git patch"],
    }


def _targets(rows: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        if row["k"] == PROMISED_FOR:
            yield at_most(f"{row['repo']}: {row['entries']} entries", LIMIT_MS, row["ms"], " ms")


def main() -> int:
    """Measure, and print a table or, with `--json`, one object."""
    given = options(__doc__).parse_args()
    need_root()
    with workplace(given) as (folder, repositories):
        rows = [
            row
            for repository in repositories
            for row in measure(repository, folder / repository.name, given.rounds)
        ]
    return report("diff", given, rows, list(_targets(rows)))


if __name__ == "__main__":
    sys.exit(main())
