"""A look at what changed in a workspace: names and `lstat` only, nothing is opened but rules.

The upper layer of an overlay holds exactly what was touched: new content, whiteouts for what is
gone, and folders marked opaque where one took another's place. A plain workspace holds every file,
and what is missing there is gone. Both give the same tree of nodes, laid over the tree that the
workspace was made from; its size follows what was touched.

What nobody may commit is named and left out. Links are not followed, pipes and devices not opened,
and what is ignored and not tracked is not entered.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import attributes, ignore
from .attributes import Attributes
from .ignore import Ignores
from .pack import object_id
from .program import text
from .trees import EXECUTABLE, FILE, FOLDER, LINK, SUBMODULE, Entry, Lines, Reader, entry_of

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
FEW = 8
"""New names in a folder that are looked for in all of its names as one text."""
_NOT_HELD = f"It is larger than {MAX_FILTERED // 2**20} MiB, the most that is put through a filter."
# Code points that HFS+ leaves out when it compares names: ".g\u200cit" is ".git" there. The list is
# that of git's `next_hfs_char` (utf8.c).
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
# What git reads must be a file, also where a file system takes another name for it (git's fsck:
# gitmodulesSymlink and its like; the short names are those that NTFS makes, a colon is its too).
_READ_BY_GIT = re.compile(
    r"([^/]*\\)?(\.git(modules|attributes|ignore)|git(mod|att|ign)~\d|(?=.{8})g?i?[\da-f]*~\d+)"
    r"[ .]*(:[^/]*)?"
)
_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_RULES = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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

    `before` is what the tree has there.
    """

    path: bytes
    mode: bytes
    size: int
    signature: Signature
    target: bytes | None
    sets: frozenset[bytes]
    before: Entry | None


@dataclass(slots=True)
class Folder:
    """A folder that was touched, over the tree `base` (None: over nothing)."""

    path: bytes
    base: bytes | None
    entries: dict[bytes, File | Folder | None] = field(default_factory=dict)


@dataclass(slots=True)
class Scan:
    """What was found: the nodes from the root on, the files among them, and the violations.

    `attributes` are the texts of the `.gitattributes` that hold, by the paths of their folders.
    """

    root: Folder
    files: list[File] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    attributes: dict[bytes, bytes] = field(default_factory=dict)


Known = Mapping[bytes, tuple[Signature, Entry]]
"""Files by path that were looked at before, as they were then."""


def scan(source: Source, trees: Reader, known: Known | None = None) -> Scan:
    """Look at what changed below `source.folder`; files in `known` that are as then are not told.

    Entries that vanish meanwhile are passed over.
    """
    return _Scanner(source, trees, known or {}).run()


def is_git_name(name: str) -> bool:
    """Whether some file system takes `name` for `.git`: by case, ending, short name or Unicode."""
    # NTFS drops dots and spaces at the end, and what follows a colon names a stream of the file;
    # a backslash is a separator there.
    parts = [part.partition(":")[0].rstrip(". ") for part in _plain(name).split("\\")]
    return any(part in (".git", "git~1") for part in parts)


def _may_be_git(name: bytes) -> bool:
    """Whether `is_git_name` can hold: what it takes away is not in ASCII, or at the name's end."""
    return not name.isascii() or b"git" in name.lower()


def link_reason(path: str, target: str) -> str | None:
    """Say why the link at `path` may lead out of the repository, or None.

    A target may climb by leading `..` up to the root, and then only go down: then no link, even
    through other links that are so, leads out.
    """
    if target.startswith("/"):
        return f"The link points outside the repository, to {target}."
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = next((n for n, part in enumerate(parts) if part != ".."), len(parts))
    if climbs > path.count("/"):
        return f"The link points outside the repository, to {target}."
    if ".." in parts[climbs:]:
        return f"The link's target {target} goes up after going down; write the shortest path."
    if any(is_git_name(part) for part in parts):
        return f"The link's target {target} names git's own folder."
    return None


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
class _Here:
    """A folder while it is looked at: where it is, its tree's entries, and the rules within."""

    node: Folder
    place: bytes
    tracked: Lines
    ignores: Ignores
    attributes: Attributes
    depth: int

    def path(self, name: bytes) -> bytes:
        return self.node.path + b"/" + name if self.node.path else name

    def before(self, name: bytes) -> Entry | None:
        line = self.tracked.get(name)
        return None if line is None else entry_of(line)


Listed = list[tuple[bytes, os.stat_result | None]]
"""The names in a folder, each with what it is; None for a folder, of which the name says enough."""


