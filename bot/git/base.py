"""Read-only checkouts, one for each tree, that workspaces stand on.

`bases/<repository>/<tree>/` holds `files` and `meta`, and `bases/<repository>/<commit>` is a link
to its tree's folder. Where a tree near by has one, the new one is the difference: only the files
that differ, and a whiteout (a device 0:0, as overlay mounts have it) for each that is gone. The
files are written by the git program, so that line ends and attributes are as git has them. Where
what Git LFS keeps of a tree is not to be had, its base has pointers, and lies apart, in
`bases/<repository>.pointers/`: it is not taken for the tree once more is to be had. Bases whose
files belong to another user than this one lie apart, too, in `bases/<repository>.of-<uid>/`.

Bases are a cache. Nothing of them is flushed to the disk, so one made before the machine last
started is made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import json
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bot.errors import OperatorError, TransientError

from . import lfs, shelf
from .lfs import Pointer
from .program import LOCAL_TIMEOUT, git, raw, text
from .removal import remove
from .repository import Mirror

FILES, META, INDEX = "files", "meta", "index"
ATTRIBUTES = ".gitattributes"
POINTERS = ".pointers"
"""How the folder's name ends with bases without what Git LFS keeps."""
OWNED = ".of-"
"""How it goes on with bases whose files belong to another user."""
MAX_LAYERS = 8
"""Layers of one base: each is a look-up more for a file that is not there, and a path more in the
mount's options, of which one page is all that there is."""
MAX_SHARE = 0.25
"""Changed files of a difference, of all: past that a full checkout costs little more."""
NEAR_COMMITS = 1000
"""Ancestors of a commit among which one with a base is looked for; `git rev-list` lists as many in
some 10 ms."""
KEPT = 4
"""Bases of one repository that stay though nobody uses them: those of the branches worked on."""
IDLE_SECONDS = 3600.0
"""A base used within this is never removed: whoever was given it may not have mounted it yet."""
LOCK_SECONDS = 2 * LOCAL_TIMEOUT
"""The longest that one checkout may take, and another."""
LOCK_POLL = 0.01
"""Seconds between two looks at a lock that another maker holds."""

_FOLDER, _SUBMODULE, _ABSENT = b"040000", b"160000", b"000000"
# What a filter cannot make of a file stays as the repository has it.
_LENIENT = ("-c", "filter.lfs.required=false")
_UNFILTERED = (*_LENIENT, "-c", "filter.lfs.process=")
_LOCK, _MAKING = ".lock", ".making-"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


Fetch = Callable[[], Awaitable[bool]]
"""Brings in what Git LFS keeps of the files that are wanted; says whether all of it is here."""


@dataclass(frozen=True, slots=True)
class Base:
    """The checkout of `tree`, in folders that make it up, the top one first; perhaps `made` now."""

    tree: str
    layers: tuple[Path, ...]
    made: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the difference of two trees; a mode of `000000` says that there is none."""

    old_mode: bytes
    new_mode: bytes
    sha: bytes
    path: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes a difference: entries to `write` for git, and paths to hide by a whiteout."""

    write: tuple[Change, ...]
    hide: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Meta:
    """What is kept of a base: its layers' trees, how many files it has, its attribute files.

    An attribute file is a mode, an id and a path; `lfs` says that they name Git LFS, and `boot` is
    the machine's start that it is of.
    """

    layers: list[str]
    files: int
    attributes: list[list[str]]
    lfs: bool
    boot: str


class _Lacking(Exception):
    """Git LFS keeps files of the tree, and they are not here."""


