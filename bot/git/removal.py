"""Removal of folders that a program may have filled with traps: deep trees, odd modes, links."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

LIFTED = ".lifted-"
"""How folders are named that a removal has lifted."""

DOOMED = ".removing"
"""How the name of a folder ends from when its removal begins."""


def remove(folder: Path) -> None:
    """Remove a folder and all below it, however deep and whatever its modes; absent is done.

    Nothing may write to it meanwhile. Links are removed, not followed.
    """
    is_doomed = folder.name.endswith(DOOMED)  # named so by a removal that was killed
    doomed = folder if is_doomed else folder.with_name(f".{folder.name}{DOOMED}")
    if doomed.is_dir():
        _empty(doomed)
        doomed.rmdir()
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    _empty(doomed)
    doomed.rmdir()


def remove_or_leave(folder: Path) -> None:
    """Remove a folder as `remove` does; one that something still writes to is left to the next.

    A program that outlived a killed server may: git for some seconds, a job without a sandbox.
    """
    with contextlib.suppress(OSError):
        remove(folder)


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
