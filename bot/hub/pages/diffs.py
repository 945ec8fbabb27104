"""Differences as rows that a page can show, from the hunks that git writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)")

Kind = Literal["hunk", "context", "add", "del", "note"]
Side = Literal["LEFT", "RIGHT"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a difference; `old` and `new` are its numbers on the two sides, from 1."""

    kind: Kind
    text: str
    old: int | None = None
    new: int | None = None

    @property
    def side(self) -> Side:
        """The side that a comment on this line stands on."""
        return "LEFT" if self.kind == "del" else "RIGHT"

    @property
    def line(self) -> int | None:
        """The line's number on its side."""
        return self.old if self.kind == "del" else self.new


def rows(patch: str) -> list[Row]:
    """The rows of one file's hunks (`FileChange.patch`, `ReviewComment.diff_hunk`)."""
    out: list[Row] = []
    old = new = 0
    for line in patch.split("\n"):
        if hunk := _HUNK.match(line):
            old, new = int(hunk[1]), int(hunk[2])
            out.append(Row("hunk", line))
        elif line.startswith("+"):
            out.append(Row("add", line[1:], None, new))
            new += 1
        elif line.startswith("-"):
            out.append(Row("del", line[1:], old, None))
            old += 1
        elif line.startswith("\\"):
            out.append(Row("note", line[2:]))
        else:
            out.append(Row("context", line[1:], old, new))
            old, new = old + 1, new + 1
    return out