async def layers(
    bases: Path,
    mirror: Mirror,
    commit: str,
    fetch: Fetch | None = None,
    owner: int | None = None,
) -> Base:
    """Return the base of `commit`, or of a tree; made where it is absent.

    Its files belong to the user `owner`, so that one of that name can change what stands on it;
    None for this process's own. It appears when it is complete; who asks meanwhile waits for the
    one who makes it. `fetch` is called where Git LFS keeps files of it that are not here. Raises
    Refused where the commit is absent, or git does not write such names to a disk.
    """
    home = bases / (mirror.path.stem + ("" if owner is None else f"{OWNED}{owner}"))
    if found := await asyncio.to_thread(_warm, home, commit):
        return found
    apart = home.with_name(home.name + POINTERS)
    if (found := await asyncio.to_thread(_warm, apart, commit)) and not (fetch and await fetch()):
        return found
    try:
        return await _layers(home, mirror, commit, owner, whole=fetch is not None)
    except _Lacking:
        # Not under the lock: it may take long.
        here = fetch is not None and await fetch()
    return await _layers(home if here else apart, mirror, commit, owner, whole=False)


async def _layers(
    home: Path, mirror: Mirror, commit: str, owner: int | None, *, whole: bool
) -> Base:
    """Find or make the base of a commit; raises _Lacking where it is to be `whole` and is not."""
    asked = ("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")
    tree = (await git(*asked, git_dir=mirror.path)).decode().strip()
    async with _locked(home):
        made = not await asyncio.to_thread(_ready, home, tree)
        if made:
            await _make(home, mirror, commit, tree, owner, whole=whole)
        await asyncio.to_thread(_link, home, commit, tree)
    found = await asyncio.to_thread(_warm, home, tree)
    if found is None:
        raise TransientError("The files of the commit were removed while they were written.")
    return replace(found, made=made)


async def check_out(
    mirror: Mirror,
    tree: str,
    files: Path,
    index: Path,
    kept: Mapping[bytes, Pointer] | None = None,
    *,
    pointers: bool = False,
) -> None:
    """Write the files of `tree` to the new folder `files`, and its index to `index`.

    Submodules are empty folders; modes are 0644 and 0755 whatever this process's umask. `kept` says
    what Git LFS keeps; what is not here of it is a pointer, and with `pointers` all of it.
    """
    # An empty index and an empty folder: git finds nothing there that it could follow out.
    await git("read-tree", "--end-of-options", tree, git_dir=mirror.path, index=index)
    await asyncio.to_thread(files.mkdir)
    if pointers:
        there = functools.partial(git, git_dir=mirror.path, work_tree=files, index=index)
        await there(*_UNFILTERED, "checkout-index", "--all")
    else:
        await _write_out(mirror, files, index, kept or {})
    await _open_modes(files)


async def changes(mirror: Mirror, old: str, new: str) -> list[Change]:
    """Compare two trees, folders included."""
    listed = await git(
        "diff-tree",
        *("-r", "-t", "-z", "--raw", "--no-renames", "--no-abbrev", "--end-of-options"),
        old,
        new,
        git_dir=mirror.path,
    )
    return await asyncio.to_thread(_changes, listed)


def plan(found: Iterable[Change]) -> Plan:
    """Say what a folder above the old tree must hold to show the new one."""
    found = list(found)
    there = {each.path: each.new_mode for each in found if each.new_mode != _ABSENT}
    gone = {each.path for each in found if (each.old_mode, each.new_mode) == (_FOLDER, _ABSENT)}

    def hidden_with_its_folder(path: bytes) -> bool:
        above = path.rpartition(b"/")[0]
        # A submodule is a folder above a folder, through which the files below would be seen.
        return above in gone and there.get(above) != _SUBMODULE

    write = [each for each in found if each.new_mode not in (_FOLDER, _ABSENT)]
    hide = [each.path for each in found if each.new_mode == _ABSENT]
    return Plan(tuple(write), tuple(path for path in hide if not hidden_with_its_folder(path)))


def prune(home: Path, used: Collection[str]) -> None:
    """Remove the bases of one repository that are not new, nor of trees `used`, nor stood on."""
    metas = _metas(home)
    recent = sorted(metas, key=lambda tree: _used_at(home, tree), reverse=True)
    since = time.time() - IDLE_SECONDS
    kept = {*recent[:KEPT], *used, *(tree for tree in metas if _used_at(home, tree) > since)}
    kept |= {below for tree in kept & metas.keys() for below in metas[tree].layers}
    found = [each for each in _listed(home) if not each.name.startswith(".")]
    for each in found:
        if not each.is_symlink() and each.name not in kept:
            _discard(each)
    for each in found:
        if each.is_symlink() and not each.exists():
            each.unlink(missing_ok=True)


