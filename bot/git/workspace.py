"""Plain files of a commit in a folder of their own, without a `.git`, and their removal.

The index that tells which files have changed lies outside the folder: what writes to the folder
cannot touch it, and git never reads configuration, hooks or attributes that it should not.
"""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from .program import git
from .repository import Mirror

LIFTED = ".lifted-"
"""How folders are named that a removal has lifted."""


async def create(mirror: Mirror, commit: str, folder: Path, index: Path) -> None:
    """Write the files of `commit` to `folder`, and what git knows of them to the file `index`.

    Line ends and attributes are as git has them; submodules are empty folders. The folder appears
    when it is complete. Raises FileExistsError where it is there already, Refused where git will
    not write a commit's names to a disk (`.git` and its spellings).
    """
    assert not index.is_relative_to(folder), "the index must lie outside the workspace"
    making = folder.with_name(f".{folder.name}.making")
    await asyncio.to_thread(_clear, folder, making, index)
    # An empty index and an empty folder: git finds nothing there that it could follow out.
    await git("read-tree", "--end-of-options", commit, git_dir=mirror.path, index=index)
    await git(
        "checkout-index",
        "--all",
        "--index",
        git_dir=mirror.path,
        work_tree=making,
        index=index,
    )
    making.rename(folder)


def remove(folder: Path) -> None:
    """Remove a folder and all below it, however deep and whatever its modes; absent is done.

    Nothing may write to it meanwhile. Links are removed, not followed.
    """
    doomed = folder.with_name(f".{folder.name}.removing")
    if doomed.is_dir():  # of a removal that was killed
        _empty(doomed)
        doomed.rmdir()
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    _empty(doomed)
    doomed.rmdir()


def _clear(folder: Path, making: Path, index: Path) -> None:
    if folder.exists():
        raise FileExistsError(folder)
    remove(making)
    making.mkdir(parents=True)
    index.parent.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)
    index.with_name(index.name + ".lock").unlink(missing_ok=True)


def _empty(top: Path) -> None:
    """Empty `top` by lifting each folder found to its first level.

    No path grows with the depth of the tree, which a program can make longer than any path may be.
    """
    top.chmod(0o700)
    lifted = _next_number(top)
    pending = [top]
    while pending:
        folder = pending.pop()
        for entry in list(folder.iterdir()):
            if not stat.S_ISDIR(entry.lstat().st_mode):
                entry.unlink()
                continue
            entry.chmod(0o700)  # a folder's own mode forbids moving it, too
            pending.append(entry.rename(top / f"{LIFTED}{lifted}"))
            lifted += 1
        if folder != top:
            folder.rmdir()


def _next_number(top: Path) -> int:
    """Return a number that no name in `top` has yet, be it from a removal that was killed."""
    names = [entry.name for entry in top.iterdir()]
    numbers = [name.removeprefix(LIFTED) for name in names if name.startswith(LIFTED)]
    return max((int(n) for n in numbers if n.isascii() and n.isdecimal()), default=-1) + 1
