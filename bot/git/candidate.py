"""What an agent left in a workspace, as a commit that nothing points to yet.

Read from the file system by the host; its cost follows what was touched. Content becomes blobs, the
touched folders' trees are spliced from those of the parent, and with the commit all of it is one
durable pack. Git's own attributes and ignore rules count; ignored entries are not part of the tree,
whatever they are. Where the rules allow it, the run's branch moves to the commit; where they do
not, the commit stays on this machine.

Nothing may write to the workspace meanwhile; where something does, TransientError is raised.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import pygit2

from bot.errors import TransientError

from . import attributes, filters, vetting
from .checkpoint import Identity, commit_bytes
from .descent import Descent
from .filters import Asked
from .pack import Pack, object_id
from .program import text
from .repository import Mirror, commit_of, open_repository
from .scan import (
    CHANGING,
    MAX_VIOLATIONS,
    File,
    Folder,
    Scan,
    Source,
    Violation,
    scan,
    signature_of,
)
from .trees import FOLDER, Entry, Reader, line_of, spliced
from .walk import trees_of

__all__ = ["Candidate", "Made", "Source", "Violation", "take"]

MAX_CONTENT = 1024 * 1024 * 1024
"""Bytes of new content in one candidate, which are held in memory deflated: GitHub advises against
a repository of that size as a whole."""
LOOKED_UP = 256 * 1024
"""Bytes from which on a blob is looked up before it is deflated: below, to deflate it again costs
no more than to find out that it is new, for which libgit2 lists the packs again each time."""
UNREADABLE = "It cannot be read: its mode takes that from its own user."
ATTEMPTS = 3
"""Times that a file is read again which changed while it was read."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Made:
    """How a candidate's commit is written; the same arguments give the same commit."""

    message: str
    author: Identity
    committer: Identity
    at: datetime

    def bytes_of(self, tree: bytes, parent: str) -> bytes:
        """Return the commit of `tree` on top of `parent`, as git stores it."""
        author, committer = self.author.line(self.at), self.committer.line(self.at)
        return commit_bytes(tree.hex(), [parent], self.message, author, committer)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tree that a turn left behind on `parent`, and the commit of it.

    Entries named in `violations` are not in the tree. `commit` is `parent` where the tree is
    the parent's own.
    """

    tree: str
    parent: str
    commit: str
    violations: tuple[Violation, ...]


def take(mirror: Mirror, source: Source, parent: str, made: Made) -> Candidate:
    """Record what `source` holds as a commit on top of `parent`, durably, with no ref to it.

    Raises TransientError where files keep changing, Refused where the mirror lacks the parent.
    """
    repo = open_repository(mirror)
    tree = commit_of(repo, parent).tree_id.raw
    pack = Pack(mirror)
    trees = trees_of(mirror)
    found = scan(source, trees)
    if _is_too_much(found):
        return Candidate(tree.hex(), parent, parent, _sorted(found.violations)[:MAX_VIOLATIONS])
    entries = _Recorder(mirror, source, pack, repo.odb).record(found)
    entry = _splice(found.root, entries, trees, pack)
    new = entry[1] if entry else pack.add("tree", b"")
    commit = parent
    if new != tree:
        commit = pack.add("commit", made.bytes_of(new, parent)).hex()
        trees.keep(pack.write())
    return Candidate(new.hex(), parent, commit, _sorted(found.violations))


def _sorted(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    return tuple(sorted(violations, key=lambda each: each.path))


def _is_too_much(found: Scan) -> bool:
    if len(found.violations) > MAX_VIOLATIONS:
        return True
    content = sum(file.size for file in found.files)
    if content > MAX_CONTENT:
        megabytes = f"{content // 2**20} MiB of new content, and {MAX_CONTENT // 2**20} MiB"
        found.violations[:] = [Violation("", f"There are {megabytes} are the most that is read.")]
        return True
    return "" in {each.path for each in found.violations}


def _splice(node: Folder, entries: dict[bytes, Entry], trees: Reader, pack: Pack) -> Entry | None:
    """Return the tree of a folder with what changed in it in place; None where it is empty."""
    before = trees.entries(node.base)
    changes: dict[bytes, Entry | None] = {}
    for name, it in node.entries.items():
        if it is None:
            after = None
        elif isinstance(it, Folder):
            after = _splice(it, entries, trees, pack)
        elif (after := entries.get(it.path)) is None:
            continue  # Git could not record it.
        if before.get(name) != (None if after is None else line_of(name, after)):
            changes[name] = after
    if not changes:
        return (FOLDER, node.base) if node.base is not None and before else None
    raw = spliced(before, changes)
    return (FOLDER, pack.add("tree", raw)) if raw else None


class _Recorder:
    """Turns files into blobs: by their content, or by git where attributes ask for another form."""

    def __init__(self, mirror: Mirror, source: Source, pack: Pack, odb: pygit2.Odb) -> None:
        self._mirror = mirror
        self._source = source
        self._pack = pack
        self._odb = odb

    def record(self, found: Scan) -> dict[bytes, Entry]:
        """Return what each file is in the tree, by path; leave out those that git cannot record."""
        entries: dict[bytes, Entry] = {}
        asked: dict[bytes, Asked] = {}
        told: dict[bytes, bytes] = {}
        with Descent(self._source.folder) as descent:
            for file in found.files:
                try:
                    content = self._content(descent, file)
                except PermissionError:
                    found.violations.append(Violation(text(file.path), UNREADABLE))
                    continue
                if attributes.may_convert(file.sets, content):
                    asked[file.path] = Asked(content, file.mode, file.before)
                else:
                    entries[file.path] = (file.mode, self._blob(content))
                    if file.path in found.telling:
                        told[file.path] = content
        if asked:
            converted, refused = filters.convert(self._mirror, found.attributes, asked)
            entries |= converted
            found.violations += refused
        if found.telling:
            self._vet(found, entries, told)
        return entries

    def _vet(self, found: Scan, entries: dict[bytes, Entry], contents: dict[bytes, bytes]) -> None:
        """Leave out files that git reads where it would refuse them, but those that were there."""
        files = {file.path: file for file in found.files if file.path in found.telling}
        new = {
            path: contents[path] if path in contents else self._odb.read(oid.hex())[1]
            for path, (_, oid) in entries.items()
            if path in files and ((was := files[path].before) is None or was[1] != oid)
        }
        for path, reason in (vetting.faults(new) if new else {}).items():
            del entries[path]
            found.violations.append(Violation(text(path), reason))

    def _content(self, descent: Descent, file: File) -> bytes:
        return file.target if file.target is not None else self._read(descent, file)

    def _blob(self, content: bytes) -> bytes:
        oid = object_id("blob", content)
        if len(content) >= LOOKED_UP and self._odb.exists(oid.hex()):
            return oid
        return self._pack.add("blob", content, oid)

    def _read(self, descent: Descent, file: File) -> bytes:
        """Read a file as one state of it; TransientError where it keeps changing."""
        for _ in range(ATTEMPTS):
            try:
                descriptor = descent.open(file.path, _READ)
            except PermissionError:
                raise
            except OSError as error:
                raise TransientError(_changing(file)) from error
            try:
                before = signature_of(os.fstat(descriptor))
                if before != file.signature:
                    break  # Something took its place, which the next look has to judge.
                content = _all(descriptor, file.size)
                after = signature_of(os.fstat(descriptor))
            finally:
                os.close(descriptor)
            if before == after == file.signature and len(content) == file.size:
                return content
            file.signature, file.size = after, after[1]
        raise TransientError(_changing(file))


def _all(descriptor: int, size: int) -> bytes:
    """Read a file that should have `size` bytes, to its end, or to where it is larger than that.

    What grows as fast as it is read has no end.
    """
    content = os.read(descriptor, size + 1)
    while len(content) <= size and (more := os.read(descriptor, size + 1 - len(content))):
        content += more
    return content


def _changing(file: File) -> str:
    return CHANGING.format(text(file.path))
