"""A job's output: raw to the log, clean and bounded to people."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
from collections import deque
from pathlib import Path

from bot.redact import redactor_of
from bot.sandbox.model import OnOutput

# GitHub takes 65,535 characters as a check's text; the rest is room for the words around the tail.
TAIL_CHARACTERS = 60_000
# A longer line is cut into pieces, so that one without an end cannot fill the memory.
LINE_CHARACTERS = 4_000

# ECMA-48: CSI sequences, OSC strings up to BEL or ST, and the two-character escapes.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]")
# C0 and C1 controls but the tab, line separators, and what turns the direction of text around.
_CONTROLS = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def clean(text: str) -> str:
    """Take terminal escapes and control characters out of one line; tabs stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def clean_lines(text: str) -> str:
    """Take terminal escapes and control characters out of a text of several lines."""
    return "\n".join(clean(line) for line in text.split("\n"))


class Output:
    """Takes bytes as they come and keeps what people may be shown.

    `limit` is in bytes; what comes after them is dropped and `full` becomes true. `log` is opened
    for appending, and never through a symbolic link. Neither shows any of `secrets`.
    """

    def __init__(
        self,
        limit: int,
        log: Path | None,
        on_line: OnOutput | None,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self.flooded = asyncio.Event()
        self._left = limit
        self._log = None if log is None else _open_log(log)
        self._on_line = on_line
        self._redacted = redactor_of(secrets).stream()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._partial = ""
        self._lines: deque[str] = deque()
        self._kept = 0

    @property
    def full(self) -> bool:
        """Whether more came than may; `flooded` is the same, to wait for."""
        return self.flooded.is_set()

    def count(self, data: bytes) -> bytes:
        """Count bytes towards the limit that go elsewhere; return those within it."""
        taken = data[: self._left]
        self._left -= len(taken)
        if len(taken) < len(data):
            self.flooded.set()
        return taken

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._show(self._redacted.feed(self.count(data)))

    def close(self) -> None:
        """Take what was begun as the last line, and close the log."""
        self._show(self._redacted.close())
        self._text(self._decoder.decode(b"", final=True))
        if self._partial:
            self._line(self._partial)
            self._partial = ""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def tail(self) -> str:
        """The last whole lines, at most `TAIL_CHARACTERS` characters."""
        return "\n".join(self._lines)

    def _show(self, data: bytes) -> None:
        if self._log is not None:
            _write_all(self._log, data)
        self._text(self._decoder.decode(data))

    def _text(self, text: str) -> None:
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._line(line)
        while len(self._partial) > LINE_CHARACTERS:
            self._line(self._partial[:LINE_CHARACTERS])
            self._partial = self._partial[LINE_CHARACTERS:]

    def _line(self, raw: str) -> None:
        # A progress bar draws over itself after each carriage return: the last drawing counts.
        line = clean(raw.rstrip("\r").rpartition("\r")[2])[:TAIL_CHARACTERS]
        self._lines.append(line)
        self._kept += len(line) + 1
        while self._kept > TAIL_CHARACTERS:
            self._kept -= len(self._lines.popleft()) + 1
        if self._on_line is not None:
            self._on_line(line)


def _open_log(log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(log, flags, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
