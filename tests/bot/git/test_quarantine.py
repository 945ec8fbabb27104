from __future__ import annotations

import pytest

from bot.git import quarantine
from bot.git.mirror import Mirror, fetch
from bot.git.remote import Remote

from .conftest import sh


@pytest.fixture
def refused(mirror: Mirror, head: str) -> str:
    commit = sh(mirror.path, "commit-tree", "-p", head, "-m", "Refused", f"{head}^{{tree}}")
    quarantine.keep(mirror, "abc", 2, commit)
    return commit


def test_what_was_refused_is_kept_by_turn_until_it_is_dropped(
    mirror: Mirror, head: str, refused: str
) -> None:
    quarantine.keep(mirror, "abc", 2, refused)
    quarantine.keep(mirror, "abc", 3, head)
    quarantine.keep(mirror, "abcd", 1, head)
    assert quarantine.kept(mirror, "abc") == {2: refused, 3: head}
    quarantine.keep(mirror, "abc", 2, head)
    assert quarantine.kept(mirror, "abc") == {2: head, 3: head}
    quarantine.drop(mirror, "abc")
    quarantine.drop(mirror, "abc")
    assert quarantine.kept(mirror, "abc") == {}
    assert quarantine.kept(mirror, "abcd") == {1: head}


async def test_a_fetch_leaves_it_and_a_collection_too(
    mirror: Mirror, remote: Remote, refused: str
) -> None:
    await fetch(mirror, remote)
    sh(mirror.path, "gc", "-q", "--prune=now")
    assert sh(mirror.path, "cat-file", "-t", refused) == "commit"
