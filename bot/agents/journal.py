"""What is kept of a turn: the raw conversation, the events, and the lines that people read.

Beside `turn-1.log`, which people read, lie `turn-1.events.jsonl` and `turn-1.raw.jsonl`. All of it
passes one redaction. What an agent says in pieces is put together again before it is written: a
secret cut in two would otherwise pass, and nobody reads syllables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from bot.agents.events import Event, Message, Note, Plan, ToolCall, as_json, line
from bot.sandbox.output import LINE_CHARACTERS, clean

REPEATS = 25
"""The same call with the same input so often in a row, with no other between, is a loop. Waiting
for something by looking again and again is rarer than that, and a model that is stuck is not."""

EVENTS_SUFFIX = ".events.jsonl"
RAW_SUFFIX = ".raw.jsonl"

WORDS_KEPT = 4_000
"""Characters of the agent's last words that are kept for its report."""

Redact = Callable[[str], str]


class Journal:
    """Takes events and raw lines; knows when the agent last did something, and whether it loops.

    `log` is the file that people read; without it nothing is written. `limit` is in bytes of all
    three files together: what comes after is heard, and not kept.
    """

    def __init__(
        self,
        log: Path | None,
        *,
        limit: int,
        redact: Redact = str,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self._log = None if log is None else _open(log)
        self._events = None if log is None else _open(beside(log, EVENTS_SUFFIX))
        self._raw = None if log is None else _open(beside(log, RAW_SUFFIX))
        self._left = limit
        self._redact = redact
        self._on_line = on_line or (lambda _: None)
        self._pieces: list[str] = []
        self._said = 0
        self._thought = False
        self._calls: dict[str, str] = {}
        self._last_call = ""
        self._repeats = 0
        self._plan: Plan | None = None
        self.looping = ""
        self.at = monotonic()
        self.tools = 0
        self.words = ""

    def touch(self) -> None:
        """The agent is alive."""
        self.at = monotonic()

    def raw(self, direction: str, message: str) -> None:
        """Keep one message as it went over the line: `to` the agent, or `from` it."""
        self.touch()
        if self._raw is not None:
            self._write(self._raw, json.dumps({direction: self._redact(message)}))

    def take(self, event: Event) -> None:
        """Take the next event."""
        self.touch()
        if isinstance(event, Message):
            self._piece(event)
            return
        self.flush()
        if isinstance(event, ToolCall):
            event = self._call(event)
        if isinstance(event, Plan):
            if event == self._plan:
                return
            self._plan = event
        self._tell(event)

    def note(self, text: str) -> None:
        """Say something on our own behalf."""
        self.take(Note(text))

    def flush(self) -> None:
        """Write what the agent was saying."""
        text = "".join(self._pieces).strip("\n")
        self._pieces, self._said = [], 0
        if text.strip():
            if not self._thought:
                self.words = text[-WORDS_KEPT:]
            self._tell(Message(text, self._thought))

    def close(self) -> None:
        """Write what is left, and close the files."""
        self.flush()
        for descriptor in (self._log, self._events, self._raw):
            if descriptor is not None:
                os.close(descriptor)
        self._log = self._events = self._raw = None

    def _piece(self, message: Message) -> None:
        if message.thought is not self._thought:
            self.flush()
            self._thought = message.thought
        self._pieces.append(message.text)
        self._said += len(message.text)
        if self._said > LINE_CHARACTERS:
            self.flush()

    def _call(self, call: ToolCall) -> ToolCall:
        """Count a call once, whatever is told of it later."""
        if call.id in self._calls:
            return call
        self._calls[call.id] = call.same
        self.tools += 1
        same = call.same or f"{call.kind} {call.title}"
        self._repeats = self._repeats + 1 if same == self._last_call else 1
        self._last_call = same
        if self._repeats >= REPEATS:
            self.looping = call.title
        return call

    def _tell(self, event: Event) -> None:
        if self._events is not None:
            self._write(self._events, self._redact(json.dumps(as_json(event))))
        for each in line(event).split("\n"):
            shown = self._redact(clean(each))[:LINE_CHARACTERS]
            if shown.strip():
                self._on_line(shown)
                if self._log is not None:
                    self._write(self._log, shown)

    def _write(self, descriptor: int, text: str) -> None:
        data = text.encode("utf-8", "replace") + b"\n"
        if len(data) <= self._left:
            self._left -= len(data)
            os.write(descriptor, data)


def beside(log: Path, suffix: str) -> Path:
    """Name the file that belongs to a turn's log."""
    return log.with_suffix(suffix)


def read_events(log: Path) -> list[dict[str, Any]]:
    """Read the events of a turn again."""
    file = beside(log, EVENTS_SUFFIX)
    return [json.loads(each) for each in file.read_text().splitlines()] if file.exists() else []


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)
