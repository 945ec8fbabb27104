"""Edits as an agent makes them: of ten files seven changed, one added, one deleted, one renamed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["change", "add", "delete", "rename"]

_CHANGES: tuple[Kind, ...] = ("change",) * 7
_KINDS: tuple[Kind, ...] = (*_CHANGES, "add", "delete", "rename")


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit: of the file `path`, with `number` in what is written or in the new name."""

    kind: Kind
    path: str
    number: int

    @property
    def new(self) -> str:
        """The name that an addition or a renaming gives."""
        return f"{self.path}.{self.number:x}"


def planned(files: Sequence[str], k: int, rng: random.Random) -> list[Edit]:
    """Choose `k` of the files and what to do to each; the same `rng` gives the same."""
    chosen = rng.sample(files, k)
    return [
        Edit(_KINDS[number % len(_KINDS)], path, rng.getrandbits(40))
        for number, path in enumerate(chosen)
    ]


def apply(root: Path, edits: Iterable[Edit]) -> None:
    """Make the edits in the files below `root`."""
    for edit in edits:
        file = root / edit.path
        if edit.kind == "change":
            with file.open("ab") as opened:
                opened.write(b"\n// change %x\n" % edit.number)
        elif edit.kind == "add":
            (root / edit.new).write_bytes(b"// new %x\n" % edit.number + file.read_bytes())
        elif edit.kind == "delete":
            file.unlink()
        else:
            file.rename(root / edit.new)


def touched(edits: Iterable[Edit]) -> list[str]:
    """Name the files that were there before, of those that were edited."""
    return [edit.path for edit in edits]
