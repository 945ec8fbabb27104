"""How much one checkpoint may change."""

from __future__ import annotations

from collections.abc import Iterable

from policies.config import Config
from policies.facts import Change
from policies.sections import Limits
from policies.verdict import Verdict, all_of, counted

RULE = "limits"
MEGABYTE = 1_000_000


def check_limits(changes: Iterable[Change], config: Config) -> Verdict:
    """Judge the changed files, lines and binary files by number, the new content by bytes."""
    changed = tuple(changes)
    limits = config.limits
    verdict = all_of(
        RULE,
        (
            _files(len(changed), limits.files),
            _bytes(sum(change.size for change in changed), limits.megabytes),
            _lines(sum(change.added + change.deleted for change in changed), limits.lines),
            _binaries(sum(change.binary and change.size > 0 for change in changed), limits),
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


def _lines(number: int, most: int) -> Verdict:
    if number <= most:
        return Verdict(True, "lines", f"{counted(number, 'line')} changed, of at most {most:,}.")
    return Verdict(
        False,
        "lines",
        f"{counted(number, 'line')} changed, and one checkpoint may change {most:,}. Ask for a"
        " smaller part of the work, or have a maintainer raise `limits: lines:`.",
    )


def _binaries(number: int, limits: Limits) -> Verdict:
    files, most = counted(number, "binary file"), limits.binaries
    if number <= most:
        return Verdict(True, "binaries", f"{files} added or changed, of at most {most:,}.")
    return Verdict(
        False,
        "binaries",
        f"{files} added or changed, and one checkpoint may have {most:,}. Keep built files out, or"
        " have a maintainer raise `limits: binaries:`.",
    )
