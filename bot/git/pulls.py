"""The heads of pull requests that no run made, brought in one at a time and by number."""

from __future__ import annotations

from .locks import writing
from .mirror import Mirror, is_blobless
from .refs import set_ref, tip
from .remote import Remote
from .transfer import fetch


def ref_of(number: int) -> str:
    """Name the ref of ours that keeps a pull request's head while it is worked on."""
    return f"refs/trusted/{number}"


async def bring(mirror: Mirror, remote: Remote, number: int) -> str | None:
    """Bring in the head of a pull request, from wherever it came; return it as it is now.

    GitHub has the head of each at `refs/pull/NUMBER/head`, those of forks as well.
    """
    ref = ref_of(number)
    async with writing(mirror.path) as lock:
        blobless = is_blobless(mirror)
        source = f"+refs/pull/{number}/head:{ref}"
        await fetch(mirror.path, remote, source, blobless=blobless, lock=lock)
    return tip(mirror, ref)


def drop(mirror: Mirror, number: int) -> None:
    """Keep the head of a pull request no longer; what was dropped before stays so."""
    now = tip(mirror, ref_of(number))
    if now is not None:
        set_ref(mirror, ref_of(number), None, now)