def unfinished(bases: Path) -> list[Path]:
    """List what was being made or removed; for who has the folder to itself."""
    found = [each for home in _listed(bases) for each in _listed(home)]
    return [each for each in found if each.name.startswith(".") and each.name != _LOCK]


@functools.cache
def boot() -> str:
    """Name this start of the machine."""
    return _BOOT.read_text().strip() if _BOOT.is_file() else ""


# -- making


async def _make(
    home: Path, mirror: Mirror, commit: str, tree: str, owner: int | None, *, whole: bool
) -> None:
    """Make the base of `tree`, as a difference where that is near to one that is there."""
    # A name of its own: a git process that outlived a killed maker may still write to that one's.
    making = home / f"{_MAKING}{secrets.token_hex(4)}"
    try:
        for near in await _near(home, mirror, commit):
            await asyncio.to_thread(_clear, making)
            if meta := await _difference(home, mirror, near, tree, making, whole=whole):
                break
        else:
            await asyncio.to_thread(_clear, making)
            meta = await _full(mirror, tree, making, whole=whole)
        if owner is not None:
            await give(making / FILES, owner)
        await asyncio.to_thread(_finish, making, home / tree, meta)
    finally:
        await asyncio.to_thread(remove, making)


async def _near(home: Path, mirror: Mirror, commit: str) -> list[str]:
    """Name the trees that a difference may stand on: the nearest ancestor's, the last one used."""
    metas = await asyncio.to_thread(_metas, home)
    if not metas:
        return []
    listed = await git(
        "rev-list",
        f"--max-count={NEAR_COMMITS}",
        "--end-of-options",
        commit,
        git_dir=mirror.path,
        accept=(0, 128),  # a tree has no ancestors
    )
    trees = await asyncio.to_thread(_linked, home, listed.decode().split())
    nearest = next((tree for tree in trees if tree in metas), None)
    last = max(metas, key=lambda tree: _used_at(home, tree))
    piles = [metas[tree].layers for tree in (nearest, last) if tree]
    # One more on the highest pile allowed would be too many: then on what that stands on.
    return list(dict.fromkeys(p[0] if len(p) < MAX_LAYERS else p[-1] for p in piles))


async def _full(mirror: Mirror, tree: str, making: Path, *, whole: bool) -> _Meta:
    files, index = making / FILES, making / INDEX
    await git("read-tree", "--end-of-options", tree, git_dir=mirror.path, index=index)
    listed = await git(
        "ls-files",
        *("--stage", "-z", "--", f":(top,glob)**/{ATTRIBUTES}"),
        git_dir=mirror.path,
        work_tree=making,
        index=index,
    )
    entries = [line.partition(b"\t") for line in listed.split(b"\0") if line]
    attributes = [[*about.decode().split()[:2], text(path)] for about, _, path in entries]
    named = await lfs.are_named(mirror, [sha for _, sha, _ in attributes])
    kept = await lfs.in_tree(mirror, tree) if named else {}
    if whole and await _lacks(mirror, kept):
        raise _Lacking
    await check_out(mirror, tree, files, index, kept)
    await asyncio.to_thread(shelf.write, mirror, tree)
    return _Meta([tree], _count(index), attributes, named, boot())


