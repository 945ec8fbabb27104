"""How people name the points of a run: a checkpoint's number, its SHA, `base` or `head`."""

from __future__ import annotations

from bot.errors import UserError
from bot.runs.model import Checkpoint, Run

SHA_LEAST = 7
"""Characters of a SHA that name a commit: what git itself shows."""


def checkpoint_named(run: Run, text: str) -> Checkpoint | None:
    """Return the checkpoint that `text` means, or None for the base; `UserError` for neither."""
    if not run.checkpoints:
        raise UserError("This run has no checkpoint yet.")
    name = text.strip().lower()
    if name == "base" or (len(name) >= SHA_LEAST and run.start_sha.startswith(name)):
        return None
    if name == "head":
        return run.checkpoints[-1]
    for checkpoint in run.checkpoints:
        if name == str(checkpoint.number):
            return checkpoint
        if len(name) >= SHA_LEAST and checkpoint.sha.startswith(name):
            return checkpoint
    last = run.checkpoints[-1].number
    raise UserError(f"There is no checkpoint `{text}`: give a number from 1 to {last}, or `base`.")


def ends(run: Run, text: str) -> tuple[str, str]:
    """Return the two commits that `A..B`, one point, or nothing means for a comparison."""
    if ".." in text:
        left, _, right = text.partition("..")
        return _sha(run, left.strip(".") or "base"), _sha(run, right.strip(".") or "head")
    if not text:
        return run.start_sha, _sha(run, "head")
    point = checkpoint_named(run, text)
    if point is None:
        raise UserError("The base is where the run began; compare it with one: `base..1`.")
    return point.parent, point.sha


def _sha(run: Run, text: str) -> str:
    point = checkpoint_named(run, text)
    return point.sha if point else run.start_sha
