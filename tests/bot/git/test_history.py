"""What a file was before, as the branch itself had it."""

from __future__ import annotations

from pathlib import Path

from bot.git import history, objects
from bot.git.mirror import fetch
from bot.git.remote import Remote
from bot.git.repository import Mirror

from .conftest import commit_all, sh


async def test_earlier_versions_are_told_newest_first_without_the_present_one(
    mirror: Mirror, origin: Path, remote: Remote
) -> None:
    made = {}
    for text in ("one", "two", "two", "", "one"):
        file = origin / "set.yml"
        file.write_text(text) if text else file.unlink()
        made[text] = commit_all(origin)
    # What was tried on a branch and taken back there was never on this one.
    sh(origin, "checkout", "-q", "-b", "side")
    (origin / "set.yml").write_text("side")
    side = commit_all(origin)
    (origin / "set.yml").write_text("three")
    commit_all(origin)
    sh(origin, "checkout", "-q", "-")
    sh(origin, "merge", "-q", "--no-ff", "-m", "Merged", "side")
    (origin / "other.txt").write_text("other")
    tip = commit_all(origin)
    await fetch(mirror, remote)

    found = history.versions(mirror, tip, "set.yml")
    texts = [objects.read_blob(mirror, each.blob, 100).decode() for each in found]
    assert texts == ["one", "two", "one"]
    assert [each.commit for each in found][:2] == [made["one"], made["two"]]
    assert all(history.is_followed(mirror, each, tip) for each in (*made.values(), tip))
    assert not history.is_followed(mirror, side, tip), "what was merged never was the branch"
    assert not history.is_followed(mirror, tip, made["one"]), "what comes later"
    assert history.versions(mirror, tip, "absent.yml") == []
    assert history.versions(mirror, tip, "") == []
