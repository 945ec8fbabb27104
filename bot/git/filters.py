"""What git records of a file where attributes ask for another form than it has on the disk.

Line ends, `$Id$`, encodings and filter programs are git's own affair, down to the question what
was recorded before. So git does it, in one process: in a folder of its own with nothing but these
files, their `.gitattributes` and an index of what stood there before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from . import attributes, lfs
from .lfs import Pointer, pointer
from .pack import object_id
from .program import Finished, run_now, text
from .repository import Mirror, open_repository
from .scan import MAX_FILE, TOO_LARGE, Violation
from .trees import EXECUTABLE, FILE, Entry
from .wildmatch import MAX_BYTES

_HIDDEN = "{} hides this file, which this server cannot do: leave it alone."
_HARMFUL = {
    "lfs": "Git LFS keeps this file, which needs git-lfs on this server: install it there.",
    "git-crypt": _HIDDEN.format("git-crypt"),
    "git-agecrypt": _HIDDEN.format("git-agecrypt"),
    "crypt": _HIDDEN.format("transcrypt"),
}
"""Filters without which the content would be recorded where it must never be."""
_CONVERTED: dict[str, Callable[[bytes], bool]] = {
    "lfs": lambda content: not content or pointer(content) is not None,
    "git-crypt": lambda content: content.startswith(b"\0GITCRYPT\0"),
    "git-agecrypt": lambda content: content.startswith(b"age-encryption.org/"),
    "crypt": lambda content: content.startswith(b"U2FsdGVkX1"),  # openssl's "Salted__" in base64
}
"""Whether a filter would leave content as it is, or has made it already."""
_NOT_READ = (
    f"Its attributes are in a file of more than {MAX_BYTES // 2**20} MiB, which is not read whole."
)


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
    durable, and so is what Git LFS keeps. Raises TransientError where git takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrate-") as made:
        place = _Place(mirror, Path(made))
        place.lay_out(texts, asked)
        refused = _not_read(texts, asked)
        names = place.filters(texts, asked)
        entries = {path: entry for path in names if (entry := _untouched(asked[path]))}
        there = drivers()
        for path, name in names.items():
            if path not in entries and _is_harmed(name, asked[path].content, there):
                refused[path] = _HARMFUL[_kind(name)]
        wanted = [path for path in asked if path not in refused and path not in entries]
        if place.add(wanted).status != 0:
            # One that cannot be encoded ends git for all of them.
            each = [(path, place.add([path])) for path in wanted]
            refused |= {path: _why(done) for path, done in each if done.status}
        entries |= place.recorded([path for path in wanted if path not in refused], asked)
        kept = [path for path, name in names.items() if name == "lfs" and path in entries]
        entries |= _kept_by_lfs(mirror, {path: entries[path] for path in kept}, asked)
        refused |= _too_large(mirror, entries, asked)
    left = {path: entry for path, entry in entries.items() if path not in refused}
    return left, [Violation(text(path), why) for path, why in refused.items()]


def drivers() -> frozenset[str]:
    """Name the filters that this machine has."""
    return frozenset({"lfs"} if lfs.is_there() else ())


def _not_read(texts: Mapping[bytes, bytes], asked: Mapping[bytes, Asked]) -> dict[bytes, str]:
    """Name the files whose attributes are more than is read of them."""
    long = [folder for folder, content in texts.items() if len(content) >= MAX_BYTES]
    below = [(path, folder) for path in asked for folder in long]
    return {
        path: _NOT_READ for path, folder in below if not folder or path.startswith(folder + b"/")
    }


def _kind(name: str) -> str:
    """Return the filter that is known under a name: git-crypt has one for each of its keys."""
    return next((each for each in _HARMFUL if each != "lfs" and name.startswith(f"{each}-")), name)


def _is_harmed(name: str, content: bytes, there: Collection[str]) -> bool:
    kind = _kind(name)
    return kind in _HARMFUL and kind not in there and not _CONVERTED[kind](content)


def _untouched(file: Asked) -> Entry | None:
    """Return what a file was where its content stands in the repository as it is.

    So a pointer stays one, byte for byte, and a file that should have become one is left alone.
    """
    same = file.before is not None and object_id("blob", file.content) == file.before[1]
    return (file.mode, file.before[1]) if file.before is not None and same else None


def _kept_by_lfs(
    mirror: Mirror, entries: Mapping[bytes, Entry], asked: Mapping[bytes, Asked]
) -> dict[bytes, Entry]:
    """Make durable what Git LFS keeps; return the pointers, as they were for the same content."""
    repo = open_repository(mirror)

    def read(oid: bytes) -> Pointer | None:
        found = repo.get(pygit2.Oid(raw=oid))
        return pointer(found.data) if isinstance(found, pygit2.Blob) else None

    pointers = {path: found for path, (_, oid) in entries.items() if (found := read(oid))}
    lfs.keep(mirror, pointers.values())
    same = dict(entries)
    for path, found in pointers.items():
        before = asked[path].before
        if before is not None and read(before[1]) == found:
            same[path] = (entries[path][0], before[1])
    return same


def _too_large(
    mirror: Mirror, entries: Mapping[bytes, Entry], asked: Mapping[bytes, Asked]
) -> dict[bytes, str]:
    """Name the files that no filter made as small as a file may be."""
    new = [path for path in entries if entries[path] != asked[path].before]
    large = [path for path in new if len(asked[path].content) > MAX_FILE]
    read = open_repository(mirror).odb.read_header
    sizes = {path: read(pygit2.Oid(raw=entries[path][1]))[1] for path in large}
    return {path: TOO_LARGE for path, size in sizes.items() if size > MAX_FILE}


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

    def filters(self, texts: Mapping[bytes, bytes], asked: Iterable[bytes]) -> dict[bytes, str]:
        """Name the filter of each file that has one."""
        if not any(b"filter" in content for content in texts.values()):
            return {}
        done = self._git("check-attr", "-z", "--stdin", "filter", input=b"\0".join(asked))
        told = done.out.split(b"\0")
        return {
            path: text(value)
            for path, value in zip(told[0::3], told[2::3], strict=False)
            if value not in (b"unspecified", b"unset", b"set")
        }

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


def _why(done: Finished) -> str:
    told = [line for line in done.err.splitlines() if line.startswith(("fatal:", "error:"))]
    reason = told[0].partition(": ")[2] if told else "no reason given"
    return f"Git cannot record it as its attributes ask: {reason.rstrip('.')}."
