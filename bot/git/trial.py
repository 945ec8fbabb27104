"""What opening a workspace costs on this machine, by opening some."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from .overlay import Means
from .program import git
from .removal import remove
from .repository import Mirror
from .workspace import PROBES, Workspaces

FILES = 100
"""Of the repository tried with: only where a workspace is a copy does it matter how many."""
ROUNDS = 5


async def cost(runs: Path, means: Means) -> float:
    """Return how many milliseconds a workspace of FILES files takes below `runs`, where it can."""
    place = Path(tempfile.mkdtemp(prefix=PROBES, dir=runs))
    workspaces = Workspaces(place / "runs", place / "bases", means)
    try:
        mirror = Mirror(place / "1.git")
        await git("init", "--bare", "--quiet", "--template=", str(mirror.path))
        await git("fast-import", "--quiet", git_dir=mirror.path, input=_history())
        commit = (await git("rev-parse", "refs/heads/trial", git_dir=mirror.path)).decode().strip()
        taken = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            await workspaces.open(mirror, commit, "trial")
            taken.append(time.perf_counter() - begun)
        return min(taken) * 1000
    finally:
        await workspaces.close("trial")
        await workspaces.stop()
        remove(place)


def _history() -> bytes:
    """A commit on the branch `trial`, for `git fast-import`."""
    files = [f"M 100644 inline {n // 10}/{n}.txt\ndata 2\n{n % 10}\n" for n in range(FILES)]
    return f"commit refs/heads/trial\ncommitter T <t@t> 0 +0000\ndata 0\n{''.join(files)}".encode()
