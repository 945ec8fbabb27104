"""Who wrote commits and who signed them off, as their own words say."""

from __future__ import annotations

import re

import pygit2
from pygit2.enums import SortMode

from policies.facts import Commit

from .refs import tip
from .repository import Mirror, commit_of, open_repository

_SIGNED_OFF = re.compile(rb"^Signed-off-by:[^\n<]*<([^<>\n]+)>[ \t\r]*$", re.I | re.M)


def pushed(mirror: Mirror, head: str, new: str, base: str) -> tuple[Commit, ...]:
    """Read the commits of `new` that neither `head` nor the remote's branch `base` has."""
    repo = open_repository(mirror)
    walker = repo.walk(commit_of(repo, new).id, SortMode.TOPOLOGICAL)
    for known in (head, tip(mirror, f"refs/remotes/origin/{base}")):
        if known is not None:
            walker.hide(commit_of(repo, known).id)
    return tuple(_read(each) for each in walker)


def _read(commit: pygit2.Commit) -> Commit:
    found = _SIGNED_OFF.findall(commit.raw_message)
    return Commit(
        sha=str(commit.id),
        author=commit.author.raw_name.decode("utf-8", "replace"),
        address=commit.author.raw_email.decode("utf-8", "replace"),
        signed_off_by=tuple(each.decode("utf-8", "replace") for each in found),
        is_merge=len(commit.parent_ids) > 1,
    )
