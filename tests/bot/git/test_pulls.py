from __future__ import annotations

from pathlib import Path

from bot.git import pulls, refs
from bot.git.mirror import Mirror, fetch
from bot.git.objects import exists
from bot.git.remote import Remote
from tests.bot.git.conftest import commit_all, sh


async def test_the_head_of_a_fork_is_brought_in_by_number_and_forgotten(
    origin: Path, mirror: Mirror, remote: Remote
) -> None:
    sh(origin, "checkout", "-q", "--detach")
    strange = commit_all(origin, "Strange")
    sh(origin, "update-ref", "refs/pull/7/head", strange)
    sh(origin, "checkout", "-q", "main")
    await fetch(mirror, remote)
    assert not exists(mirror, strange)
    assert await pulls.bring(mirror, remote, 7) == strange
    assert refs.tip(mirror, "refs/heads/main") is None
    # Whatever else is brought in leaves it, and a push to it moves it.
    await fetch(mirror, remote)
    assert refs.tip(mirror, pulls.ref_of(7)) == strange
    main = sh(origin, "rev-parse", "main")
    sh(origin, "update-ref", "refs/pull/7/head", main)
    assert await pulls.bring(mirror, remote, 7) == main
    pulls.drop(mirror, 7)
    pulls.drop(mirror, 7)
    assert refs.tip(mirror, pulls.ref_of(7)) is None
