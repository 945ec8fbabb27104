"""Environments: what a repository's set-up made, kept as a layer that workspaces stand on.

`environments/<repository>/<key>/` holds `upper`, the files, and `made`, what they are. Whoever
makes one does it in a workspace of its own, under a lock, and what the workspace then has beside
the commit's files becomes the layer: moved, not copied. From then on nobody writes to it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bot.errors import Refused, TransientError

from . import quota
from .base import OWNED
from .names import is_git_name
from .pool import Call
from .program import text
from .removal import remove, remove_or_leave
from .repository import Mirror
from .trees import entry_of, is_folder
from .walk import root, trees_of
from .workspace import HOME, LAYERS, UPPER, Layer, Workspace, Workspaces, disk_use, standing_on

META = "made"
MAX_MADE = 2000
"""Places in a repository where a set-up may leave something: a workspace's scan looks each up, and
a large repository of many packages has a folder of dependencies in each."""
REMARKS = 20
"""Paths that are named of what a set-up changed of the commit's own files."""
IDLE_SECONDS = 3600.0
"""One used within this is never removed: whoever was told of it may not stand on it yet."""
LOCK_POLL = 0.1
"""Seconds between two looks at a lock that another maker holds; it takes minutes."""
LOCK_KEPT = 2 * 24 * 3600.0
"""Seconds after which nobody can still be waiting for a lock: a set-up takes six hours at most."""
SHORTEST = 6
"""Characters of a secret that is looked for: shorter ones are found by chance."""
_PREFIX = "setup-"
_REMOVED = ".removed-"

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Made:
    """What is known of an environment.

    paths: where it has files, each with all that is below, as text.
    env: variables for what runs on it. path: its folders of programs.
    dropped: files of the commit that the set-up changed, which is not kept.
    size: bytes on the disk; seconds: how long it took; at: when, since the epoch.
    """

    paths: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    size: int = 0
    seconds: float = 0.0
    at: float = 0.0

    def layer(self, folder: Path) -> Layer:
        """Return it as what lies under a workspace."""
        return Layer(folder / UPPER, self.paths)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment is made from, beside the commit.

    programs: the folders of programs, of which those that were made come on the path.
    secrets: texts that no file of it may hold.
    """

    key: str
    env: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()


Install = Callable[[Workspace, Path, asyncio.Event], Awaitable[bool]]
"""Installs into a workspace, with a home, until the event is set; says whether that went well."""


class Environments:
    """The environments of a server, below `folder`; made in workspaces below `runs`."""

    def __init__(
        self,
        folder: Path,
        runs: Path,
        workspaces: Workspaces,
        *,
        days: float,
        total_bytes: int,
    ) -> None:
        self._folder = folder
        self._runs = runs
        self._workspaces = workspaces
        self._seconds = days * 24 * 3600
        self._total = total_bytes

    def find(self, mirror: Mirror, key: str) -> tuple[Made, Layer] | None:
        """Return an environment and mark it as used; None where there is none."""
        folder = self._home(mirror) / key
        made = _read(folder)
        if made is None:
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)
        return made, made.layer(folder)

    async def make(
        self,
        mirror: Mirror,
        commit: str,
        recipe: Recipe,
        install: Install,
        *,
        stop: asyncio.Event,
        call: Call = asyncio.to_thread,
    ) -> Made | None:
        """Make an environment, unless somebody else does it meanwhile; None where it is not to be.

        That is so where `install` says so or `stop` is set. Raises Refused where what it left
        cannot be kept.
        """
        home = self._home(mirror)
        async with _locked(home, recipe.key, stop) as held:
            if not held:
                return None
            if found := await asyncio.to_thread(self.find, mirror, recipe.key):
                return found[0]
            return await self._make(mirror, commit, recipe, install, stop, call)

    async def _make(
        self,
        mirror: Mirror,
        commit: str,
        recipe: Recipe,
        install: Install,
        stop: asyncio.Event,
        call: Call,
    ) -> Made | None:
        name = f"{_PREFIX}{recipe.key}"
        begun = time.monotonic()
        opened = await self._workspaces.open(mirror, commit, name)
        try:
            # With the layers, so that one limit holds for both.
            home = self._runs / name / LAYERS / HOME
            await asyncio.to_thread(home.mkdir, mode=0o700, exist_ok=True)
            async with self._watched(name, stop) as halt:
                if not await install(opened, home, halt):
                    return None
            await self._workspaces.release(name)
            await asyncio.to_thread(remove, home)
            return await self._freeze(mirror, opened, recipe, begun, call)
        finally:
            await self._workspaces.close(name)
            await asyncio.to_thread(remove_or_leave, self._runs / name)

    async def _freeze(
        self, mirror: Mirror, opened: Workspace, recipe: Recipe, begun: float, call: Call
    ) -> Made:
        """Give what a workspace has beside the commit's files its place among the environments."""
        layers = opened.folder.parent / LAYERS
        upper = layers / UPPER
        paths, dropped = await call(
            sift, mirror, opened.tree, opened.changed, upper, opened.opaque, opened.whole
        )
        await _refuse_secrets(upper, recipe.secrets)
        made = Made(
            paths=paths,
            env=recipe.env,
            path=tuple(each for each in recipe.programs if (upper / each).is_dir()),
            dropped=dropped,
            size=await disk_use(upper),
            seconds=round(time.monotonic() - begun, 3),
            at=time.time(),
        )
        await asyncio.to_thread(_settle, layers, self._home(mirror) / recipe.key, made)
        return made

    @contextlib.asynccontextmanager
    async def _watched(self, name: str, stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set with `stop`, or when the disk's limit is reached.

        Raises Refused in the second case.
        """
        halt = asyncio.Event()
        home = self._runs / name / LAYERS / HOME
        full = asyncio.create_task(self._workspaces.too_large(name, home))
        stopped = asyncio.create_task(stop.wait())
        for each in (full, stopped):
            each.add_done_callback(lambda it: None if it.cancelled() else halt.set())
        try:
            yield halt
        finally:
            for each in (full, stopped):
                each.cancel()
            await asyncio.wait((full, stopped))
            if not full.cancelled() and full.exception() is None:
                raise Refused(
                    f"The set-up took {full.result() // 2**20} MiB of the disk, which is more than "
                    "the server allows."
                )

    def prune(self) -> list[str]:
        """Remove environments unused for long, and those longest unused where all are too large.

        Never one that a workspace stands on, or that was used a moment ago. Returns which went.
        """
        used = standing_on(self._runs)
        now = time.time()
        kept: list[tuple[float, int, Path]] = []
        gone: list[Path] = []
        for folder in _all(self._folder):
            made, at = _read(folder), _used_at(folder)
            if str(folder) in used or now - at < IDLE_SECONDS:
                continue
            if made is None or now - at > self._seconds:
                gone.append(folder)
            else:
                kept.append((at, made.size, folder))
        left = self.size()[1] - sum(_size(folder) for folder in gone)
        for _, size, folder in sorted(kept):
            if left <= self._total:
                break
            gone.append(folder)
            left -= size
        for folder in gone:
            _discard(folder)
        self._forget_locks()
        return [f"{folder.parent.name}/{folder.name}" for folder in gone]

    def size(self) -> tuple[int, int]:
        """Return how many environments there are, and how many bytes they take."""
        return total(self._folder)

    def sweep(self) -> None:
        """Remove what a killed process was making or removing; for who has the folders to itself.

        No mount of it is there any more.
        """
        for each in self._runs.glob(f"{_PREFIX}*"):
            remove_or_leave(each)
        for home in _listed(self._folder):
            for each in _listed(home):
                if each.name.startswith(_REMOVED):
                    _remove(each)

    def _forget_locks(self) -> None:
        """Remove the locks that nobody has asked for lately."""
        for lock in self._folder.glob("*/.*.lock"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > LOCK_KEPT:
                    lock.unlink()

    def _home(self, mirror: Mirror) -> Path:
        # Apart as bases are: who works on it must be the one that its files belong to.
        owner = self._workspaces.owner
        return self._folder / (mirror.path.stem + ("" if owner is None else f"{OWNED}{owner}"))


def total(folder: Path) -> tuple[int, int]:
    """Return how many environments lie below a folder, and how many bytes they take."""
    sizes = [_size(each) for each in _all(folder)]
    return len(sizes), sum(sizes)


def sift(
    mirror: Mirror, tree: str, changed: Path, upper: Path, opaque: str, whole: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Leave in `upper` only what `changed` has beside the files of `tree`, and no trace of others.

    Returns the paths of what is there, and some of the files of the tree that were changed. The
    two folders are one, unless `changed` is `whole` and has the tree's files as well.
    """
    upper.mkdir(exist_ok=True)
    sieve = _Sieve(mirror, os.fsencode(upper), opaque, whole)
    sieve.fold(os.fsencode(changed), b"", root(mirror, tree))
    if len(sieve.kept) > MAX_MADE:
        raise Refused(
            f"The set-up left files in {len(sieve.kept)} places of the repository, and {MAX_MADE} "
            "are the most that is kept: let it install into one folder."
        )
    return tuple(sieve.kept), tuple(sieve.dropped[:REMARKS])


class _Sieve:
    def __init__(self, mirror: Mirror, upper: bytes, opaque: str, whole: bool) -> None:
        self._trees = trees_of(mirror)
        self._upper = upper
        self._opaque = opaque
        self._whole = whole
        self.kept: list[str] = []
        self.dropped: list[str] = []

    def fold(self, place: bytes, path: bytes, tree: bytes | None) -> None:
        """Go through a folder that the tree has, too."""
        tracked = self._trees.entries(tree)
        if not self._whole:
            self._unmark(place, path)
        for name in sorted(os.listdir(place)):  # noqa: PTH208 - bytes
            inner, below = place + b"/" + name, path + b"/" + name if path else name
            status, before = os.lstat(inner), tracked.get(name)
            folder = stat.S_ISDIR(status.st_mode)
            if before is not None and is_folder(before) and folder:
                self.fold(inner, below, entry_of(before)[1])
            elif before is None and self._may_stay(name, status):
                self._keep(inner, below)
            elif not self._whole or before is None:
                self._drop(inner, below, folder=folder)
        if path and not self._whole:
            with contextlib.suppress(OSError):
                os.rmdir(place)  # noqa: PTH106 - bytes

    def _may_stay(self, name: bytes, status: os.stat_result) -> bool:
        whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
        return not whiteout and not is_git_name(text(name))

    def _keep(self, place: bytes, path: bytes) -> None:
        self.kept.append(text(path))
        if self._whole:
            target = self._upper + b"/" + path
            os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
            os.rename(place, target)  # noqa: PTH104 - bytes

    def _drop(self, place: bytes, path: bytes, *, folder: bool) -> None:
        self.dropped.append(text(path))
        if folder:
            remove(Path(os.fsdecode(place)))
        else:
            os.unlink(place)  # noqa: PTH108 - bytes

    def _unmark(self, place: bytes, path: bytes) -> None:
        """Let a folder that took another's place show what lies below it again."""
        with contextlib.suppress(OSError):
            os.removexattr(place, self._opaque, follow_symlinks=False)
            if path:
                self.dropped.append(text(path))


# -- the folder of a repository's environments


def _read(folder: Path) -> Made | None:
    try:
        kept: dict[str, Any] = json.loads((folder / META).read_bytes())
        for name in ("paths", "path", "dropped"):
            kept[name] = tuple(kept[name])
        made = Made(**kept)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return made if (folder / UPPER).is_dir() else None


def _settle(layers: Path, folder: Path, made: Made) -> None:
    """Move the layers of a workspace to where environments are, whole on the disk or not at all."""
    for each in layers.iterdir():
        if each.name != UPPER:
            remove(each) if each.is_dir() else each.unlink()
    (layers / META).write_text(json.dumps(asdict(made)))
    descriptor = os.open(layers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # What it took minutes to install outlives the machine's next start.
        _libc.syncfs(descriptor)
    finally:
        os.close(descriptor)
    layers.chmod(0o700)
    _discard(folder)
    layers.rename(folder)
    os.utime(folder)


def _discard(folder: Path) -> None:
    """Take an environment away at once, and then remove it."""
    doomed = folder.with_name(f"{_REMOVED}{folder.name}-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(doomed)
        _remove(doomed)


def _remove(doomed: Path) -> None:
    project = 0
    with contextlib.suppress(OSError):  # a file system without projects
        project = quota.project(doomed)
    remove_or_leave(doomed)
    if project:
        with contextlib.suppress(OSError):
            quota.lift(doomed.parent, project)


def _all(folder: Path) -> list[Path]:
    found = [each for home in _listed(folder) for each in _listed(home)]
    return [each for each in found if not each.name.startswith(".")]


def _size(folder: Path) -> int:
    made = _read(folder)
    return made.size if made else 0


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


async def _refuse_secrets(upper: Path, hidden: Collection[str]) -> None:
    """Raise Refused where a file holds a secret, as it is or in base64."""
    plain = [line for each in hidden for line in each.splitlines() if len(line) >= SHORTEST]
    if not plain:
        return
    coded = [base64.b64encode(each.encode()).decode().rstrip("=") for each in hidden]
    process = await asyncio.create_subprocess_exec(
        *("grep", "--recursive", "--files-with-matches", "--fixed-strings", "--text"),
        *("--max-count=1", "--file=-", "--", "."),
        cwd=upper,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate("\n".join([*plain, *coded]).encode())
    if process.returncode == 0:
        first = said.decode("utf-8", "replace").splitlines()[0].removeprefix("./")
        raise Refused(
            f"The set-up wrote a secret to `{first}`, where every run could read it: let it keep "
            "secrets in its home or in variables."
        )
    if process.returncode != 1:
        raise TransientError("The files of the environment could not be looked through.")


@contextlib.asynccontextmanager
async def _locked(home: Path, key: str, stop: asyncio.Event) -> AsyncIterator[bool]:
    """Hold the lock under which one environment is made, by any process; False where stopped.

    It dies with whoever holds it, so it needs no end of its own.
    """
    await asyncio.to_thread(home.mkdir, mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home / f".{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
        held = _try_lock(descriptor)
        while not held and not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOCK_POLL):
                    await stop.wait()
            held = _try_lock(descriptor)
        yield held and not stop.is_set()
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
