"""How much one checkpoint may change."""

from __future__ import annotations

from collections.abc import Iterable

from policies.config import Config
from policies.facts import Change
from policies.verdict import Verdict, all_of, counted

RULE = "limits"
MEGABYTE = 1_000_000


def check_limits(changes: Iterable[Change], config: Config) -> Verdict:
    """Judge the number of changed files and the size in bytes of their new content."""
    changed = tuple(changes)
    limits = config.limits
    verdict = all_of(
        RULE,
        (
            _files(len(changed), limits.files),
            _bytes(sum(change.size for change in changed), limits.megabytes),
        ),
    )
    if verdict.allowed:
        return Verdict(True, RULE, "The change is within the limits.", verdict.children)
    return verdict


def _files(number: int, most: int) -> Verdict:
    if number <= most:
        return Verdict(True, "files", f"{counted(number, 'file')} changed, of at most {most:,}.")
    return Verdict(
        False,
        "files",
        f"{counted(number, 'file')} changed, and one checkpoint may change {most:,}. Ask for a"
        " smaller part of the work, or have a maintainer raise `limits: files:`.",
    )


def _bytes(number: int, megabytes: int) -> Verdict:
    if number <= megabytes * MEGABYTE:
        return Verdict(
            True, "size", f"{number:,} bytes of new content, of at most {megabytes:,} MB."
        )
    return Verdict(
        False,
        "size",
        f"{number:,} bytes of new content, and one checkpoint may hold {megabytes:,} MB. Keep"
        " built and downloaded files out, or have a maintainer raise `limits: megabytes:`.",
    )
