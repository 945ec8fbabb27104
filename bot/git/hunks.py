"""Where two versions of a file conflict, line by line.

Found from the differences to the base, and not from marks in a merged text: a file may have such
lines of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import pygit2

from bot.runs.ports import Hunk, Lines

LARGEST = 1024 * 1024
"""Bytes of a file whose lines are told: nobody resolves larger ones line by line."""
SHOWN = 3
"""Lines of each side that are shown: enough to find the place."""
LENGTH = 120
"""Characters of a line that are shown."""
MANY = 100
"""Conflicts of one file that are told."""


class _Edit(NamedTuple):
    """Lines of the base, from 0, that one side has replaced by `size` of its own."""

    start: int
    end: int
    size: int


def hunks(
    repo: pygit2.Repository, base: pygit2.Oid | None, ours: pygit2.Oid, theirs: pygit2.Oid
) -> tuple[Hunk, ...]:
    """Say which lines of two versions of a file conflict; nothing of what has no lines.

    Without a base, those in which they differ.
    """
    blobs = [repo.get(oid) if oid else None for oid in (base, ours, theirs)]
    if not all(blob is None or _has_lines(blob) for blob in blobs):
        return ()
    was, one, other = (blob.data if isinstance(blob, pygit2.Blob) else b"" for blob in blobs)
    if base is None:
        return tuple(_differences(one, other))[:MANY]
    return tuple(_conflicts(was, one, other))[:MANY]


def _has_lines(found: pygit2.Object) -> bool:
    return isinstance(found, pygit2.Blob) and found.size <= LARGEST and not found.is_binary


def _differences(ours: bytes, theirs: bytes) -> Iterator[Hunk]:
    mine, yours, shift = ours.split(b"\n"), theirs.split(b"\n"), 0
    for edit in _edits(ours, theirs):
        start = edit.start + shift
        yield Hunk(_lines(mine, edit.start, edit.end - edit.start), _lines(yours, start, edit.size))
        shift += edit.size - (edit.end - edit.start)


def _conflicts(base: bytes, ours: bytes, theirs: bytes) -> Iterator[Hunk]:
    """Yield where edits of both sides overlap or touch, unless both did the same."""
    texts, shifts = (ours.split(b"\n"), theirs.split(b"\n")), [0, 0]
    for start, end, edits in _clusters(_edits(base, ours), _edits(base, theirs)):
        told, mine = [], []
        for side in (0, 1):
            grown = sum(edit.size - (edit.end - edit.start) for edit in edits[side])
            first, count = start + shifts[side], end - start + grown
            shifts[side] += grown
            told.append(_lines(texts[side], first, count))
            mine.append(texts[side][first : first + count])
        if edits[0] and edits[1] and mine[0] != mine[1]:
            yield Hunk(told[0], told[1])


_Cluster = tuple[int, int, tuple[list[_Edit], list[_Edit]]]
"""A stretch of the base, and the edits of either side that make it up."""


def _clusters(ours: Sequence[_Edit], theirs: Sequence[_Edit]) -> Iterator[_Cluster]:
    """Join the edits that overlap or touch, in the order of the base."""
    tagged = sorted(chain(((e, 0) for e in ours), ((e, 1) for e in theirs)))
    current: _Cluster | None = None
    for edit, side in tagged:
        if current is None or edit.start > current[1]:
            if current is not None:
                yield current
            current = (edit.start, edit.end, ([], []))
        current[2][side].append(edit)
        current = (current[0], max(current[1], edit.end), current[2])
    if current is not None:
        yield current


def _edits(old: bytes, new: bytes) -> list[_Edit]:
    patch = pygit2.Patch.create_from(old, new, context_lines=0)
    found = []
    for hunk in patch.hunks:
        # git names the line before the place where nothing was.
        start = hunk.old_start - 1 if hunk.old_lines else hunk.old_start
        found.append(_Edit(start, start + hunk.old_lines, hunk.new_lines))
    return found


def _lines(text: Sequence[bytes], start: int, count: int) -> Lines:
    shown = text[start : start + min(count, SHOWN)]
    return Lines(
        start + 1, count, tuple(each.decode("utf-8", "replace")[:LENGTH] for each in shown)
    )
