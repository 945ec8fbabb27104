"""A look at what changed in a workspace: names and `lstat` only, nothing is opened but rules.

The upper layer of an overlay holds exactly what was touched: new content, whiteouts for what is
gone, and folders marked opaque where one took another's place. A plain workspace holds every file,
and what is missing there is gone. Both give the same tree of nodes, laid over the tree that the
workspace was made from; its size follows what was touched.

What nobody may commit is named and left out. Links are not followed, pipes and devices not opened,
and what is ignored and not tracked is not entered. Each folder is opened by its name in the one
above, which is open, so that nothing leads elsewhere that takes its place meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bot.errors import TransientError

from . import attributes, descent, ignore
from .attributes import Attributes
from .ignore import Ignores
from .names import (
    folded_name,
    is_git_name,
    is_plain,
    is_read_by_git,
    link_reason,
    may_be_git,
    may_be_twins,
)
from .pack import object_id
from .program import text
from .trees import EXECUTABLE, FILE, FOLDER, LINK, SUBMODULE, Entry, Reader, Tree, entry_of

MAX_FILE = 100 * 1024 * 1024
"""Bytes of one file; GitHub refuses a push with a larger one."""
TOO_LARGE = f"It is larger than {MAX_FILE // 2**20} MiB, which GitHub refuses."
MAX_FILTERED = 512 * 1024 * 1024
"""Bytes of one file that a filter such as Git LFS may make small; it is held in memory."""
MAX_RULES = 1024 * 1024
"""Bytes of a `.gitignore` or `.gitattributes` that are read; real ones have a few KB."""
MAX_VIOLATIONS = 100
"""Violations that are told, and left out one by one; with more, nothing is taken."""
MAX_DEPTH = 256
"""Folders within folders: far more than people make, fewer than break other programs."""
ATTEMPTS = 10
"""Times that a folder is listed again in which names vanish meanwhile."""
CHANGING = "The workspace keeps changing while it is read: {}."
_NOT_HELD = f"It is larger than {MAX_FILTERED // 2**20} MiB, the most that is put through a filter."
_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_KIND = 0o170000
"""The bits of a mode that say what it is (inode(7))."""
_HIDDEN = b" .git"
"""What stands in every tree with a file of rules in it."""
_SETS_OWNER = stat.S_ISUID | stat.S_ISGID
_RULES = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SWAPPED = (errno.ELOOP, errno.ENOTDIR)
_ENCODING = sys.getfilesystemencoding()


@dataclass(frozen=True, slots=True)
class Source:
    """Where to look: `folder` over the tree `tree` (its id in hexadecimal).

    With `whole` the folder holds every file; else only what was touched, with `opaque` as the
    extended attribute that marks a folder which hides what was there before. What is not tracked
    at or below the paths `made` is an environment's, and ignored.
    """

    folder: Path
    tree: str
    opaque: str = ""
    whole: bool = False
    made: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Violation:
    """An entry of a workspace that must not be committed, and why, as a sentence for people."""

    path: str
    reason: str


Signature = tuple[int, int, int, int, int]
"""How a file is told from its earlier self: inode, size, times of content and of inode, mode."""


@dataclass(slots=True)
class File:
    """A file or link that may be committed. `target` is a link's, `sets` what attributes may ask.

    `line` is what the tree has there, as it stands in it.
    """

    path: bytes
    mode: bytes
    size: int
    signature: Signature
    target: bytes | None
    sets: frozenset[bytes]
    line: bytes | None

    @property
    def before(self) -> Entry | None:
        """What the tree has there."""
        return None if self.line is None else entry_of(self.line)


@dataclass(slots=True)
class Folder:
    """A folder that was touched, over the tree `base` (None: over nothing)."""

    path: bytes
    base: bytes | None
    entries: dict[bytes, File | Folder | None] = field(default_factory=dict)


@dataclass(slots=True)
class Scan:
    """What was found: the nodes from the root on, the files among them, and the violations.

    `attributes` are the texts of the `.gitattributes` that hold, by the paths of their folders, and
    `telling` the paths of files that git reads.
    """

    root: Folder
    files: list[File] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    attributes: dict[bytes, bytes] = field(default_factory=dict)
    telling: set[bytes] = field(default_factory=set)


def scan(source: Source, trees: Reader) -> Scan:
    """Look at what changed below `source.folder`.

    Entries that vanish meanwhile are passed over; raises TransientError where something else takes
    the place of a folder.
    """
    return _Scanner(source, trees).run()


def signature_of(status: os.stat_result) -> Signature:
    """Return what tells a file from its earlier self."""
    return (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
    )


class _Enough(Exception):
    """So much must not be committed that the rest is not looked at."""


@dataclass(slots=True)
class _Listed:
    """The names in a folder, each with what it is; None for a folder, whose name says enough.

    `plain` says that none of them can be one of git's, however it is spelled.
    """

    entries: dict[bytes, os.stat_result | None]
    plain: bool


@dataclass(slots=True)
class _Here:
    """A folder while it is looked at: open, over its tree's entries, with the rules within.

    `start` is what the paths of its entries begin with, `new` are the names that come in.
    """

    node: Folder
    descriptor: int
    tracked: Tree
    ignores: Ignores = field(default_factory=Ignores)
    attributes: Attributes = field(default_factory=Attributes)
    depth: int = 0
    start: bytes = b""
    new: list[bytes] = field(default_factory=list)

    def below(self, node: Folder, descriptor: int, tracked: Tree) -> _Here:
        """Return a folder in this one, with what holds here so far."""
        depth, start = self.depth + 1, node.path + b"/"
        return _Here(node, descriptor, tracked, self.ignores, self.attributes, depth, start)


class _Scanner:
    def __init__(self, source: Source, trees: Reader) -> None:
        self._source = source
        self._whole = source.whole
        self._made = source.made
        self._trees = trees
        self._scan = Scan(Folder(b"", bytes.fromhex(source.tree)))

    def run(self) -> Scan:
        root = self._scan.root
        with contextlib.suppress(_Enough):
            descriptor = self._open(b"", os.fsencode(self._source.folder), None)
            if descriptor is not None:
                try:
                    if (listed := self._list(b"", descriptor)) is not None:
                        tracked = self._trees.entries(root.base)
                        self._fill(_Here(root, descriptor, tracked), listed)
                finally:
                    os.close(descriptor)
        return self._scan

    def _fill(self, here: _Here, listed: _Listed) -> None:
        """Look at the entries of a folder, after the rules that it has for them."""
        self._read_rules(here, listed)
        for name, status in listed.entries.items():
            self._look(here, name, status, plain=listed.plain)
        if self._whole:
            gone = here.tracked.lines().keys() - listed.entries.keys()
            here.node.entries.update(dict.fromkeys(gone))
        if here.new:
            self._refuse_twins(here)

    def _read_rules(self, here: _Here, listed: _Listed) -> None:
        path = here.node.path
        tracked = here.depth > 0 and here.node.base is not None
        ignored = self._rules(here, ignore.NAME, listed)
        set_here = self._rules(here, attributes.NAME, listed)
        if set_here is not None:
            self._scan.attributes[path] = set_here
        here.ignores = here.ignores.below(path, ignored, tracked=tracked)
        if path in self._made:  # entered for what is tracked in it
            here.ignores = here.ignores.as_ignored()
        here.attributes = here.attributes.below(path, set_here)

    def _rules(self, here: _Here, name: bytes, listed: _Listed) -> bytes | None:
        """Return what a file of rules says now; git follows no link to one, and neither do we."""
        if not listed.plain and name in listed.entries:
            status = listed.entries[name]
            is_file = status is not None and stat.S_ISREG(status.st_mode)
            return _read(name, here.descriptor) if is_file else None
        if self._whole or _HIDDEN not in here.tracked.raw:
            return None
        line = here.tracked.get(name)
        if line is None or entry_of(line)[0] not in (FILE, EXECUTABLE):
            return None
        return self._trees.blob(entry_of(line)[1])

    def _look(
        self, here: _Here, name: bytes, status: os.stat_result | None, *, plain: bool
    ) -> None:
        """Judge one entry, and note what is to be committed of it."""
        mode = stat.S_IFDIR if status is None else status.st_mode
        kind = mode & _KIND
        if kind == stat.S_IFCHR and not self._whole and status and status.st_rdev == 0:
            here.node.entries[name] = None  # a whiteout
            return
        path, line = here.start + name, here.tracked.get(name)
        if line is None and (
            here.ignores.ignored(path, folder=status is None) or path in self._made
        ):
            return
        if not plain and may_be_git(name) and is_git_name(text(name)):
            self._refuse(path, "It has the name of git's own folder.")
        elif status is None:
            self._folder(here, name, path, line, plain=plain)
        elif kind == stat.S_IFREG:
            self._file(here, name, path, status, line)
            if not plain and is_read_by_git(name):
                self._scan.telling.add(path)
        elif kind == stat.S_IFLNK:
            self._link(here, name, path, status, line)
        else:
            told = _SPECIAL.get(kind, "of a kind that git does not know")
            self._refuse(path, f"It is {told}, not a file.")

    def _folder(
        self, here: _Here, name: bytes, path: bytes, line: bytes | None, *, plain: bool
    ) -> None:
        before = None if line is None else entry_of(line)
        was_folder = before is not None and before[0] == FOLDER
        if not (plain or was_folder) and is_read_by_git(name):
            self._refuse(path, "Git reads a file of this name, and no folder in its place.")
            return
        descriptor = self._open(path, name, here)
        if descriptor is None:
            return
        try:
            listed = self._list(path, descriptor)
            if listed is None or self._is_another(path, listed, before):
                return
            hides = not was_folder or self._is_opaque(descriptor)
            node = Folder(path, None if hides or before is None else before[1])
            tracked = self._trees.entries(node.base)
            here.node.entries[name] = node
            if line is None:
                here.new.append(name)
            self._fill(here.below(node, descriptor, tracked), listed)
        finally:
            os.close(descriptor)

    def _is_another(self, path: bytes, listed: _Listed, before: Entry | None) -> bool:
        """Refuse what lies in a folder that is another repository's; say whether it is one."""
        if before is not None and before[0] == SUBMODULE:
            reason = (
                "It lies in a submodule, which is another repository and cannot be changed here."
            )
            for inner in listed.entries:
                self._refuse(path + b"/" + inner, reason)
            return True
        for inner in () if listed.plain else listed.entries:
            if may_be_git(inner) and is_git_name(text(inner)):
                # All of it is left out: git would record it as a submodule.
                reason = "It has the name of a repository within the repository."
                self._refuse(path + b"/" + inner, reason)
                return True
        return False

    def _is_opaque(self, descriptor: int) -> bool:
        if self._whole:
            return False
        try:
            return os.getxattr(descriptor, self._source.opaque) == b"y"
        except OSError:
            return False

    def _link(
        self, here: _Here, name: bytes, path: bytes, status: os.stat_result, line: bytes | None
    ) -> None:
        try:
            target = os.readlink(name, dir_fd=here.descriptor)
        except OSError:
            return  # gone meanwhile
        if line is None or entry_of(line) != (LINK, object_id("blob", target)):
            # What the repository had before is its own affair.
            if is_read_by_git(name):
                self._refuse(path, "Git reads this file, and reads no link in its place.")
                return
            if reason := link_reason(text(path), text(target)):
                self._refuse(path, reason)
                return
        signature = signature_of(status)
        self._take(here, name, File(path, LINK, len(target), signature, target, frozenset(), line))

    def _file(
        self, here: _Here, name: bytes, path: bytes, status: os.stat_result, line: bytes | None
    ) -> None:
        mode, size = status.st_mode, status.st_size
        if mode & _SETS_OWNER:
            self._refuse(path, "It would run with its owner's rights (setuid or setgid).")
            return
        sets = here.attributes.may_set(path)
        limit, reason = (MAX_FILTERED, _NOT_HELD) if b"filter" in sets else (MAX_FILE, TOO_LARGE)
        if size > limit and not self._had(line, size):
            self._refuse(path, reason)
            return
        kind = EXECUTABLE if mode & stat.S_IXUSR else FILE
        self._take(here, name, File(path, kind, size, signature_of(status), None, sets, line))

    def _take(self, here: _Here, name: bytes, file: File) -> None:
        here.node.entries[name] = file
        self._scan.files.append(file)
        if file.line is None:
            here.new.append(name)

    def _had(self, line: bytes | None, size: int) -> bool:
        """Whether the repository had a file of that size there, so that it may stay."""
        if line is None:
            return False
        mode, oid = entry_of(line)
        return mode in (FILE, EXECUTABLE) and self._trees.size(oid) == size

    def _refuse_twins(self, here: _Here) -> None:
        """Refuse names that are new here and differ from another one in nothing but case."""
        new, tracked, entries = sorted(here.new), here.tracked.lines(), here.node.entries
        if not may_be_twins(new, tracked):
            return
        gone = {name for name, it in entries.items() if it is None}
        folded: dict[bytes, set[bytes]] = {folded_name(name): {name} for name in new}
        for name in (*tracked, *new):
            if name not in gone and (alike := folded.get(folded_name(name))) is not None:
                alike.add(name)
        for name in new:
            others = sorted(folded[folded_name(name)] - {name})
            if others:
                other = text(others[0])
                reason = f"It differs from {other} in nothing but case; many systems hold one only."
                self._forget(entries.pop(name))
                self._refuse(here.start + name, reason)
                folded[folded_name(name)].remove(name)

    def _forget(self, node: File | Folder | None) -> None:
        """Take what lies in a node out of the files that are to be read."""
        prefix = node.path if node else b""
        self._scan.files = [
            each
            for each in self._scan.files
            if each.path != prefix and not each.path.startswith(prefix + b"/")
        ]

    def _refuse(self, path: bytes, reason: str) -> None:
        self._scan.violations.append(Violation(text(path), reason))
        if len(self._scan.violations) > MAX_VIOLATIONS:
            raise _Enough

    def _open(self, path: bytes, name: bytes, above: _Here | None) -> int | None:
        """Open a folder, and nothing in its place; None, and a violation, where that may not be."""
        if above is not None and above.depth >= MAX_DEPTH:
            reason = f"The folder cannot be read: it lies more than {MAX_DEPTH} folders deep."
            self._refuse(path, reason)
            return None
        try:
            return os.open(name, descent.FOLDER, dir_fd=above.descriptor if above else None)
        except FileNotFoundError:  # gone meanwhile
            if above is not None and self._whole and name in above.tracked:
                above.node.entries[name] = None
            return None
        except OSError as error:
            if error.errno in _SWAPPED:
                raise TransientError(CHANGING.format(text(path))) from error
            self._refuse(path, f"The folder cannot be read: {error.strerror}.")
            return None

    def _list(self, path: bytes, descriptor: int) -> _Listed | None:
        """List an open folder; None, and a violation, where that may not be."""
        for _ in range(ATTEMPTS):
            try:
                with os.scandir(descriptor) as listing:
                    return _listed([(each.name, _status(each)) for each in listing])
            except FileNotFoundError:
                continue  # a name vanished: the list is made again
            except OSError as error:
                self._refuse(path, f"The folder cannot be read: {error.strerror}.")
                return None
        return _listed(_one_by_one(descriptor))


def _listed(found: Iterable[tuple[str, os.stat_result | None]]) -> _Listed:
    entries = dict(found)
    names = "/".join(entries)
    if names.isascii() and names:
        raw = names.encode().split(b"/")
        return _Listed(dict(zip(raw, entries.values(), strict=True)), is_plain(names))
    named = {name.encode(_ENCODING, "surrogateescape"): it for name, it in entries.items()}
    return _Listed(named, is_plain(names))


def _one_by_one(descriptor: int) -> Iterable[tuple[str, os.stat_result | None]]:
    """List a folder in which names keep vanishing, without those."""
    for name in os.listdir(descriptor):
        with contextlib.suppress(OSError):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            yield name, None if stat.S_ISDIR(status.st_mode) else status


def _status(each: os.DirEntry[str]) -> os.stat_result | None:
    return None if each.is_dir(follow_symlinks=False) else each.stat(follow_symlinks=False)


def _read(name: bytes, folder: int) -> bytes | None:
    """Read a file of rules, as far as they are read; None where it is none or is gone."""
    try:
        descriptor = os.open(name, _RULES, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_RULES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
