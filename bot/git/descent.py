"""Files opened by their paths from an open folder, so that no link leads out on the way.

A path is gone down name by name, each folder opened in the one above it and by no link. The folders
of the last path stay open: a file beside the last one costs one call, as it does by its whole path.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""How a folder is opened: nothing else in its place, and what no link leads to."""


class Descent:
    """A way down from the folder `top`, which must be closed."""

    def __init__(self, top: Path) -> None:
        self._above = b""
        self._names: list[bytes] = []
        self._open = [os.open(top, FOLDER)]

    def __enter__(self) -> Descent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def open(self, path: bytes, flags: int) -> int:
        """Open the file at a path from the top; raises OSError, also where a folder is a link."""
        above, _, name = path.rpartition(b"/")
        if above != self._above:
            self._go(above)
        return os.open(name, flags, dir_fd=self._open[-1])

    def _go(self, above: bytes) -> None:
        names = above.split(b"/") if above else []
        pairs = zip(names, self._names, strict=False)
        common = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
        if common is None:
            common = min(len(names), len(self._names))
        while len(self._names) > common:
            os.close(self._open.pop())
            self._names.pop()
        for name in names[common:]:
            self._open.append(os.open(name, FOLDER, dir_fd=self._open[-1]))
            self._names.append(name)
        self._above = above
