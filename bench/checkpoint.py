"""What a checkpoint costs: `python -m bench.checkpoint [--json] [--size large] [--dir DIR]`.

From the end of a turn to a commit that is durable and on the run's branch, after `k` files were
changed in a fresh workspace. In turn with it, each after the same edits in a fresh place of its
own: the floor (`bench/floor.py`), `git add -A && git commit` with git's own flushing and with
ours, and pygit2's `index.add_all`. All of them must give the same tree. Before each the disk is
quiet, so that nobody flushes what another wrote.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import shutil
import struct
import sys
import time
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
    at_least,
    at_most,
    options,
    report,
    settle,
    timed,
    turns,
    workplace,
)
from bench.ours import AT, REF, WHO, Ours, listed, need_root, source_of
from bench.plain import Plain
from bench.repositories import Repository, git
from bot.errors import TransientError
from bot.git import checkpoint, diff, refs
from bot.git.candidate import LOOKED_UP
from bot.git.refs import RefMoved
from bot.git.repository import Mirror, open_repository
from bot.git.scan import scan
from bot.git.walk import Trees
from policies.config import Config
from policies.paths import check_paths

KS = (1, 10, 100, 1000)
PLAIN_ROUNDS = 3
"""Of git and pygit2, which with what prepares them take six seconds in the large repository."""
MANY_EDITS, MANY_ROUNDS = 100, 5
"""With so many edits a checkpoint takes so long that fewer rounds agree as well."""
MANY = 10_000
"""Changed files of the scan by itself."""
SCANS = 5
WRITERS, COMMITS = 4, 600
SHARE = 2
"""One file of so many is edited at most: with more it is another repository."""


class Case:
    """One repository, and the places in which the contestants work on it."""

    def __init__(self, repository: Repository, folder: Path, ours: Ours) -> None:
        self.ours = ours
        self.sources = repository.sources
        self.known = _ids(repository.path, ours.head)
        self.plain = Plain(repository, folder)
        self.scratch = Mirror(repository.copy(folder / f"{repository.name}-scratch.git"))
        self.floor = repository.copy(folder / f"{repository.name}-floor.git")
        (self.floor / REF).parent.mkdir(parents=True, exist_ok=True)

    @property
    def largest(self) -> int:
        """The most files that are edited at once."""
        return self.ours.repository.files // SHARE

    def measure(self, k: int, number: int, times: Times, *, plain: bool) -> None:
        """Make one round with `k` edits."""
        edits = planned(self.sources, k, random.Random(f"{self.ours.repository.name} {k} {number}"))
        tree, objects = self._objects(edits)
        contestants: list[Callable[[], str]] = [
            lambda: self._ours(edits, times),
            lambda: self._floor(objects, times, tree),
        ]
        if plain:
            contestants += [
                lambda: self._plain(edits, times, "git", self.plain.add_and_commit),
                lambda: self._plain(edits, times, "durable", self._durable),
                lambda: self._plain(edits, times, "pygit2", self.plain.add_all),
            ]
        assert {contestant() for contestant in turns(contestants, number)} == {tree}
        self.ours.close()

    def _objects(self, edits: Sequence[Edit]) -> tuple[str, floor.Objects]:
        """Find out, outside of what is measured, what the checkpoint of these edits is made of."""
        reference, copy = self.ours.open("reference"), self.ours.open("floor")
        make(reference.folder, edits)
        make(copy.folder, edits)
        found = self.ours.take(reference, self.scratch)
        there = listed(self.scratch.path, self.ours.head, found.commit)
        tree = found.tree
        blobs = {path: oid for mode, oid, path in there if mode.startswith("100")}
        paths = {path: copy.changed / path for path in blobs}
        # Ours does not write again what is there already, where looking is cheaper.
        skipped = {
            path
            for path, oid in blobs.items()
            if oid in self.known and paths[path].stat().st_size >= LOOKED_UP
        }
        trees = [tree, *(oid for mode, oid, _ in there if mode == "040000")]
        repo = open_repository(self.scratch)
        return tree, floor.Objects(
            [paths[path] for path in blobs if path not in skipped],
            [paths[path] for path in skipped],
            [repo.odb.read(oid)[1] for oid in trees],
            repo.odb.read(found.commit)[1],
        )

    def _ours(self, edits: Sequence[Edit], times: Times) -> str:
        workspace = self.ours.open("ours")
        make(workspace.folder, edits)
        settle()
        spent, found = timed(lambda: self.ours.take(workspace))
        moved, _ = timed(lambda: self.ours.move(found.commit))
        times.add("ours", spent + moved)
        times.add("ref", moved)
        judged, _ = timed(lambda: self._judge(found.commit))
        times.add("rules", judged)
        times.add("objects", _newest_count(self.ours.mirror.path))
        self.ours.back()
        return found.tree

    def _judge(self, commit: str) -> None:
        changes = diff.changes(self.ours.mirror, self.ours.head, commit)
        assert check_paths(changes, Config()).allowed

    def _floor(self, objects: floor.Objects, times: Times, tree: str) -> str:
        settle()
        spent, count = timed(lambda: floor.checkpoint(self.floor, objects, REF))
        times.add("floor", spent)
        times.add("floor objects", count)
        return tree

    def _durable(self) -> None:
        self.plain.add_and_commit(durable=True)

    def _plain(
        self, edits: Sequence[Edit], times: Times, name: str, commit: Callable[[], None]
    ) -> str:
        self.plain.edit(edits)
        settle()
        spent, _ = timed(commit)
        times.add(name, spent)
        tree = self.plain.tree()
        self.plain.take_back(edits)
        return tree


def measure(cases: Sequence[Case], rounds: int) -> list[Row]:
    """Measure each repository with each number of files that it is large enough for.

    The repositories take turns, too, since they are compared with one another.
    """
    rows = {case.ours.repository.name: list[Row]() for case in cases}
    for k in KS:
        measured = [(case, Times()) for case in cases if k <= case.largest]
        for number in range(WARM + (min(rounds, MANY_ROUNDS) if k >= MANY_EDITS else rounds)):
            for case, times in measured:
                times.keeping = number >= WARM
                case.measure(k, number, times, plain=number < WARM + PLAIN_ROUNDS)
        for case, times in measured:
            row = _row(case.ours.repository, k, times.medians())
            rows[case.ours.repository.name].append(row)
            print(row, file=sys.stderr)
    return [row for of_one in rows.values() for row in of_one]


def scan_many(case: Case) -> Row:
    """Measure the look at a workspace with very many changed files, and the rules of paths."""
    ours, k = case.ours, min(MANY, case.largest)
    workspace, times = ours.open("many"), Times()
    make(workspace.folder, planned(case.sources, k, random.Random(k)))
    found = ours.take(workspace)
    source = source_of(workspace)
    changes = diff.changes(ours.mirror, ours.head, found.tree)
    for number in range(WARM + SCANS):
        times.keeping = number >= WARM
        times.time("scan", lambda: scan(source, Trees(ours.mirror)))
        times.time("names", lambda: diff.names(ours.mirror, ours.head, found.tree))
        verdict = times.time("rules", lambda: check_paths(changes, Config()))
        assert verdict.allowed
    ms = times.medians()
    repository = ours.repository
    return {
        "repo": repository.name,
        "files": repository.files,
        "k": k,
        "ms": round(ms["scan"] + ms["rules"], 3),
        "scan_ms": ms["scan"],
        "names_ms": ms["names"],
        "rules_ms": ms["rules"],
    }


def write_at_once(repository: Repository, folder: Path) -> Row:
    """Let four processes commit on one branch, and count what is on it afterwards."""
    mirror = Mirror(repository.copy(folder / "writers.git"))
    refs.set_ref(mirror, REF, repository.head, None)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(WRITERS + 1)
    each = COMMITS // WRITERS
    writers = [
        context.Process(target=_write, args=(mirror, number, each, start))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    start.wait()
    began = time.perf_counter()
    for writer in writers:
        writer.join()
    spent = (time.perf_counter() - began) * 1000
    assert all(writer.exitcode == 0 for writer in writers)
    listed = git(mirror.path, "log", "--format=%s", f"{repository.head}..{REF}").splitlines()
    kept = {f"{number} {commit}" for number in range(WRITERS) for commit in range(each)}
    shutil.rmtree(mirror.path)
    return {
        "writers": WRITERS,
        "commits": COMMITS,
        "lost": len(kept - set(listed)),
        "twice": len(listed) - len(set(listed)),
        "ms_per_commit": round(spent / COMMITS, 3),
    }


def _write(mirror: Mirror, number: int, commits: int, start: object) -> None:
    tree = open_repository(mirror).revparse_single(f"{REF}^{{tree}}")
    start.wait()  # type: ignore[attr-defined]
    for commit in range(commits):
        while True:
            tip = refs.tip(mirror, REF)
            assert tip is not None
            try:
                checkpoint.commit(
                    mirror,
                    tree=str(tree.id),
                    parents=[tip],
                    message=f"{number} {commit}",
                    author=WHO,
                    committer=WHO,
                    at=AT,
                    ref=REF,
                    expected=tip,
                )
                break
            except (RefMoved, TransientError):
                time.sleep(random.uniform(0, 0.002))


def _row(repository: Repository, k: int, spent: dict[str, float]) -> Row:
    row: Row = {"repo": repository.name, "files": repository.files, "k": k, "ms": spent["ours"]}
    for key, column in (("floor", "floor_ms"), ("git", "git_ms"), ("durable", "git_durable_ms"),
                        ("pygit2", "pygit2_ms")):  # fmt: skip
        row[column] = spent[key]
        row[column.replace("_ms", "_ratio")] = round(spent[key] / spent["ours"], 3)
    row["floor_ratio"] = round(spent["ours"] / spent["floor"], 3)
    return row | {
        "ref_ms": spent["ref"],
        "rules_ms": spent["rules"],
        "objects": int(spent["objects"]),
        "floor_objects": int(spent["floor objects"]),
    }


def _targets(rows: Sequence[Row], many: Row, writers: Row) -> Iterator[Target]:
    for row in rows:
        limit = 2.0 if row["k"] <= 10 else 1.5
        yield at_most(f"{row['repo']} k={row['k']} to the floor", limit, row["floor_ratio"], "x")
    of_one = {row["repo"]: row for row in rows if row["k"] == 1}
    if {"small", "large"} <= of_one.keys():
        ratio = of_one["large"]["ms"] / of_one["small"]["ms"]
        yield at_most("large to small at k=1", 1.5, ratio, "x")
    for name, times in (("large", 40.0), ("mid", 9.0)):
        if name in of_one:
            faster = of_one[name]["git_ratio"]
            yield at_least(f"{name}: faster than git add and commit at k=1", times, faster, "x")
    yield at_most(f"scan and path rules of {many['k']} files", 300, many["ms"], " ms")
    lost = writers["lost"] + writers["twice"]
    yield at_most(f"{WRITERS} writers, {COMMITS} commits: lost", 0, lost)


def _ids(git_dir: Path, commit: str) -> set[str]:
    listed = git(git_dir, "ls-tree", "-rz", commit).split("\0")[:-1]
    return {line.split()[2] for line in listed}


def _newest_count(git_dir: Path) -> int:
    """Count the objects in the pack that was written last."""
    indexes = (git_dir / "objects" / "pack").glob("*.idx")
    newest = max(indexes, key=lambda path: path.stat().st_mtime_ns)
    count: int = struct.unpack_from(">I", newest.read_bytes(), 8 + 255 * 4)[0]
    return count


def main() -> int:
    """Measure, and print a table or, with `--json`, one object."""
    given: argparse.Namespace = options(__doc__).parse_args()
    need_root()
    with workplace(given) as (folder, repositories), contextlib.ExitStack() as stack:
        cases = []
        for repository in repositories:
            place = folder / repository.name
            cases.append(Case(repository, place, stack.enter_context(Ours(repository, place))))
        rows = measure(cases, given.rounds)
        many = scan_many(cases[-1])
        writers = write_at_once(repositories[0], folder)
    targets = list(_targets(rows, many, writers))
    return report("checkpoint", given, rows, targets, scan=many, writers=writers)


if __name__ == "__main__":
    sys.exit(main())
