from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.sandbox.gateway import counting
from bot.sandbox.gateway.counting import Count, Events, HideUsage, Meter, Reader
from tests.bot.sandbox.gateway.answers import (
    CHAT,
    CLAUDE,
    CLAUDE_COUNT,
    EVENTS,
    GEMINI,
    JSON,
    RESPONSES,
    STREAMS,
    WHOLES,
    Answer,
    chunk,
    events,
)


def counted(reader: Reader, kind: str, *pieces: bytes, encoding: str = "") -> Count:
    meter = Meter(reader, kind, encoding)
    for piece in pieces:
        meter.feed(piece)
    return meter.done()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """`body` in pieces, cut at the places."""
    at = sorted({place % (len(body) + 1) for place in places})
    return [body[a:b] for a, b in zip([0, *at], [*at, len(body)], strict=True)]


@pytest.mark.parametrize("answer", [*STREAMS, *WHOLES], ids=lambda each: f"{each.name} {each.kind}")
def test_an_answer_is_counted(answer: Answer) -> None:
    assert counted(answer.reader, answer.kind, answer.body) == answer.count


@settings(deadline=None)
@given(answer=st.sampled_from([*STREAMS, *WHOLES]), places=st.lists(st.integers(0), max_size=40))
def test_however_a_stream_is_cut_it_counts_the_same(answer: Answer, places: list[int]) -> None:
    assert counted(answer.reader, answer.kind, *cut(answer.body, places)) == answer.count


@pytest.mark.parametrize("answer", STREAMS, ids=lambda each: each.name)
def test_byte_by_byte_it_counts_the_same(answer: Answer) -> None:
    pieces = [bytes([each]) for each in answer.body]
    assert counted(answer.reader, answer.kind, *pieces) == answer.count


_BLANKS = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: a", b": b"]), max_size=30)


@given(parts=_BLANKS, places=st.lists(st.integers(0), max_size=20))
def test_events_are_the_same_for_every_cutting_and_lose_nothing(
    parts: list[bytes], places: list[int]
) -> None:
    body = b"".join(parts)
    whole, piecewise = Events(), Events()
    expected = [*whole.feed(body), whole.rest()]
    found = [event for piece in cut(body, places) for event in piecewise.feed(piece)]
    assert [*found, piecewise.rest()] == expected
    assert b"".join(expected) == body


