"""What a rollback costs: `python -m bench.rollback [--json] [--size large] [--dir DIR]`.

An agent changed `k` files and that is a checkpoint; now its parent's files are to stand there
again. `whole` takes the parent's tree; `paths` takes the `k` files that a glob means, while as many
others keep what the checkpoint made of them. `ms` is the new commit on top of the branch, durable:
then the rollback has happened. `open_ms` is the first workspace with these files, which its
checks open. In turn with `git checkout` of the same files in a plain worktree, whose index is warm,
and the floor: the same commit and trees made durable (`bench/floor.py`).
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import floor
from bench.edits import Edit, planned
from bench.edits import apply as make
from bench.measure import (
    WARM,
    Row,
    Target,
    Times,
    at_most,
    options,
    report,
    settle,
    timed,
    turns,
    workplace,
)
from bench.ours import AT, REF, WHO, Ours, changed_trees, need_root
from bench.plain import Plain, run
from bench.repositories import Repository
from bot.git import objects, rollback
from bot.git.repository import open_repository
from policies.globs import compile_globs

KS = (1, 10, 100, 1000)
PLAIN_ROUNDS = 3
"""Of git, whose preparation takes seconds in the large repository."""
FOLDERS = "[b-k]*"
"""The top folders of about half of the files."""
BASE_MS, FILE_MS = 5.0, 0.5
"""What was promised: so much, and so much for each file."""


class Case:
    """One repository, and the places in which the contestants work on it."""

    def __init__(self, repository: Repository, folder: Path, ours: Ours) -> None:
        self.ours = ours
        self.selects = compile_globs((f"/{FOLDERS}/",)).match
        sources = repository.sources
        self.meant = [path for path in sources if self.selects(path)]
        self.others = [path for path in sources if not self.selects(path)]
        self.plain = Plain(repository, folder)
        self.floor = repository.copy(folder / f"{repository.name}-floor.git")
        (self.floor / REF).parent.mkdir(parents=True, exist_ok=True)

    @property
    def largest(self) -> int:
        """The number of files that can be edited within the glob, and as many without."""
        return min(len(self.meant), len(self.others))

    def measure(self, k: int, number: int, times: Times, *, paths: bool, plain: bool) -> None:
        """Make one round: a checkpoint of edits, and going back."""
        rng = random.Random(f"{self.ours.repository.name} {k} {number} {paths}")
        edits = planned(self.meant, k, rng)
        if paths:
            edits += planned(self.others, k, rng)
        contestants: list[Callable[[], None]] = [lambda: self._ours(edits, times, paths=paths)]
        if plain:
            contestants.append(lambda: self._git(edits, times, paths=paths))
        for contestant in turns(contestants, number):
            contestant()

    def _ours(self, edits: Sequence[Edit], times: Times, *, paths: bool) -> None:
        """Roll back, and then the floor with what that made."""
        ours = self.ours
        workspace = ours.open("agent")
        make(workspace.folder, edits)
        made = ours.take(workspace)
        ours.move(made.commit)
        ours.close()
        settle()
        spent, commit = timed(lambda: self._roll_back(made.commit, paths=paths))
        times.add("ours", spent)
        times.add("open", timed(lambda: ours.open("checks", commit))[0])
        ours.close()
        assert paths or objects.tree_of(ours.mirror, commit) == workspace.tree
        self._floor(made.commit, commit, times)
        ours.back()

    def _roll_back(self, head: str, *, paths: bool) -> str:
        return rollback.roll_back(
            self.ours.mirror,
            head=head,
            target=self.ours.head,
            message="Roll back to the base",
            author=WHO,
            committer=WHO,
            at=AT,
            ref=REF,
            selects=self.selects if paths else None,
        )

    def _floor(self, head: str, commit: str, times: Times) -> None:
        odb = open_repository(self.ours.mirror).odb
        trees = changed_trees(self.ours.mirror, head, commit)
        known = changed_trees(self.ours.mirror, self.ours.head, commit)
        # A tree that the target has is there already.
        made = [odb.read(oid)[1] for oid in trees if oid in known]
        needed = floor.Objects([], [], made, odb.read(commit)[1])
        settle()
        times.add("floor", timed(lambda: floor.checkpoint(self.floor, needed, REF))[0])

    def _git(self, edits: Sequence[Edit], times: Times, *, paths: bool) -> None:
        self.plain.edit(edits)
        self.plain.add_and_commit()
        self.plain.refresh(edit.path for edit in edits if edit.kind == "change")
        settle()
        which = ("--", f":(glob){FOLDERS}/**") if paths else ("--detach",)
        base = self.ours.head
        asked = (base, *which) if paths else (*which, base)
        times.time("git", lambda: run(self.plain.folder, "checkout", "--quiet", *asked))
        if not paths:
            assert self.plain.tree() == self.plain.tree(base)
            run(self.plain.folder, "checkout", "--quiet", "bench")
        self.plain.take_back(edits)


def measure(repository: Repository, folder: Path, rounds: int) -> list[Row]:
    """Measure a repository with each number of files that it is large enough for."""
    rows = []
    with Ours(repository, folder) as ours:
        case = Case(repository, folder, ours)
        for paths in (False, True):
            for k in (k for k in KS if k <= case.largest):
                times = Times()
                for number in range(WARM + rounds):
                    times.keeping = number >= WARM
                    plain = number < WARM + PLAIN_ROUNDS
                    case.measure(k, number, times, paths=paths, plain=plain)
                rows.append(_row(repository, k, times.medians(), paths=paths))
                print(rows[-1], file=sys.stderr)
    shutil.rmtree(folder)
    return rows


def _row(repository: Repository, k: int, ms: dict[str, float], *, paths: bool) -> Row:
    return {
        "repo": repository.name,
        "files": repository.files,
        "k": k,
        "mode": "paths" if paths else "whole",
        "ms": ms["ours"],
        "floor_ms": ms["floor"],
        "floor_ratio": round(ms["ours"] / ms["floor"], 3),
        "git_ms": ms["git"],
        "git_ratio": round(ms["git"] / ms["ours"], 3),
        "open_ms": ms["open"],
    }


def _targets(rows: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        limit = BASE_MS + FILE_MS * row["k"]
        name = f"{row['repo']} {row['mode']} k={row['k']}"
        yield at_most(name, limit, row["ms"], " ms")


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
    return report("rollback", given, rows, list(_targets(rows)))


if __name__ == "__main__":
    sys.exit(main())
