"""The logs of a run: what each turn and check was given and printed, in files that only we read.

`turn-N.prompt.md` is what the agent was told, `turn-N.log` what it printed, and what lies beside it
under the same name its events; `check-N-NAME.log` is a check's output on checkpoint N. Nothing in
them is older than the operator wants it to be, and nothing longer.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_TURN = re.compile(r"turn-([0-9]+)\b")


def write_log(path: Path, text: str) -> None:
    """Write a file among the logs, in place of one of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not through a link: the folder is ours, and stays so if it ever is not.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="replace") as file:
        file.write(text)


def turn_of(path: Path) -> int | None:
    """Return the turn that a log belongs to; None for a check's."""
    found = _TURN.match(path.name)
    return int(found[1]) if found else None


def files(folder: Path, turn: int | None = None) -> list[Path]:
    """Return the logs in the order in which they were written, or those of one turn."""
    found = [path for path in folder.glob("*") if path.is_file() and not path.is_symlink()]
    if turn is not None:
        found = [path for path in found if turn_of(path) == turn]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def prune(runs: Path, days: float) -> int:
    """Remove the logs below the folder of all runs that are older than `days`; say how many."""
    found = old(runs, days)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def old(runs: Path, days: float) -> list[Path]:
    """Return the logs below the folder of all runs that are older than `days`."""
    oldest = time.time() - days * 24 * 3600
    return [path for path in runs.glob("*/logs/*") if path.lstat().st_mtime < oldest]
