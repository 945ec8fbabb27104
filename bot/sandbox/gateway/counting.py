"""Tokens, read from the answers of models as they pass. Pure: bytes in, counts out.

An answer is JSON, or a stream of server-sent events that may be cut anywhere. What is not
understood is left out and marked; it never raises.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

EVENT_BYTES: Final = 8 * 1024**2  # of one event; the whole answer is in the last one of Responses
ANSWER_BYTES: Final = 32 * 1024**2  # of one JSON answer: twice 128,000 tokens with their logprobs
_USUAL_TIERS: Final = frozenset({"", "auto", "default", "standard", "flex", "batch"})
_SAME_TIERS: Final = {"priority": "fast"}  # one tier, by its old name and its new one
TOKENS_MAX: Final = 10**9  # no answer tells more; a larger number is not a count

# Most events are a few words of text: those without any of these tell nothing that is read here.
_TELLING: Final = (b"usage", b"error", b"message_stop", b"finishReason", b"blockReason")
# Blank lines end an event. None begins another, so that every cutting of a stream reads the same.
_BLANK: Final = re.compile(rb"\n\n|\r\n\r\n|\r\r|\n\r\n")
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_OVERLAP: Final = 3  # bytes of a blank line that may have come before


@dataclass(frozen=True, slots=True)
class Count:
    """What one answer says that it took; the kinds of tokens are disjoint.

    tier: a dearer way of being served, empty for the usual one.
    told: usage was found; whole: the answer came to its end.
    """

    model: str = ""
    tier: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_hour_tokens: int = 0
    told: bool = False
    whole: bool = False

    @property
    def prompt_tokens(self) -> int:
        """All that was read; long prompts cost more with some models."""
        written = self.cache_write_tokens + self.cache_write_hour_tokens
        return self.input_tokens + self.cached_tokens + written


# Adds what one JSON object of an answer tells; the flag says that it is the answer as a whole.
Reader = Callable[[Count, Mapping[str, Any], bool], Count]


def anthropic(count: Count, data: Mapping[str, Any], alone: bool) -> Count:
    """Read a message, or an event of one: usage is in the first and, cumulative, near the end."""
    kind = data.get("type")
    if kind == "message_stop":
        return replace(count, whole=True)
    message = _mapping(data.get("message")) if kind == "message_start" else data
    usage = message.get("usage")
    if not isinstance(usage, Mapping):
        return count
    written = _mapping(usage.get("cache_creation"))
    hour = _number(written, "ephemeral_1h_input_tokens")
    return replace(
        count,
        model=_text(message.get("model")) or count.model,
        tier="fast" if usage.get("speed") == "fast" else count.tier,
        input_tokens=max(count.input_tokens, _number(usage, "input_tokens")),
        output_tokens=max(count.output_tokens, _number(usage, "output_tokens")),
        cached_tokens=max(count.cached_tokens, _number(usage, "cache_read_input_tokens")),
        cache_write_tokens=max(
            count.cache_write_tokens,
            _less(_number(usage, "cache_creation_input_tokens"), hour),
        ),
        cache_write_hour_tokens=max(count.cache_write_hour_tokens, hour),
        told=True,
        whole=count.whole or alone,
    )


def chat(count: Count, data: Mapping[str, Any], alone: bool) -> Count:
    """Read a chat completion or a chunk of one: usage is in the last, which has no choices."""
    usage = data.get("usage")
    count = replace(
        count,
        model=_text(data.get("model")) or count.model,
        tier=tier_of(data) or count.tier,
    )
    if not isinstance(usage, Mapping):
        return count
    read = _number(usage, "prompt_tokens")
    details = _mapping(usage.get("prompt_tokens_details"))
    return _openai(
        count,
        usage,
        read=read,
        written=_number(usage, "completion_tokens"),
        details=details,
        whole=count.whole or alone or not data.get("choices"),
    )


def responses(count: Count, data: Mapping[str, Any], alone: bool) -> Count:
    """Read a response, or an event that holds one: the last does, with its usage."""
    kind = _text(data.get("type"))
    answer = data if alone else _mapping(data.get("response"))
    count = replace(
        count,
        model=_text(answer.get("model")) or count.model,
        tier=tier_of(answer) or count.tier,
    )
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return count
    return _openai(
        count,
        usage,
        read=_number(usage, "input_tokens"),
        written=_number(usage, "output_tokens"),
        details=_mapping(usage.get("input_tokens_details")),
        whole=alone or kind in {"response.completed", "response.incomplete", "response.failed"},
    )


def gemini(count: Count, data: Mapping[str, Any], alone: bool) -> Count:
    """Read an answer or a part of one: each tells the usage until then, so the last counts."""
    ended = bool(_mapping(data.get("promptFeedback")).get("blockReason"))
    candidates = data.get("candidates")
    if isinstance(candidates, list):
        ended = ended or any(_mapping(each).get("finishReason") for each in candidates)
    count = replace(
        count,
        model=_text(data.get("modelVersion")) or count.model,
        whole=count.whole or alone or ended,
    )
    usage = data.get("usageMetadata")
    if not isinstance(usage, Mapping):
        return count
    cached = _number(usage, "cachedContentTokenCount")
    read = _number(usage, "promptTokenCount") + _number(usage, "toolUsePromptTokenCount")
    written = _number(usage, "candidatesTokenCount") + _number(usage, "thoughtsTokenCount")
    return replace(
        count,
        input_tokens=_less(read, cached),
        cached_tokens=cached,
        output_tokens=max(written, _less(_number(usage, "totalTokenCount"), read)),
        told=True,
    )


def _openai(
    count: Count,
    usage: Mapping[str, Any],
    *,
    read: int,
    written: int,
    details: Mapping[str, Any],
    whole: bool,
) -> Count:
    cached = _number(details, "cached_tokens")
    stored = _number(details, "cache_write_tokens")
    # Some servers leave reasoning out of the tokens written and have it in the total alone.
    total = _less(_number(usage, "total_tokens"), read)
    return replace(
        count,
        input_tokens=_less(read, cached + stored),
        cached_tokens=cached,
        cache_write_tokens=stored,
        output_tokens=max(written, total),
        told=True,
        whole=whole,
    )


def tier_of(data: Mapping[str, Any]) -> str:
    """Return the dearer tier of OpenAI that a request or an answer names, if it does."""
    tier = _text(data.get("service_tier"))
    return "" if tier in _USUAL_TIERS else _SAME_TIERS.get(tier, tier)


def _number(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value <= TOKENS_MAX else 0


def _less(whole: int, part: int) -> int:
    return max(0, whole - part)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class Events:
    """Cuts a stream into its events, each with the blank line that ends it."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._seen = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the events that `data` completes."""
        self._held += data
        while found := _BLANK.search(self._held, max(0, self._seen - _OVERLAP)):
            yield bytes(self._held[: found.end()])
            del self._held[: found.end()]
            self._seen = 0
        self._seen = len(self._held)

    @property
    def held(self) -> int:
        """How many bytes of an event that is not complete there are."""
        return len(self._held)

    def rest(self) -> bytes:
        """What came after the last blank line; it is forgotten."""
        left = bytes(self._held)
        self._held.clear()
        self._seen = 0
        return left


