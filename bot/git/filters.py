"""What git records of a file where attributes ask for another form than it has on the disk.

Line ends, `$Id$`, encodings and filter programs are git's own affair, down to the question what
was recorded before. So git does it, in one process: in a folder of its own with nothing but these
files, their `.gitattributes` and an index of what stood there before.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from . import attributes
from .program import Finished, run_now, text
from .repository import Mirror
from .scan import Violation
from .trees import EXECUTABLE, FILE, Entry

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that stands for one which Git LFS keeps (git-lfs, docs/spec.md)."""

_HARMFUL = {
    "lfs": "Git LFS keeps this file, which needs git-lfs on this server: install it there.",
    "git-crypt": "git-crypt hides this file, which this server cannot do: leave it alone.",
}
"""Filters without which the content would be recorded where it must never be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A file to be recorded: its content and mode, and what the tree had there before."""

    content: bytes
    mode: bytes
    before: Entry | None


Answer = tuple[dict[bytes, Entry], list[Violation]]


def convert(mirror: Mirror, texts: Mapping[bytes, bytes], asked: Mapping[bytes, Asked]) -> Answer:
    """Return what git records of each file, by path, and those that it cannot record.

    `texts` are the `.gitattributes` that hold, by the paths of their folders. The blobs are
    durable. Raises TransientError where git takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrate-") as made:
        place = _Place(mirror, Path(made))
        place.lay_out(texts, asked)
        refused = [Violation(text(path), why) for path, why in place.harmed(asked).items()]
        wanted = [path for path in asked if text(path) not in {each.path for each in refused}]
        if place.add(wanted).status != 0:
            # One that cannot be encoded ends git for all of them.
            each = [(path, place.add([path])) for path in wanted]
            refused += [Violation(text(path), _why(done)) for path, done in each if done.status]
        failed = {each.path for each in refused}
        kept = [path for path in asked if text(path) not in failed]
        return place.recorded(kept, asked), refused


@dataclass(frozen=True, slots=True)
class _Place:
    mirror: Mirror
    folder: Path

    @property
    def index(self) -> Path:
        return self.folder / "index"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def lay_out(self, texts: Mapping[bytes, bytes], asked: Mapping[bytes, Asked]) -> None:
        self.files.mkdir()
        for path, content in texts.items():
            self._write(path + b"/" + attributes.NAME if path else attributes.NAME, content)
        index = pygit2.Index(str(self.index))
        for path, file in asked.items():
            self._write(path, file.content)
            if file.before is not None and file.before[0] in (FILE, EXECUTABLE):
                oid, mode = pygit2.Oid(raw=file.before[1]), FileMode(int(file.before[0], 8))
                index.add(pygit2.IndexEntry(text(path), oid, mode))
        index.write()

    def _write(self, path: bytes, content: bytes) -> None:
        place = self.files / text(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def harmed(self, asked: Mapping[bytes, Asked]) -> dict[bytes, str]:
        """Name the files that need a filter which is not here, with the reason."""
        missing = {name: why for name, why in _HARMFUL.items() if name not in drivers()}
        paths = [path for path, file in asked.items() if not file.content.startswith(LFS_POINTER)]
        if not missing or not paths:
            return {}
        done = self._git("check-attr", "-z", "--stdin", "filter", input=b"\0".join(paths))
        told = done.out.split(b"\0")
        found = zip(told[0::3], told[2::3], strict=False)
        return {path: missing[name] for path, value in found if (name := text(value)) in missing}

    def add(self, paths: Iterable[bytes]) -> Finished:
        options = ("--force", "--pathspec-from-file=-", "--pathspec-file-nul")
        specs = b"\0".join(b":(top,literal)" + path for path in paths)
        return self._git("add", *options, input=specs) if specs else Finished(0, b"", "")

    def recorded(self, paths: Iterable[bytes], asked: Mapping[bytes, Asked]) -> dict[bytes, Entry]:
        index = pygit2.Index(str(self.index))
        return {path: (asked[path].mode, index[text(path)].id.raw) for path in paths}

    def _git(self, *args: str, input: bytes) -> Finished:
        git_dir = self.mirror.path
        return run_now(*args, git_dir=git_dir, work_tree=self.files, index=self.index, input=input)


def drivers() -> frozenset[str]:
    """Name the filters that this machine has."""
    return frozenset({"lfs"} if shutil.which("git-lfs") else ())


def _why(done: Finished) -> str:
    told = [line for line in done.err.splitlines() if line.startswith(("fatal:", "error:"))]
    reason = told[0].partition(": ")[2] if told else "no reason given"
    return f"Git cannot record it as its attributes ask: {reason.rstrip('.')}."
