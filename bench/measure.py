"""What the measurements share: rounds in turn, medians, the machine, and one JSON object."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import re
import ssl
import statistics
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import pygit2

from bench.repositories import SEED, SHAPES, Repository, Shape, below, repository, shape_of

ROUNDS = 11
"""Odd, so that the median is one of them."""
WARM = 1
"""Rounds that are made first and not counted."""
SIZES = tuple(shape.name for shape in SHAPES)

T = TypeVar("T")
Row = dict[str, Any]
"""One line of `results`."""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that was promised: what it must not pass (or reach), and what it came to."""

    name: str
    target: str
    measured: float
    holds: bool


def at_most(name: str, limit: float, measured: float, unit: str = "") -> Target:
    """Say whether a figure stays within its limit."""
    return Target(name, f"<= {limit:g}{unit}", round(measured, 3), measured <= limit)


def at_least(name: str, limit: float, measured: float, unit: str = "") -> Target:
    """Say whether a figure reaches what was promised."""
    return Target(name, f">= {limit:g}{unit}", round(measured, 3), measured >= limit)


class Times:
    """Milliseconds by name, gathered round by round; those of the first rounds are not kept."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self.keeping = True

    def add(self, name: str, ms: float) -> None:
        """Keep one time, unless this is a round that only warms up."""
        if self.keeping:
            self._times.setdefault(name, []).append(ms)

    def time(self, name: str, function: Callable[[], T]) -> T:
        """Call `function`, keep how long it took, and return what it gave."""
        spent, result = timed(function)
        self.add(name, spent)
        return result

    def medians(self) -> dict[str, float]:
        """Return the median of each name."""
        return {name: round(statistics.median(all_), 3) for name, all_ in self._times.items()}


def timed(function: Callable[[], T]) -> tuple[float, T]:
    """Call `function`; return the milliseconds it took and what it gave."""
    gc.collect()  # so that nobody pays for another's garbage
    began = time.perf_counter()
    result = function()
    return (time.perf_counter() - began) * 1000, result


def settle() -> None:
    """Wait until the disk has all that was written, so that nobody flushes another's bytes."""
    os.sync()


def turns(contestants: Sequence[T], number: int) -> list[T]:
    """Return who measures in which order in a round: each begins as often as the others."""
    first = number % len(contestants)
    return [*contestants[first:], *contestants[:first]]


def options(doc: str | None, rounds: int = ROUNDS) -> argparse.ArgumentParser:
    """Return a parser of what every measurement takes."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured")
    parser.add_argument("--dir", help="where all is written, and repositories are kept for later")
    parser.add_argument("--size", action="append", choices=SIZES, help="only this repository")
    parser.add_argument("--files", type=int, help="repositories of that many files instead")
    parser.add_argument("--seed", type=int, default=SEED)
    return parser


def shapes(given: argparse.Namespace) -> list[Shape]:
    """Return the repositories asked for, the small one first."""
    wanted = given.size or SIZES
    return [shape_of(name, given.files) for name in SIZES if name in wanted]


@contextlib.contextmanager
def workplace(given: argparse.Namespace) -> Iterator[tuple[Path, list[Repository]]]:
    """Give a folder to write to and the repositories asked for, made where they are not there.

    The folder is on the disk of `--dir`, which matters.
    """
    with below(given.dir) as kept:
        made = [repository(shape, kept / "repositories", given.seed) for shape in shapes(given)]
        with tempfile.TemporaryDirectory(prefix="measured-", dir=kept) as folder:
            yield Path(folder), made


def report(
    name: str,
    given: argparse.Namespace,
    results: Sequence[Row],
    targets: Sequence[Target],
    **more: object,
) -> int:
    """Print what was measured, as a table or with `--json` as one object; return 0."""
    told = {
        "bench": name,
        "results": list(results),
        **more,
        "targets": [asdict(each) for each in targets],
        "holds": all(each.holds for each in targets),
        "rounds": given.rounds,
        "seed": given.seed,
        "machine": machine(Path(given.dir or tempfile.gettempdir())),
        "versions": versions(),
    }
    if given.json:
        print(json.dumps(told))
        return 0
    for row in results:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    for each in targets:
        print(f"{'holds' if each.holds else 'FAILS'}  {each.name}: {each.measured:g} {each.target}")
    return 0


def conclude(told: Mapping[str, object], targets: Sequence[Target], *, as_json: bool) -> int:
    """Print what the product did as a whole, in many processes; return 1 unless it held."""
    where = machine(Path(tempfile.gettempdir()))
    if as_json:
        held = [asdict(each) for each in targets]
        print(json.dumps({**told, "targets": held, "machine": where, "versions": versions()}))
    else:
        for name, value in told.items():
            print(f"{name}: {json.dumps(value, indent=2)}")
        for each in targets:
            verdict = "holds" if each.holds else "FAILS"
            print(f"{verdict}  {each.name}: {each.measured:g} {each.target}")
    return 0 if all(each.holds for each in targets) else 1


def machine(folder: Path) -> dict[str, object]:
    """Say on what it was measured; `folder` is on the disk that was used."""
    models = re.findall(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", _read("/proc/meminfo"), re.MULTILINE)
    found = subprocess.run(
        ["stat", "--file-system", "--format=%T", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "memory_mb": int(memory[1]) // 1024 if memory else None,
        "kernel": platform.release(),
        "file_system": found.stdout.strip(),
        "root": os.geteuid() == 0,
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Say with what it was measured."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "python": platform.python_version(),
        "git": git.split()[2],
        "pygit2": metadata.version("pygit2"),
        "libgit2": pygit2.LIBGIT2_VERSION,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "openssl": ssl.OPENSSL_VERSION,
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
