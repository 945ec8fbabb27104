"""What a workspace costs: `python -m bench.workspace [--json] [--size large] [--dir DIR]`.

From the wish to a folder with the files of a commit in which an agent may write, where another run
has worked on that commit before; in turn with `git worktree add`. As root, workspaces are mounted
by root; then all is done again in user namespaces, as root is not needed for: by another user,
`as` says which, where `setpriv` is there and the folder within that user's reach. `kb` is what a
fresh workspace takes on the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

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
from bench.ours import Ours
from bench.repositories import Repository, git
from bot.git import base, overlay, workspace
from bot.git.overlay import Kind

GIT_ROUNDS = 3
"""Of `git worktree add`, which takes ten seconds in the large repository."""
AT_ONCE, TIMES_AT_ONCE = 100, 5
NOBODY = 65534
"""The user without rights, of the same number everywhere."""
NEAR = 10
"""Earlier commits for which a base is made next to one that is there."""

_AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    # This Python may lie in root's own folder. Nothing else is allowed by it, and in the
    # namespace of a workspace not even that.
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


class Case:
    """One repository, with a mirror for our workspaces and one for git's."""

    def __init__(self, repository: Repository, folder: Path, ours: Ours, *, rootless: bool) -> None:
        self.repository = repository
        self.ours = ours
        self.folder = folder
        self.rootless = rootless
        self.plain = repository.copy(folder / f"{repository.name}-plain.git")

        self._first, _ = timed(lambda: ours.open("first"))
        self._times = Times()

    def measure(self, number: int) -> None:
        """Make a round: one workspace of ours, and one of git's."""
        self._times.keeping = number >= WARM
        contestants = [self._open, *([self._add] if number < WARM + GIT_ROUNDS else [])]
        for contestant in turns(contestants, number):
            settle()
            contestant(number, self._times)

    def row(self) -> Row:
        """Return what was measured."""
        ms = self._times.medians()
        return {
            "repo": self.repository.name,
            "files": self.repository.files,
            "ms": ms["ours"],
            "kb": ms["kb"],
            "git_ms": ms["git"],
            "git_ratio": round(ms["git"] / ms["ours"], 1),
            "rootless": self.rootless,
            "as": os.geteuid(),
            **({"mount_ms": ms["mount"]} if "mount" in ms else {}),
            "first_base_ms": round(self._first, 1),
            "near_base_ms": self._near(),
        }

    def open_many(self) -> None:
        """Open many workspaces together."""
        names = [f"many{number}" for number in range(AT_ONCE)]

        async def opened() -> None:
            await asyncio.gather(*(self._one(name) for name in names))

        settle()
        self._times.time("many", lambda: self.ours.run(opened()))
        for name in names:
            self.ours.run(self.ours.workspaces.close(name))

    def many_row(self) -> Row:
        """Return what was measured of many together."""
        return {
            "repo": self.repository.name,
            "files": self.repository.files,
            "workspaces": AT_ONCE,
            "ms": self._times.medians()["many"],
            "rootless": self.rootless,
        }

    async def _one(self, name: str) -> None:
        await self.ours.workspaces.open(self.ours.mirror, self.ours.head, name)

    def _open(self, number: int, times: Times) -> None:
        spent, made = timed(lambda: self.ours.open(f"one{number}"))
        times.add("ours", spent)
        overlay.unmount(made.folder)  # the mount point itself counts, what is seen there does not
        times.add("kb", _kilobytes(made.folder.parent))
        self.ours.close()
        if not self.rootless:
            self._mount(number, times)

    def _mount(self, number: int, times: Times) -> None:
        """Time what is left without the base's look-up and the threads: folders and mount(2)."""
        place = self.folder / "mounts" / str(number)
        stands_on = self.ours.run(base.layers(self.ours.bases, self.ours.mirror, self.ours.head))
        times.time("mount", lambda: workspace.mount_layers(stands_on.layers, place))
        workspace.close_layers(place)

    def _add(self, number: int, times: Times) -> None:
        place = str(self.folder / f"worktree{number}")
        add = ("worktree", "add", "--quiet", "--detach", place, self.ours.head)
        times.time("git", lambda: git(self.plain, *add))
        git(self.plain, "worktree", "remove", "--force", place)

    def _near(self) -> float:
        """Time the first workspaces of earlier commits, each a difference on one that is there."""
        times = Times()
        for back in range(1, NEAR + 1):
            commit = git(self.plain, "rev-parse", f"{self.ours.head}~{back}").strip()
            settle()
            times.time("near", lambda: self.ours.open("near", commit))  # noqa: B023 - called now
            self.ours.close()
        return times.medians()["near"]


