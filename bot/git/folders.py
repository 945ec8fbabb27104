"""The files below a folder, while others add and remove some."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[Path]:
    """Yield each file below a folder; one that goes meanwhile may be yielded, or not.

    `Path.rglob` fails where a folder is removed under it.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


def loose_objects(repository: Path) -> Iterator[Path]:
    """Yield the objects of a repository that have files of their own."""
    for number in range(256):
        yield from files_below(repository / "objects" / f"{number:02x}")