async def _difference(
    home: Path, mirror: Mirror, near: str, tree: str, making: Path, *, whole: bool
) -> _Meta | None:
    """Write to `making` what `tree` has other than `near`; None where that is not worth it."""
    below = await asyncio.to_thread(_read, home, near)
    if below is None:
        return None
    found = await changes(mirror, near, tree)
    files = [each for each in found if _FOLDER not in (each.old_mode, each.new_mode)]
    # Where attributes differ, files that do not may be written in another way.
    told = any(_name(each.path) == raw(ATTRIBUTES) for each in files)
    if told or len(files) > MAX_SHARE * below.files:
        return None
    await asyncio.to_thread(os.utime, home / near)  # or it could be removed meanwhile
    planned = plan(found)
    kept = await _kept(mirror, planned) if below.lfs else {}
    if whole and await _lacks(mirror, kept):
        raise _Lacking
    await _write(mirror, below.attributes, planned.write, kept, making)
    try:
        await asyncio.to_thread(_hide, making / FILES, planned.hide)
    except PermissionError:  # before Linux 5.8 only root may make a whiteout
        return None
    await _open_modes(making / FILES)
    added = sum(each.old_mode == _ABSENT for each in files)
    gone = sum(each.new_mode == _ABSENT for each in files)
    count = below.files + added - gone
    return _Meta([tree, *below.layers], count, below.attributes, below.lfs, boot())


async def _kept(mirror: Mirror, planned: Plan) -> dict[bytes, Pointer]:
    """Say which files to be written Git LFS keeps."""
    blobs = {each.path: each.sha.decode() for each in planned.write if each.new_mode != _SUBMODULE}
    found = await lfs.pointers(mirror, [*blobs.values()])
    return {path: found[sha] for path, sha in blobs.items() if sha in found}


async def _lacks(mirror: Mirror, kept: Mapping[bytes, Pointer]) -> bool:
    return len(await asyncio.to_thread(_here, mirror, kept)) < len(kept)


def _here(mirror: Mirror, kept: Mapping[bytes, Pointer]) -> list[bytes]:
    return [path for path, each in kept.items() if lfs.is_here(mirror, each)]


async def _write(
    mirror: Mirror,
    attributes: list[list[str]],
    changed: Collection[Change],
    kept: Mapping[bytes, Pointer],
    making: Path,
) -> None:
    """Let git write `changed`, by an index that has nothing else but the attribute files."""
    files, index = making / FILES, making / INDEX
    await asyncio.to_thread(files.mkdir)
    if not changed:
        return
    lines = [f"{mode} {sha}\t".encode() + raw(path) for mode, sha, path in attributes]
    lines += [b"%s %s\t%s" % (each.new_mode, each.sha, each.path) for each in changed]
    told = b"\0".join(lines) + b"\0"
    asked = ("update-index", "-z", "--index-info")
    await git(*asked, git_dir=mirror.path, work_tree=files, index=index, input=told)
    await _write_out(mirror, files, index, kept, [each.path for each in changed])


async def _write_out(
    mirror: Mirror,
    files: Path,
    index: Path,
    kept: Mapping[bytes, Pointer],
    paths: Iterable[bytes] | None = None,
) -> None:
    """Let git write files of an index, all of them or those at some paths.

    Those that Git LFS keeps are written in a second go where not all are here: git-lfs takes its
    time over each that it has not.
    """

    async def write(*how: str, paths: Iterable[bytes] | None) -> None:
        which = ("--all",) if paths is None else ("-z", "--stdin")
        named = None if paths is None else b"".join(path + b"\0" for path in paths)
        asked = (*how, "checkout-index", "--force", *which)
        await git(*asked, git_dir=mirror.path, work_tree=files, index=index, input=named)

    here = await asyncio.to_thread(_here, mirror, kept)
    await write(*(_LENIENT if len(here) == len(kept) else _UNFILTERED), paths=paths)
    if here and len(here) < len(kept):
        await write(*_LENIENT, paths=here)


def _hide(files: Path, paths: Iterable[bytes]) -> None:
    """Lay a whiteout at each path that nothing else has taken."""
    top = os.fsencode(files)
    for path in paths:
        place = top + b"/" + path
        os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120 - names are bytes
        with contextlib.suppress(FileExistsError):
            os.mknod(place, stat.S_IFCHR | 0o644, os.makedev(0, 0))


