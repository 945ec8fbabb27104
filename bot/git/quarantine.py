"""Candidates that the rules refused: kept on this machine, and never pushed.

Each has a ref `refs/quarantine/<run>/<turn>`, so that no upkeep takes it, and what is good of it
can still become a checkpoint.
"""

from __future__ import annotations

from . import refs
from .repository import Mirror, open_repository

PREFIX = "refs/quarantine/"


def keep(mirror: Mirror, run: str, turn: int, commit: str) -> None:
    """Keep the candidate of a turn; a later look at the same turn takes its place."""
    ref = f"{PREFIX}{run}/{turn}"
    refs.set_ref(mirror, ref, commit, refs.tip(mirror, ref))


def kept(mirror: Mirror, run: str) -> dict[int, str]:
    """Return the commits that are kept of a run, by turn."""
    repo = open_repository(mirror)
    found = repo.references.iterator()
    names = [ref.name for ref in found if ref.name.startswith(f"{PREFIX}{run}/")]
    tips = {int(name.rpartition("/")[2]): refs.tip(mirror, name) for name in names}
    return {turn: sha for turn, sha in tips.items() if sha is not None}


def drop(mirror: Mirror, run: str) -> None:
    """Let go of all that is kept of a run; none is done."""
    for turn, sha in kept(mirror, run).items():
        refs.set_ref(mirror, f"{PREFIX}{run}/{turn}", None, sha)