class _Scanner:
    def __init__(self, source: Source, trees: Reader, known: Known) -> None:
        self._source = source
        self._trees = trees
        self._known = known
        self._scan = Scan(Folder(b"", bytes.fromhex(source.tree)))

    def run(self) -> Scan:
        place = os.fsencode(self._source.folder)
        root = self._scan.root
        with contextlib.suppress(_Enough):
            if (listed := self._list(b"", place)) is not None:
                tracked = self._trees.entries(root.base)
                self._fill(_Here(root, place, tracked, Ignores(), Attributes(), 0), listed)
        return self._scan

    def _fill(self, here: _Here, listed: Listed) -> None:
        """Look at the entries of a folder, after the rules that it has for them."""
        present = dict(listed)
        self._read_rules(here, present)
        for name, status in listed:
            self._look(here, name, status)
        if self._source.whole:
            gone = here.tracked.keys() - present.keys()
            here.node.entries.update(dict.fromkeys(gone))
        self._refuse_twins(here)

    def _read_rules(self, here: _Here, present: Mapping[bytes, os.stat_result | None]) -> None:
        path = here.node.path
        tracked = here.depth > 0 and here.node.base is not None
        ignored = self._rules(here, ignore.NAME, present)
        set_here = self._rules(here, attributes.NAME, present)
        if set_here is not None:
            self._scan.attributes[path] = set_here
        here.ignores = here.ignores.below(path, ignored, tracked=tracked)
        if path in self._source.made:  # entered for what is tracked in it
            here.ignores = here.ignores.as_ignored()
        here.attributes = here.attributes.below(path, set_here)

    def _rules(
        self, here: _Here, name: bytes, present: Mapping[bytes, os.stat_result | None]
    ) -> bytes | None:
        """Return what a file of rules says now; git follows no link to one, and neither do we."""
        if name in present:
            status = present[name]
            is_file = status is not None and stat.S_ISREG(status.st_mode)
            return _read(here.place + b"/" + name) if is_file else None
        before = None if self._source.whole else here.before(name)
        if before is None or before[0] not in (FILE, EXECUTABLE):
            return None
        return self._trees.blob(before[1])

    def _look(self, here: _Here, name: bytes, status: os.stat_result | None) -> None:
        """Judge one entry, and note what is to be committed of it."""
        mode = stat.S_IFDIR if status is None else status.st_mode
        if (
            status is not None
            and stat.S_ISCHR(mode)
            and status.st_rdev == 0
            and not self._source.whole
        ):
            here.node.entries[name] = None  # a whiteout
            return
        path = here.path(name)
        if name not in here.tracked and (
            here.ignores.ignored(path, folder=status is None) or path in self._source.made
        ):
            return
        if _may_be_git(name) and is_git_name(text(name)):
            self._refuse(path, "It has the name of git's own folder.")
        elif status is None:
            self._folder(here, name, path)
        elif stat.S_ISLNK(mode):
            self._link(here, name, path, status)
        elif not stat.S_ISREG(mode):
            kind = _SPECIAL.get(stat.S_IFMT(mode), "of a kind that git does not know")
            self._refuse(path, f"It is {kind}, not a file.")
        elif mode & (stat.S_ISUID | stat.S_ISGID):
            reason = "It would run with its owner's rights (setuid or setgid)."
            self._refuse(path, reason)
        else:
            self._file(here, name, path, status)

    def _folder(self, here: _Here, name: bytes, path: bytes) -> None:
        place, before = here.place + b"/" + name, here.before(name)
        if (listed := self._list(path, place, here.depth + 1)) is None:
            return
        if before is not None and before[0] == SUBMODULE:
            reason = (
                "It lies in a submodule, which is another repository and cannot be changed here."
            )
            for inner, _ in listed:
                self._refuse(path + b"/" + inner, reason)
            return
        for inner, _ in listed:
            if _may_be_git(inner) and is_git_name(text(inner)):
                # All of it is left out: git would record it as a submodule.
                reason = "It has the name of a repository within the repository."
                self._refuse(path + b"/" + inner, reason)
                return
        hides = before is None or before[0] != FOLDER or self._is_opaque(place)
        base = None if hides or before is None else before[1]
        node = Folder(path, base)
        tracked = self._trees.entries(base)
        below = _Here(node, place, tracked, here.ignores, here.attributes, here.depth + 1)
        self._fill(below, listed)
        here.node.entries[name] = node

    def _is_opaque(self, place: bytes) -> bool:
        if self._source.whole:
            return False
        try:
            return os.getxattr(place, self._source.opaque, follow_symlinks=False) == b"y"
        except OSError:
            return False

    def _link(self, here: _Here, name: bytes, path: bytes, status: os.stat_result) -> None:
        try:
            target = os.readlink(here.place + b"/" + name)  # noqa: PTH115 - bytes
        except OSError:
            return  # gone meanwhile
        before = here.before(name)
        if before != (LINK, object_id("blob", target)):
            # What the repository had before is its own affair.
            if _READ_BY_GIT.fullmatch(_plain(text(name)).rstrip(". ")):
                self._refuse(path, "Git reads this file, and reads no link in its place.")
                return
            if reason := link_reason(text(path), text(target)):
                self._refuse(path, reason)
                return
        signature = signature_of(status)
        file = File(path, LINK, len(target), signature, target, frozenset(), before)
        here.node.entries[name] = file
        self._scan.files.append(file)

    def _file(self, here: _Here, name: bytes, path: bytes, status: os.stat_result) -> None:
        before, signature = here.before(name), signature_of(status)
        seen = self._known.get(path)
        if seen is not None and seen == (signature, before):
            return
        mode = EXECUTABLE if status.st_mode & stat.S_IXUSR else FILE
        sets = here.attributes.may_set(path)
        limit, reason = (MAX_FILTERED, _NOT_HELD) if b"filter" in sets else (MAX_FILE, TOO_LARGE)
        if status.st_size > limit and not self._had(before, status.st_size):
            self._refuse(path, reason)
            return
        file = File(path, mode, status.st_size, signature, None, sets, before)
        here.node.entries[name] = file
        self._scan.files.append(file)

    def _had(self, before: Entry | None, size: int) -> bool:
        """Whether the repository had a file of that size there, so that it may stay."""
        is_file = before is not None and before[0] in (FILE, EXECUTABLE)
        return before is not None and is_file and self._trees.size(before[1]) == size

    def _refuse_twins(self, here: _Here) -> None:
        """Refuse names that are new here and differ from another one in nothing but case."""
        entries = here.node.entries
        new = sorted(name for name, it in entries.items() if it and name not in here.tracked)
        if not new or not _may_be_twins(new, here.tracked):
            return
        gone = {name for name, it in entries.items() if it is None}
        folded: dict[bytes, set[bytes]] = {_folded(name): {name} for name in new}
        for name in (*here.tracked, *new):
            if name not in gone and (alike := folded.get(_folded(name))) is not None:
                alike.add(name)
        for name in new:
            others = sorted(folded[_folded(name)] - {name})
            if others:
                other = text(others[0])
                reason = f"It differs from {other} in nothing but case; many systems hold one only."
                self._forget(entries.pop(name))
                self._refuse(here.path(name), reason)
                folded[_folded(name)].remove(name)

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

    def _list(self, path: bytes, place: bytes, depth: int = 0) -> Listed | None:
        """List a folder; None, and a violation, where it cannot be read."""
        if depth > MAX_DEPTH:
            reason = f"The folder cannot be read: it lies more than {MAX_DEPTH} folders deep."
            self._refuse(path, reason)
            return None
        for _ in range(ATTEMPTS):
            try:
                with os.scandir(place) as listing:
                    return [(each.name, _status(each)) for each in listing]
            except FileNotFoundError:
                continue  # a name vanished: the list is made again
            except OSError as error:
                self._refuse(path, f"The folder cannot be read: {error.strerror}.")
                return None
        return _one_by_one(place)