@pytest.mark.parametrize("answer", STREAMS, ids=lambda each: each.name)
def test_an_answer_cut_short_is_marked_and_counts_what_was_told(answer: Answer) -> None:
    count = counted(answer.reader, answer.kind, answer.body[: len(answer.body) // 3])
    assert not count.whole
    assert count.output_tokens <= answer.count.output_tokens
    assert count.input_tokens <= answer.count.prompt_tokens


def test_the_start_of_a_message_tells_what_was_read() -> None:
    count = counted(counting.anthropic, EVENTS, events(CLAUDE[:4]))
    assert (count.input_tokens, count.cached_tokens, count.output_tokens) == (12, 2000, 1)
    assert (count.told, count.whole) == (True, False)


_ERRORS: list[tuple[Reader, list[dict[str, Any]]]] = [
    (counting.anthropic, [*CLAUDE[:4], {"type": "error", "error": {"type": "overloaded_error"}}]),
    (counting.chat, [*CHAT, {"error": {"message": "server error"}}]),
    (counting.responses, [*RESPONSES[:2], {"type": "error", "message": "no"}]),
    (counting.gemini, [*GEMINI, {"error": {"code": 503, "status": "UNAVAILABLE"}}]),
]


@pytest.mark.parametrize(("reader", "items"), _ERRORS)
def test_an_error_in_the_stream_is_marked(reader: Reader, items: list[dict[str, Any]]) -> None:
    count = counted(reader, EVENTS, events(items, named=False))
    assert not count.whole


def test_a_failed_response_tells_its_usage() -> None:
    failed = {**RESPONSES[2]["response"], "status": "failed", "error": {"code": "server_error"}}
    count = counted(
        counting.responses, EVENTS, events([{"type": "response.failed", "response": failed}])
    )
    assert (count.output_tokens, count.whole) == (70, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"data: {not json}\n\n",
        b"data: [1, 2\n\n",
        b"data: null\n\n",
        b"\xff\xfe\x00\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"usage": 5, "message": 7, "response": [], "type": "message_start"}\n\n',
        b'data: {"usage": {"input_tokens": "9", "output_tokens": -3, "prompt_tokens": true}}\n\n',
        b'data: {"usage": {"input_tokens": 1e300, "output_tokens": 99999999999999999999}}\n\n',
        b'data: {"usageMetadata": {"promptTokenCount": null}, "candidates": [3]}\n\n',
    ],
)
@pytest.mark.parametrize(
    "reader", [counting.anthropic, counting.chat, counting.responses, counting.gemini]
)
@pytest.mark.parametrize("kind", [EVENTS, JSON])
def test_nonsense_counts_nothing_and_breaks_nothing(reader: Reader, kind: str, body: bytes) -> None:
    count = counted(reader, kind, body)
    assert (count.prompt_tokens, count.output_tokens) == (0, 0)


@given(st.binary(max_size=400))
def test_no_bytes_break_a_meter(body: bytes) -> None:
    for reader in (counting.anthropic, counting.chat, counting.responses, counting.gemini):
        for kind in (EVENTS, JSON):
            for encoding in ("", "gzip", "br"):
                counted(reader, kind, body, encoding=encoding)


def test_nonsense_between_good_events_does_not_lose_them() -> None:
    body = b"data: {oops\n\n: comment\n\n" + events(CLAUDE)
    assert counted(counting.anthropic, EVENTS, body) == CLAUDE_COUNT


def test_an_event_over_two_data_lines_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(CLAUDE[-2], indent=1)
    lines = "".join(f"data:{line}\n" for line in text.split("\n"))
    body = events(CLAUDE[:-2]) + f"{lines}\n".encode() + events(CLAUDE[-1:])
    assert counted(counting.anthropic, EVENTS, body) == CLAUDE_COUNT


@pytest.mark.parametrize("answer", [*STREAMS, *WHOLES], ids=lambda each: f"{each.name} {each.kind}")
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_compressed_is_counted(answer: Answer, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    packed = pack(answer.body)
    pieces = [packed[i : i + 7] for i in range(0, len(packed), 7)]
    assert counted(answer.reader, answer.kind, *pieces, encoding=encoding) == answer.count


def test_a_compression_that_is_not_known_is_marked() -> None:
    count = counted(counting.anthropic, EVENTS, events(CLAUDE), encoding="br")
    assert (count.told, count.whole) == (False, False)


def test_an_answer_that_grows_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "ANSWER_BYTES", 1000)
    monkeypatch.setattr(counting, "EVENT_BYTES", 1000)
    bomb = gzip.compress(b"x" * 1_000_000)
    for kind in (EVENTS, JSON):
        assert not counted(counting.anthropic, kind, bomb, encoding="gzip").whole
        assert not counted(counting.anthropic, kind, *[b"x" * 600] * 10).whole


def test_an_event_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "EVENT_BYTES", 1000)
    count = counted(counting.anthropic, EVENTS, b"data: x" * 500, b"\n\n" + events(CLAUDE))
    assert (count.told, count.whole) == (False, False)


def test_reasoning_that_is_in_the_total_alone_is_counted() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 145}
    count = counted(counting.chat, EVENTS, events([chunk(None, usage)], named=False))
    assert (count.input_tokens, count.output_tokens) == (100, 45)


@pytest.mark.parametrize(
    ("tier", "told"),
    [("default", ""), ("flex", ""), (None, ""), ("priority", "fast"), ("ultrafast", "ultrafast")],
)
def test_a_dearer_tier_is_told(tier: str | None, told: str) -> None:
    body = json.dumps({**RESPONSES[2]["response"], "service_tier": tier}).encode()
    assert counted(counting.responses, JSON, body).tier == told


def test_fast_mode_is_a_tier() -> None:
    message = {**CLAUDE[0]["message"], "usage": {"output_tokens": 3, "speed": "fast"}}
    assert counted(counting.anthropic, JSON, json.dumps(message).encode()).tier == "fast"


@settings(deadline=None)
@given(places=st.lists(st.integers(0), max_size=30), end=st.sampled_from(["\n", "\r\n"]))
def test_usage_that_was_not_asked_for_is_hidden_for_every_cutting(
    places: list[int], end: str
) -> None:
    body = events(CHAT, named=False, end=end, done=True)
    hiding = HideUsage()
    shown = b"".join([hiding.feed(piece) for piece in cut(body, places)]) + hiding.rest()
    assert shown == events(CHAT[:-1], named=False, end=end, done=True)


def test_a_stream_that_never_ends_an_event_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "EVENT_BYTES", 100)
    hiding = HideUsage()
    parts = [b"a" * 60, b"b" * 60, b"c"]
    assert b"".join(hiding.feed(part) for part in parts) + hiding.rest() == b"".join(parts)