async def _open_modes(files: Path) -> None:
    """Undo what this process's umask, or a rule of the folder's file system, took away or gave."""
    mode = stat.S_IMODE((await asyncio.to_thread(files.stat)).st_mode)
    if mode == 0o755:
        return
    process = await asyncio.create_subprocess_exec(
        *("chmod", "-R", "u=rwX,go=rX", str(files)),
        stdin=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise OperatorError(f"The modes of files in {files} cannot be set: look at its owner.")


async def give(files: Path, owner: int) -> None:
    """Let a folder and all in it belong to the user `owner`, and to the group of that number."""
    process = await asyncio.create_subprocess_exec(
        *("chown", "--recursive", "--no-dereference", f"{owner}:{owner}", "--", str(files)),
        stdin=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise OperatorError(
            f"The files in {files} cannot be given to the user {owner}: look at its file system."
        )


def _changes(listed: bytes) -> list[Change]:
    fields = listed.split(b"\0")
    found = []
    for about, path in zip(fields[::2], fields[1::2], strict=False):
        old_mode, new_mode, _, sha, _ = about.removeprefix(b":").split()
        if (old_mode, new_mode) != (_SUBMODULE, _SUBMODULE):  # an empty folder, as it was
            found.append(Change(old_mode, new_mode, sha, path))
    return found


# -- the folder of a repository's bases


def _warm(home: Path, name: str) -> Base | None:
    """Find the base of a commit or tree, and mark it as used."""
    tree = name
    with contextlib.suppress(OSError):
        tree = (home / name).readlink().name
    meta = _read(home, tree)
    if meta is None:
        return None
    os.utime(home / tree)
    return Base(tree, tuple(home / each / FILES for each in meta.layers))


def _read(home: Path, tree: str) -> _Meta | None:
    """Read what is kept of a base; None where it is absent, in pieces, or of an earlier start."""
    try:
        meta = _Meta(**json.loads((home / tree / META).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    whole = meta.boot == boot() and all((home / each / FILES).is_dir() for each in meta.layers)
    return meta if whole else None


def _ready(home: Path, tree: str) -> bool:
    """Whether there is a base of `tree`; one that cannot be used is taken away."""
    if _read(home, tree):
        return True
    _discard(home / tree)
    return False


def _finish(making: Path, made: Path, meta: _Meta) -> None:
    (making / INDEX).unlink(missing_ok=True)
    (making / META).write_text(json.dumps(asdict(meta)))
    making.rename(made)


def _link(home: Path, commit: str, tree: str) -> None:
    if commit != tree:
        with contextlib.suppress(FileExistsError):
            (home / commit).symlink_to(tree)


def _linked(home: Path, commits: Iterable[str]) -> list[str]:
    """Name the trees of those commits that have a link."""
    links = {each.name: each.readlink().name for each in _listed(home) if each.is_symlink()}
    return [links[commit] for commit in commits if commit in links]


def _metas(home: Path) -> dict[str, _Meta]:
    names = [each.name for each in _listed(home) if not each.is_symlink()]
    return {name: meta for name in names if (meta := _read(home, name))}


def _used_at(home: Path, tree: str) -> float:
    try:
        return (home / tree).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _discard(folder: Path) -> None:
    """Remove a base, if nobody else does; it is gone at once, whatever is left of it by a kill."""
    doomed = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(doomed)
        remove(doomed)


def _clear(making: Path) -> None:
    remove(making)
    making.mkdir()


def _listed(home: Path) -> list[Path]:
    try:
        return list(home.iterdir())
    except FileNotFoundError:
        return []


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _count(index: Path) -> int:
    """Read the number of entries from an index's header: a signature, a version, the number."""
    with index.open("rb") as file:
        return int.from_bytes(file.read(12)[8:])


@contextlib.asynccontextmanager
async def _locked(home: Path) -> AsyncIterator[None]:
    """Hold the one lock under which a repository's bases are made, by any process.

    One at a time: who waits for a checkout can then stand on it.
    """
    await asyncio.to_thread(home.mkdir, parents=True, exist_ok=True)
    descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                while not _try_lock(descriptor):  # noqa: ASYNC110 - another process holds it
                    await asyncio.sleep(LOCK_POLL)
        except TimeoutError as error:
            raise TransientError("The disk is busy with another checkout.") from error
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
