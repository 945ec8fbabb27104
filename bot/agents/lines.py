"""A program that says one JSON object a line, both ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from bot.agents.journal import Journal
from bot.agents.session import Broken
from bot.sandbox.model import Talk

MESSAGE_BYTES = 16 * 1024 * 1024
"""The longest message that is read: tools answer with whole files, and no source file is longer."""

MALFORMED = (AttributeError, KeyError, TypeError, ValueError)
"""What reading a message raises whose parts are not what they should be."""

GARBAGE_LINES = 200
"""Lines in a row that are no messages. Programs print warnings and banners; none prints so many."""


class Lines:
    """The conversation with one program; `trouble` says why it is over, `heard` counts messages.

    What it prints besides is noted, and passed over.
    """

    def __init__(self, talk: Talk, journal: Journal) -> None:
        self._talk = talk
        self._journal = journal
        self._garbage = 0
        self._sending = asyncio.Lock()
        self.heard = 0
        self.trouble = "ended in the middle of its turn"

    async def send(self, message: Mapping[str, Any]) -> None:
        """Say one thing; `Broken` when nobody listens any more."""
        data = json.dumps(message, separators=(",", ":"))
        self._journal.raw("to", data)
        async with self._sending:
            try:
                self._talk.writer.write(data.encode() + b"\n")
                await self._talk.writer.drain()
            except (ConnectionError, RuntimeError) as error:
                raise Broken(self.trouble) from error

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while (message := await self.next()) is not None:
            yield message

    def understood(self) -> None:
        """The last message made sense."""
        self._garbage = 0

    async def next(self, *, whole: bool = True) -> dict[str, Any] | None:
        """Wait for the next message; None at the end, also where nothing more makes sense."""
        while (read := await _line(self._talk.reader)) is not None:
            text = read.decode("utf-8", "replace").strip()
            if not text:
                continue
            message = _parsed(text)
            if message is not None:
                self.heard += 1
                if whole or not is_piece(message):
                    self._journal.raw("from", text)
                return message
            self._journal.note(text)
            if self.puzzled():
                return None
        return None

    def puzzled(self) -> bool:
        """Count what made no sense; True when it is too much."""
        self._garbage += 1
        if self._garbage >= GARBAGE_LINES:
            self.trouble = "prints what is no message of its protocol"
        return self._garbage >= GARBAGE_LINES


def is_piece(message: Mapping[str, Any]) -> bool:
    """Whether it is some syllables of a longer text, which the events hold whole."""
    params = message.get("params")
    update = params.get("update") if isinstance(params, dict) else None
    kind = update.get("sessionUpdate") if isinstance(update, dict) else None
    return kind in ("agent_message_chunk", "agent_thought_chunk")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if "\\ud" in text or "\\uD" in text:  # half a character, which nothing could write again
        whole = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
        message = json.loads(whole)
    return message if isinstance(message, dict) else None


async def _line(reader: asyncio.StreamReader) -> bytes | None:
    """Read one line, however short the reader's own buffer is; None at the end, or when it is too
    long for a message.
    """
    pieces: list[bytes] = []
    size = 0
    while size <= MESSAGE_BYTES:
        try:
            pieces.append(await reader.readuntil(b"\n"))
        except asyncio.LimitOverrunError as error:
            pieces.append(await reader.readexactly(error.consumed))
            size += error.consumed
        except asyncio.IncompleteReadError as error:
            pieces.append(error.partial)
            return b"".join(pieces) or None
        else:
            return b"".join(pieces)
    return None