def measure(
    repositories: Sequence[Repository], folder: Path, rounds: int, *, rootless: bool
) -> tuple[list[Row], list[Row]]:
    """Measure each repository: one workspace at a time, and many at once."""
    kind: Kind = "rootless" if rootless else "overlay"
    with contextlib.ExitStack() as stack:
        cases = []
        for repository in repositories:
            place = folder / kind / repository.name
            ours = stack.enter_context(Ours(repository, place, kind))
            cases.append(Case(repository, place, ours, rootless=rootless))
        for number in range(WARM + rounds):
            for case in cases:  # in turn as well, since they are compared with one another
                case.measure(number)
        for _ in range(TIMES_AT_ONCE):
            for case in cases:
                case.open_many()
        rows = [case.row() for case in cases]
        many = [case.many_row() for case in cases]
        print(rows, many, file=sys.stderr)
    return rows, many


def as_nobody(given: argparse.Namespace, place: Path) -> tuple[list[Row], list[Row]]:
    """Measure rootless workspaces as a user without rights, in copies that are this user's own."""
    kept = place / "repositories"
    kept.mkdir(parents=True)
    with workplace(given) as (_, repositories):
        for repository in repositories:
            shutil.copytree(repository.path, kept / repository.path.name)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", place], check=True)
    sizes = [f"--size={size}" for size in given.size or ()]
    files = [f"--files={given.files}"] if given.files else []
    done = subprocess.run(
        [
            *(*_AS_NOBODY, sys.executable, "-m", "bench.workspace", "--json", "--rootless"),
            *(f"--dir={place}", f"--rounds={given.rounds}", f"--seed={given.seed}"),
            *(*sizes, *files),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    told = json.loads(done.stdout)
    return told["results"], told["at_once"]


def _is_open(folder: Path) -> bool:
    """Whether everybody may pass through to a folder."""
    above = (folder, *folder.parents)
    return all(each.stat().st_mode & stat.S_IXOTH for each in above)


def _kilobytes(folder: Path) -> int:
    told = subprocess.run(
        ["du", "--summarize", "--one-file-system", "--block-size=1024", folder],
        capture_output=True,
        check=True,
    )
    return int(told.stdout.split()[0])


def _targets(rows: Sequence[Row], many: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        kind = "rootless" if row["rootless"] else "as root"
        limit = 15 if row["rootless"] else 5
        yield at_most(f"{row['repo']} {kind}", limit, row["ms"], " ms")
        yield at_most(f"{row['repo']} {kind}: disk", 64, row["kb"], " KB")
    for rootless in (False, True):
        of = {row["repo"]: row["ms"] for row in rows if row["rootless"] == rootless}
        if {"small", "large"} <= of.keys():
            kind = "rootless" if rootless else "as root"
            yield at_most(f"large to small {kind}", 1.5, of["large"] / of["small"], "x")
    for row in many:
        if not row["rootless"]:
            yield at_most(f"{row['repo']}: {AT_ONCE} at once", 500, row["ms"], " ms")


def main() -> int:
    """Measure, and print a table or, with `--json`, one object."""
    parser = options(__doc__)
    parser.add_argument("--rootless", action="store_true", help="only those without root's rights")
    given = parser.parse_args()
    rows: list[Row] = []
    many: list[Row] = []
    with workplace(given) as (folder, repositories):
        folder.chmod(0o755)
        root = os.geteuid() == 0
        if root and not given.rootless:
            rows, many = measure(repositories, folder, given.rounds, rootless=False)
        if root and shutil.which("setpriv") and _is_open(folder):
            more = as_nobody(given, folder / "nobody")
        else:
            more = measure(repositories, folder, given.rounds, rootless=True)
    targets = list(_targets([*rows, *more[0]], [*many, *more[1]]))
    return report("workspace", given, [*rows, *more[0]], targets, at_once=[*many, *more[1]])


if __name__ == "__main__":
    sys.exit(main())
