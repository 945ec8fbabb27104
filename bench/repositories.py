"""Repositories to measure on, made from a seed: `python -m bench.repositories --dir DIR`.

Their sizes, folders, depths and files follow three that people work on (pallets/flask, rails/rails,
tc39/test262): 250, 5,000 and 57,000 files. The same seed gives the same commits, byte for byte.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

SEED = 3
BRANCH = "refs/heads/main"
HISTORY = 20
"""Commits, so that the pack has deltas and trees that share their folders, as a clone's has."""
TOUCHED = 0.005
"""Of the files, how many each of those commits changes."""
BEGAN = 1_700_000_000
"""The time of the first commit; the others follow by the day."""

FORM = 1
"""Part of the cached folder's name: count it up when the same seed is to give something else."""

LARGEST = 400_000
"""Bytes; the tail of the sizes ends here, as source code's does."""
BINARY_BYTES = (6_000, 60_000)
EXECUTABLE = 0.01
"""Of the files, how many are scripts."""
POOL = 6_000
"""Different lines that the text of a repository is made of."""
WORDS = 2_500

_SYLLABLES = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "er", "in")]
_LINES = (
    "    {0}.{1}({2}, {3});",
    "  const {0} = {1}.{2}({3});",
    "  if ({0}.{1} === {2}) {{",
    "    return {0}.{1};",
    "        {0}: {1}({2}), // {3}",
    "// {0} {1} {2} the {3}, as {0} does",
    "assert.sameValue({0}.{1}, {2}, '{3}');",
    "function {0}{1}({2}, {3}) {{",
    "  }}",
    "}}",
    "",
    "    throw new {0}Error('{1} {2} is not {3}');",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a repository looks like; sizes of files and folders are log-normal.

    `bytes` is the median file, `spread` and `crowding` are the sigmas of the sizes of files and of
    the numbers of files in a folder; `words` make a name.
    """

    name: str
    files: int
    folders: int
    deepest: int
    bytes: int
    spread: float
    crowding: float
    words: int
    suffixes: tuple[str, ...]
    binaries: int
    links: int
    attributes: str


SHAPES = (
    Shape("small", 250, 50, 5, 2_500, 1.4, 1.0, 1, (".py", ".rst", ".html", ".toml"), 5, 1, ""),
    Shape(
        *("mid", 5_000, 1_100, 9, 1_800, 1.6, 1.3, 2, (".rb", ".rb", ".rb", ".erb", ".md", ".yml")),
        *(40, 5, "* text=auto\n*.png binary\n*.rb diff=ruby\n"),
    ),
    Shape("large", 57_000, 2_118, 8, 950, 0.9, 1.6, 4, (".js",), 20, 2, ""),
)


@dataclass(frozen=True, slots=True)
class Repository:
    """A bare repository at `path`, whose branch `main` is at `head`."""

    name: str
    path: Path
    head: str

    @property
    def files(self) -> int:
        """How many files the head has."""
        return len(self._listed())

    @property
    def sources(self) -> list[str]:
        """The files of the head that people edit: no links, and not what git itself reads."""
        plain = [line.partition("\t")[2] for line in self._listed() if line.startswith("100")]
        return [path for path in plain if not path.startswith(".")]

    def _listed(self) -> list[str]:
        return git(self.path, "ls-tree", "-rz", self.head).split("\0")[:-1]

    def copy(self, path: Path) -> Path:
        """Give `path` a copy, whose packs are the same files on the disk; return it."""
        # Git replaces its files and never writes into one.
        return shutil.copytree(self.path, path, copy_function=os.link)


def shape_of(name: str, files: int | None = None) -> Shape:
    """Return the shape of that name, scaled to `files` where they are given."""
    shape = next(each for each in SHAPES if each.name == name)
    if files is None:
        return shape
    return replace(shape, files=files, folders=max(2, shape.folders * files // shape.files))


def repository(shape: Shape, folder: Path, seed: int = SEED) -> Repository:
    """Return the repository of that shape below `folder`, made where it is not there yet."""
    path = folder / f"{shape.name}-{shape.files}-{seed}-{FORM}.git"
    if not path.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{shape.name}-", dir=folder))
        try:
            _make(shape, making, seed)
            making.chmod(0o755)
            making.rename(path)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
    return Repository(shape.name, path, git(path, "rev-parse", BRANCH).strip())


def git(folder: Path, *args: str) -> str:
    """Run git in `folder`, without any configuration of the machine; return what it printed."""
    done = subprocess.run(
        ["git", *args], cwd=folder, env=environment(), capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"git {args[0]} failed: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout.decode("utf-8", "surrogateescape")


@functools.cache
def environment() -> dict[str, str]:
    """The environment in which git runs, the same on every machine."""
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "bench"), ("EMAIL", "bench@example.com"))
    }
    return who | {
        "PATH": os.environ["PATH"],
        "HOME": "/dev/null",
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def _make(shape: Shape, path: Path, seed: int) -> None:
    git(path, "init", "--quiet", "--bare", "--initial-branch=main", ".")
    git(path, "config", "gc.auto", "0")
    importer = subprocess.Popen(
        ["git", "fast-import", "--quiet", "--force"],
        cwd=path,
        env=environment(),
        stdin=subprocess.PIPE,
    )
    assert importer.stdin is not None
    with importer.stdin as stream:
        _write(shape, random.Random(f"{shape.name} {shape.files} {seed}"), stream)
    if importer.wait():
        raise RuntimeError(f"git fast-import ended with {importer.returncode}.")
    git(path, "repack", "-adq")
    git(path, "pack-refs", "--all")


def _write(shape: Shape, rng: random.Random, stream: IO[bytes]) -> None:
    """Write the history as `git fast-import` reads it."""
    text = _Text(rng)
    paths = list(_paths(shape, rng, text))
    binaries = {path for path in paths if path.endswith(".png")}
    stream.write(_commit(0))
    kept: dict[str, tuple[str, bytes]] = {}
    changing = _changing(paths, binaries, rng)
    wanted = {path for chosen in changing for path in chosen}
    for path in paths:
        data = _bytes(rng) if path in binaries else text.file(path, _size(shape, rng))
        mode = "100755" if path not in binaries and rng.random() < EXECUTABLE else "100644"
        stream.write(_file(mode, path, data))
        if path in wanted:
            kept[path] = (mode, data)
    for path, data in _rest(shape, paths):
        stream.write(_file("120000" if path.endswith(".link") else "100644", path, data))
    for number, chosen in enumerate(changing, 1):
        stream.write(_commit(number))
        for path in chosen:
            mode, data = kept[path]
            kept[path] = (mode, text.edited(data))
            stream.write(_file(mode, path, kept[path][1]))


def _changing(paths: Sequence[str], but: set[str], rng: random.Random) -> list[list[str]]:
    """Choose what each later commit changes."""
    many = max(2, int(len(paths) * TOUCHED))
    plain = [path for path in paths if path not in but]
    return [rng.sample(plain, min(many, len(plain))) for _ in range(HISTORY - 1)]


def _commit(number: int) -> bytes:
    at = BEGAN + number * 86_400
    message = f"Change {number}\n".encode()
    return (
        f"commit {BRANCH}\ncommitter bench <bench@example.com> {at} +0000\n"
        f"data {len(message)}\n".encode()
        + message
    )


def _file(mode: str, path: str, data: bytes) -> bytes:
    return f"M {mode} inline {path}\ndata {len(data)}\n".encode() + data + b"\n"


def _rest(shape: Shape, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """What is no source: the files that git reads, and links to a neighbour."""
    yield ".gitignore", b"/build/\nnode_modules/\n*.log\n*.pyc\n.env\n"
    if shape.attributes:
        yield ".gitattributes", shape.attributes.encode()
    for path in paths[:: len(paths) // shape.links][: shape.links]:
        yield f"{path}.link", path.rpartition("/")[2].encode()


def _paths(shape: Shape, rng: random.Random, text: _Text) -> Iterator[str]:
    """Name the files, folder by folder as they fall, each once."""
    folders = _folders(shape, rng, text)
    weights = [rng.lognormvariate(0, shape.crowding) for _ in folders]
    every = max(1, shape.files // max(1, shape.binaries))
    taken = set(folders)
    plain = shape.files - shape.links - 1 - bool(shape.attributes)
    numbers = itertools.count()
    for folder in rng.choices(folders, weights, k=plain):
        suffix = ".png" if next(numbers) % every == every - 1 else rng.choice(shape.suffixes)
        while (path := f"{folder}{text.name(shape.words)}{suffix}") in taken:
            continue
        taken.add(path)
        yield path


def _folders(shape: Shape, rng: random.Random, text: _Text) -> list[str]:
    """Grow the folders: each in the shallower of two that are there, so that few are deep."""
    folders, taken = [""], {""}
    while len(folders) < shape.folders:
        above = min(rng.choices(folders, k=2), key=lambda each: each.count("/"))
        made = f"{above}{text.name(1)}/"
        if made not in taken and made.count("/") < shape.deepest:
            taken.add(made)
            folders.append(made)
    return folders


def _size(shape: Shape, rng: random.Random) -> int:
    size = rng.lognormvariate(0, shape.spread) * shape.bytes
    return min(LARGEST, max(40, int(size)))


def _bytes(rng: random.Random) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0" + rng.randbytes(rng.randint(*BINARY_BYTES))


class _Text:
    """Text like source code: words by Zipf's law in lines that come again, as compressible."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        made = {"".join(rng.choices(_SYLLABLES, k=rng.choice((1, 2, 2, 3)))) for _ in range(WORDS)}
        self._words = sorted(made)
        rng.shuffle(self._words)
        self._ranks = list(itertools.accumulate(1 / n for n in range(1, len(self._words) + 1)))
        self._lines = [f"{self._line()}\n" for _ in range(POOL)]
        self._average = sum(map(len, self._lines)) / len(self._lines)

    def name(self, words: int) -> str:
        """Make up a name of that many words; the same may come again."""
        return "-".join(self._rng.choices(self._words, k=words + self._rng.randrange(2)))

    def file(self, path: str, size: int) -> bytes:
        """Make a file of about that size; its path makes it one of its kind."""
        lines = self._rng.choices(self._lines, k=max(1, int(size / self._average)))
        return f"// {path}\n{''.join(lines)}".encode()

    def edited(self, data: bytes) -> bytes:
        """Change some lines in the middle, as an edit does."""
        lines = data.split(b"\n")
        at = self._rng.randrange(len(lines))
        fresh = [line.rstrip("\n").encode() for line in self._rng.choices(self._lines, k=3)]
        return b"\n".join([*lines[:at], *fresh, *lines[at + 1 :]])

    def _line(self) -> str:
        words = self._rng.choices(self._words, cum_weights=self._ranks, k=4)
        return self._rng.choice(_LINES).format(*words)


def below(folder: str | None) -> contextlib.AbstractContextManager[Path]:
    """Give the folder that was asked for, or one that is removed afterwards."""
    if folder is None:
        return _temporary()
    path = Path(folder).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(path)


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        yield Path(made)


def described(repositories: Iterable[Repository]) -> list[dict[str, object]]:
    """Say what each is, as counted in it."""
    told = []
    for each in repositories:
        listed = git(each.path, "ls-tree", "-rlz", each.head).split("\0")[:-1]
        sizes = sorted(int(line.split()[3]) for line in listed)
        paths = [line.partition("\t")[2] for line in listed]
        depths = [path.count("/") for path in paths]
        told.append(
            {
                "repo": each.name,
                "head": each.head,
                "files": len(paths),
                "folders": len({path.rpartition("/")[0] for path in paths}),
                "depth_mean": round(sum(depths) / len(depths), 1),
                "depth_max": max(depths),
                "bytes_median": sizes[len(sizes) // 2],
                "bytes_mean": sum(sizes) // len(sizes),
                "bytes_max": sizes[-1],
            }
        )
    return told


def main() -> int:
    """Make the three below `--dir`, and print what they are as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", required=True, help="where they are kept")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    made = [repository(shape, Path(options.dir), options.seed) for shape in SHAPES]
    shapes = {each.name: asdict(each) for each in SHAPES}
    print(json.dumps({"repositories": described(made), "shapes": shapes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