def data_of(event: bytes) -> bytes:
    """Return the data of one event, its lines joined."""
    lines = [line[5:].removeprefix(b" ") for line in _LINE.split(event) if line[:5] == b"data:"]
    return b"\n".join(lines)


class Meter:
    """Counts one answer while it passes."""

    def __init__(self, reader: Reader, content_type: str, encoding: str = "") -> None:
        self._reader = reader
        self._count = Count()
        self._events = Events() if "text/event-stream" in content_type.lower() else None
        self._body = bytearray()
        self._lost = False
        self._decoder = decoder(encoding)
        self._cut = False
        if self._decoder is None:
            self._lost = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes, as they came."""
        if self._lost or self._decoder is None:
            return
        decoded = self._decoder(data)
        if decoded is None:
            self._lose()
        elif self._events is not None:
            for event in self._events.feed(decoded):
                self._event(event)
            if self._events.held > EVENT_BYTES:
                self._lose()
        elif len(self._body) + len(decoded) > ANSWER_BYTES:
            self._lose()
        else:
            self._body += decoded

    def done(self) -> Count:
        """Return the count, once no more comes."""
        if self._events is not None:
            self._event(self._events.rest())
        elif self._body:
            self._whole_body()
        whole = self._count.whole and not self._lost and not self._cut
        return replace(self._count, whole=whole)

    def _lose(self) -> None:
        self._lost = True
        self._body.clear()
        if self._events is not None:
            self._events.rest()

    def _event(self, event: bytes) -> None:
        data = data_of(event)
        if data.strip() == b"[DONE]":
            self._count = replace(self._count, whole=True)
        elif any(mark in data for mark in _TELLING):
            self._read(data, alone=False)

    def _whole_body(self) -> None:
        self._read(bytes(self._body), alone=True)
        self._body.clear()

    def _read(self, data: bytes, *, alone: bool) -> None:
        parsed = parse(data)
        if isinstance(parsed, list):  # Gemini streams an array where no events are asked for
            for each in parsed:
                self._add(each, alone)
        else:
            self._add(parsed, alone)

    def _add(self, parsed: Any, alone: bool) -> None:
        if not isinstance(parsed, Mapping):
            return
        if parsed.get("type") == "error" or parsed.get("error"):
            self._cut = True
        self._count = self._reader(self._count, parsed, alone)


def parse(data: bytes) -> Any:
    """Return what the JSON says, or None when it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def decoder(encoding: str) -> Callable[[bytes], bytes | None] | None:
    """Return what undoes a content encoding, piece by piece; None for one that is not known.

    The function returns None for pieces that are damaged or grow beyond reason.
    """
    names = [name.strip() for name in encoding.lower().split(",") if name.strip()]
    names = [name for name in names if name != "identity"]
    if not names:
        return lambda data: data
    if names not in (["gzip"], ["x-gzip"], ["deflate"]):
        return None
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

    def undo(data: bytes) -> bytes | None:
        try:
            made = unzip.decompress(data, ANSWER_BYTES)
        except zlib.error:
            return None
        return None if unzip.unconsumed_tail else made

    return undo


class HideUsage:
    """Takes the usage that we asked for out of a chat stream, for a client that did not."""

    def __init__(self) -> None:
        self._events = Events()
        self._open = False

    def feed(self, data: bytes) -> bytes:
        """Return what of the stream the client may have now."""
        if self._open:
            return data
        passed = b"".join(event for event in self._events.feed(data) if not _only_usage(event))
        if self._events.held > EVENT_BYTES:
            self._open = True
            passed += self._events.rest()
        return passed

    def rest(self) -> bytes:
        """Return what is left at the end."""
        left = self._events.rest()
        return b"" if _only_usage(left) else left


def _only_usage(event: bytes) -> bool:
    if b'"usage"' not in event:
        return False
    data = parse(data_of(event))
    return isinstance(data, Mapping) and bool(data.get("usage")) and data.get("choices") == []