def _one_by_one(place: bytes) -> Listed:
    """List a folder in which names keep vanishing, without those; one that is gone is empty."""
    listed: Listed = []
    try:
        names = os.listdir(place)  # noqa: PTH208 - bytes
    except OSError:
        return []
    for name in names:
        with contextlib.suppress(OSError):
            status = os.lstat(place + b"/" + name)
            listed.append((name, None if stat.S_ISDIR(status.st_mode) else status))
    return listed


def _status(each: os.DirEntry[bytes]) -> os.stat_result | None:
    return None if each.is_dir(follow_symlinks=False) else each.stat(follow_symlinks=False)


def _read(place: bytes) -> bytes | None:
    """Read a file of rules, as far as they are read; None where it is none or is gone."""
    try:
        descriptor = os.open(place, _RULES)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_RULES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _may_be_twins(new: Sequence[bytes], tracked: Collection[bytes]) -> bool:
    """Whether one of `new` may differ from another name in nothing but case; told in a moment."""
    there = b"/".join((*tracked, *new))
    if len(new) > FEW or not there.isascii():
        return True
    there = b"/%b/" % there.lower()
    return any(there.count(b"/%b/" % name.lower()) > 1 for name in new)


def _folded(name: bytes) -> bytes:
    return (
        name.lower() if name.isascii() else text(name).casefold().encode("utf-8", "surrogateescape")
    )


def _plain(name: str) -> str:
    return _IGNORED_BY_HFS.sub("", name).lower()
