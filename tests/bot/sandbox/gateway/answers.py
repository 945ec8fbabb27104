"""Answers of models as the makers write them, each with what it took."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bot.sandbox.gateway import counting
from bot.sandbox.gateway.counting import Count, Reader

EVENTS = "text/event-stream; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """One answer: its text, how it is read, and what it says that it took."""

    name: str
    reader: Reader
    kind: str
    body: bytes
    count: Count


def events(
    items: Iterable[Any], *, named: bool = True, end: str = "\n", done: bool = False
) -> bytes:
    text = ""
    for item in items:
        if named:
            text += f"event: {item['type']}{end}"
        text += f"data: {json.dumps(item)}{end}{end}"
    return (text + (f"data: [DONE]{end}{end}" if done else "")).encode()


CLAUDE: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [],
            "usage": {
                "input_tokens": 12,
                "cache_creation_input_tokens": 300,
                "cache_read_input_tokens": 2000,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 200,
                    "ephemeral_1h_input_tokens": 100,
                },
                "output_tokens": 1,
            },
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": 'a "usage": ünd \r\n'},
    },
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 56},
    },
    {"type": "message_stop"},
]
CLAUDE_COUNT = Count(
    model="claude-sonnet-4-5-20250929",
    input_tokens=12,
    output_tokens=56,
    cached_tokens=2000,
    cache_write_tokens=200,
    cache_write_hour_tokens=100,
    told=True,
    whole=True,
)

_CHAT_USAGE = {
    "prompt_tokens": 1234,
    "completion_tokens": 56,
    "total_tokens": 1290,
    "prompt_tokens_details": {"cached_tokens": 1000},
    "completion_tokens_details": {"reasoning_tokens": 20},
}


def chunk(delta: dict[str, Any] | None, usage: Any = None) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None}]
    made = {"object": "chat.completion.chunk", "model": "gpt-5.2-2026-01-01", "choices": choices}
    return {**made, "usage": usage}


CHAT = [chunk({"role": "assistant"}), chunk({"content": "hi"}), chunk(None, _CHAT_USAGE)]
CHAT_COUNT = Count(
    model="gpt-5.2-2026-01-01",
    input_tokens=234,
    output_tokens=56,
    cached_tokens=1000,
    told=True,
    whole=True,
)

_RESPONSE: dict[str, Any] = {
    "object": "response",
    "model": "gpt-6.2-sol",
    "status": "completed",
    "service_tier": "default",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
    "usage": {
        "input_tokens": 6000,
        "input_tokens_details": {"cached_tokens": 4000, "cache_write_tokens": 500},
        "output_tokens": 70,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 6070,
    },
}
RESPONSES: list[dict[str, Any]] = [
    {
        "type": "response.created",
        "response": {**_RESPONSE, "status": "in_progress", "usage": None},
    },
    {"type": "response.output_text.delta", "delta": "hi"},
    {"type": "response.completed", "response": _RESPONSE},
]
RESPONSES_COUNT = Count(
    model="gpt-6.2-sol",
    input_tokens=1500,
    output_tokens=70,
    cached_tokens=4000,
    cache_write_tokens=500,
    told=True,
    whole=True,
)


def _part(text: str, usage: dict[str, int], finish: str = "") -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


GEMINI = [
    _part("a", {"promptTokenCount": 900, "totalTokenCount": 900}),
    _part("b", {"promptTokenCount": 900, "candidatesTokenCount": 3, "totalTokenCount": 903}),
    _part(
        "c",
        {
            "promptTokenCount": 900,
            "toolUsePromptTokenCount": 10,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 40,
            "cachedContentTokenCount": 600,
            "totalTokenCount": 955,
        },
        "STOP",
    ),
]
GEMINI_COUNT = Count(
    model="gemini-2.5-flash",
    input_tokens=310,
    output_tokens=45,
    cached_tokens=600,
    told=True,
    whole=True,
)

_MESSAGE = {
    **CLAUDE[0]["message"],
    "usage": {**CLAUDE[0]["message"]["usage"], "output_tokens": 56},
}
_COMPLETION = {"object": "chat.completion", "model": "gpt-5.2-2026-01-01", "choices": [{}]}

STREAMS = (
    Answer("anthropic", counting.anthropic, EVENTS, events(CLAUDE), CLAUDE_COUNT),
    Answer("anthropic, crlf", counting.anthropic, EVENTS, events(CLAUDE, end="\r\n"), CLAUDE_COUNT),
    Answer("chat", counting.chat, EVENTS, events(CHAT, named=False, done=True), CHAT_COUNT),
    Answer("responses", counting.responses, EVENTS, events(RESPONSES), RESPONSES_COUNT),
    Answer("gemini", counting.gemini, EVENTS, events(GEMINI, named=False), GEMINI_COUNT),
)
WHOLES = (
    Answer("anthropic", counting.anthropic, JSON, json.dumps(_MESSAGE).encode(), CLAUDE_COUNT),
    Answer(
        "chat",
        counting.chat,
        JSON,
        json.dumps({**_COMPLETION, "usage": _CHAT_USAGE}).encode(),
        CHAT_COUNT,
    ),
    Answer("responses", counting.responses, JSON, json.dumps(_RESPONSE).encode(), RESPONSES_COUNT),
    Answer("gemini", counting.gemini, JSON, json.dumps(GEMINI[-1]).encode(), GEMINI_COUNT),
    Answer("gemini, array", counting.gemini, JSON, json.dumps(GEMINI).encode(), GEMINI_COUNT),
)
