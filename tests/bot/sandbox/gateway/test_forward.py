from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from bot.sandbox.gateway import Allowance, Prices, forward
from bot.sandbox.gateway.makers import OAUTH_BETA
from bot.sandbox.gateway.prices import Price
from bot.usage import Usage
from tests.bot.sandbox.gateway.answers import (
    CHAT,
    CLAUDE,
    GEMINI,
    RESPONSES,
    STREAMS,
    WHOLES,
    Answer,
    events,
)
from tests.bot.sandbox.gateway.conftest import Enter, Inside, environ, until
from tests.support.upstream import Asked, Script, Writer, upstream

MESSAGE = {"type": "message", "model": "claude-sonnet-4-5"}


def says(data: Any, status: int = 200, **headers: str) -> Script:
    async def answer(asked: Asked, writer: Writer) -> None:
        await writer.json(data, status, **headers)

    return answer


def sends(body: bytes, kind: str, **headers: str) -> Script:
    async def answer(asked: Asked, writer: Writer) -> None:
        await writer.whole(body, kind, 200, **headers)

    return answer


def used(input_tokens: int = 1234, output_tokens: int = 56) -> dict[str, Any]:
    return {**MESSAGE, "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens}}


PLACES: dict[str, tuple[str, str]] = {
    "anthropic": ("ANTHROPIC_BASE_URL", "/v1/messages?beta=true"),
    "anthropic, crlf": ("ANTHROPIC_BASE_URL", "/v1/messages"),
    "chat": ("COPILOT_PROVIDER_BASE_URL", "/chat/completions"),
    "responses": ("OPENAI_BASE_URL", "/responses"),
    "gemini": (
        "GOOGLE_GEMINI_BASE_URL",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    ),
    "gemini, array": (
        "GOOGLE_GEMINI_BASE_URL",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
    ),
}


@pytest.mark.parametrize("answer", [*STREAMS, *WHOLES], ids=lambda each: f"{each.name} {each.kind}")
async def test_every_makers_answers_pass_unchanged_and_are_counted(
    enter: Enter, answer: Answer
) -> None:
    variable, path = PLACES[answer.name]
    body = {"model": answer.count.model, "stream": True, "stream_options": {"include_usage": True}}
    async with (
        upstream(sends(answer.body, answer.kind, x_request_id="abc")) as up,
        enter(environ(up)) as inside,
    ):
        response = await inside.client.post(
            inside.env(variable) + path,
            headers={"authorization": f"Bearer {inside.visit.placeholder}"},
            json=body,
        )
    assert (response.status_code, response.content) == (200, answer.body)
    assert response.headers["content-type"] == answer.kind
    assert response.headers["x-request-id"] == "abc"
    count = answer.count
    usage = inside.visit.usage
    assert usage.usd == Prices.load().cost(count)
    assert usage.usd > 0
    assert usage == Usage(
        requests=1,
        input_tokens=count.input_tokens,
        output_tokens=count.output_tokens,
        cached_tokens=count.cached_tokens,
        cache_write_tokens=count.cache_write_tokens + count.cache_write_hour_tokens,
        usd=usage.usd,
    )


async def test_the_real_key_takes_the_place_of_the_placeholder(enter: Enter) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        await inside.claude(
            "/v1/messages?beta=true",
            headers={
                "X-Api-Key": inside.visit.placeholder,
                "Anthropic-Beta": "tools-1",
                "Connection": "keep-alive, X-Mine",
                "X-Mine": "hop",
                "Proxy-Authorization": "Basic x",
                "Cookie": "a=b",
            },
        )
    asked = up.asked[0]
    assert (asked.method, asked.target) == ("POST", "/a/v1/messages?beta=true")
    assert asked.headers["x-api-key"] == "real-anthropic-key"
    assert asked.headers["anthropic-beta"] == "tools-1"
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["host"] == f"127.0.0.1:{up.port}"
    assert not {"cookie", "x-mine", "proxy-authorization"} & asked.headers.keys()
    assert inside.visit.placeholder not in str(asked)
    assert "real-anthropic-key" not in str(dict(inside.visit.env))
    assert inside.visit.secrets == {"real-anthropic-key", "real-openai-key", "real-gemini-key"}


async def test_an_oauth_token_goes_as_a_bearer_with_its_beta(enter: Enter) -> None:
    async with upstream(says(used())) as up:
        host = {"CLAUDE_CODE_OAUTH_TOKEN": "oat", "ANTHROPIC_BASE_URL": up.url}
        async with enter(host) as inside:
            key = {"x-api-key": inside.visit.placeholder}
            await inside.claude(headers={**key, "anthropic-beta": f"b1, {OAUTH_BETA}"})
            await inside.claude(headers=key)
    assert [each.headers["anthropic-beta"] for each in up.asked] == [
        f"{OAUTH_BETA},b1",
        OAUTH_BETA,
    ]
    assert up.asked[0].headers["authorization"] == "Bearer oat"
    assert "x-api-key" not in up.asked[0].headers


async def test_the_jobs_own_organisation_does_not_pass(enter: Enter) -> None:
    async with upstream(sends(events(CHAT, named=False), "text/event-stream")) as up:
        host = {**environ(up), "OPENAI_ORG_ID": "ours"}
        async with enter(host) as inside:
            await inside.client.post(
                inside.env("OPENAI_BASE_URL") + "/chat/completions",
                headers={
                    "authorization": f"Bearer {inside.visit.placeholder}",
                    "openai-organization": "theirs",
                    "openai-project": "theirs",
                },
                json={"model": "gpt-5.2"},
            )
    assert up.asked[0].headers["openai-organization"] == "ours"
    assert "openai-project" not in up.asked[0].headers


@pytest.mark.parametrize("by_query", [True, False])
async def test_geminis_key_may_be_in_the_query(enter: Enter, by_query: bool) -> None:
    async with upstream(says(GEMINI[-1])) as up, enter(environ(up)) as inside:
        key = inside.visit.placeholder
        response = await inside.client.post(
            inside.env("GOOGLE_GEMINI_BASE_URL")
            + "/v1beta/models/gemini-2.5-flash:generateContent",
            params={"alt": "json", **({"key": key} if by_query else {})},
            headers={} if by_query else {"x-goog-api-key": key},
            json={"contents": []},
        )
    assert response.status_code == 200
    asked = up.asked[0]
    assert asked.target == "/g/v1beta/models/gemini-2.5-flash:generateContent?alt=json"
    assert asked.headers["x-goog-api-key"] == "real-gemini-key"


@pytest.mark.parametrize("key", ["", "wrong", "real-anthropic-key"])
async def test_without_the_placeholder_nothing_passes(enter: Enter, key: str) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        response = await inside.claude(headers={"x-api-key": key} if key else {})
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert up.asked == []


async def test_the_placeholder_of_another_job_opens_nothing(enter: Enter) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as one, enter(environ(up)) as two:
        assert one.visit.placeholder != two.visit.placeholder
        assert len(one.visit.placeholder) > 32
        response = await two.claude(headers={"x-api-key": one.visit.placeholder})
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/anthropic/v1/messages/batches"),
        ("POST", "/anthropic/v1/files"),
        ("GET", "/anthropic/v1/messages"),
        ("POST", "/anthropic/v1/messages/../files"),
        ("GET", "/anthropic/v1/models/../files"),
        ("GET", "/anthropic/v1/models/x/../../files"),
        ("GET", "/anthropic/v1/models/%2e%2e/files"),
        ("GET", "/anthropic/v1/models/.."),
        ("GET", "/openai/v1/models//files"),
        ("POST", "/gemini/v1beta/models/../tunedModels/x:generateContent"),
        ("POST", "/anthropic/api/event_logging/batch"),
        ("POST", "/openai/v1/embeddings"),
        ("GET", "/openai/v1/responses/resp_1"),
        ("POST", "/openai/v1/responses/resp_1/cancel"),
        ("GET", "/openai/v1/organization/admin_api_keys"),
        ("DELETE", "/openai/v1/models/gpt"),
        ("POST", "/gemini/v1beta/models/x:batchGenerateContent"),
        ("POST", "/gemini/v1beta/cachedContents"),
        ("POST", "/openai/v1"),
        ("POST", "/unknown/v1/messages"),
        ("POST", "/v1/messages"),
        ("POST", "/anthropicv1/messages"),
    ],
)
async def test_only_known_requests_are_forwarded(enter: Enter, method: str, path: str) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        response = await _raw(inside, method, path, f"x-api-key: {inside.visit.placeholder}\r\n")
    assert response.startswith(b"HTTP/1.1 404 ")
    assert up.asked == []


async def _raw(inside: Inside, method: str, path: str, more: str, body: bytes = b"{}") -> bytes:
    """The answer to a request whose path no client made better."""
    reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("model"))
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{more}"
    writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("path", ["", "/anthropic", "/openai/v1/", "/gemini"])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_bare_address_answers_without_a_key(enter: Enter, method: str, path: str) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        address = f"http://127.0.0.1:{inside.port('model')}{path}"
        response = await inside.client.request(method, address)
    assert (response.status_code, response.content) == (200, b"")
    assert up.asked == []


@pytest.mark.parametrize(
    ("variable", "method", "path"),
    [
        ("ANTHROPIC_BASE_URL", "POST", "/v1/messages/count_tokens?beta=true"),
        ("ANTHROPIC_BASE_URL", "GET", "/v1/models"),
        ("OPENAI_BASE_URL", "GET", "/models/gpt-5.2"),
        ("GOOGLE_GEMINI_BASE_URL", "POST", "/v1beta/models/gemini-2.5-pro:countTokens"),
    ],
)
async def test_what_costs_nothing_is_forwarded_and_not_counted(
    enter: Enter, variable: str, method: str, path: str
) -> None:
    allowance = Allowance(usd=0, tokens=0)
    async with (
        upstream(says({"usage": {"input_tokens": 5}})) as up,
        enter(environ(up), allowance=allowance) as inside,
    ):
        key = {"x-api-key": inside.visit.placeholder}
        response = await inside.client.request(method, inside.env(variable) + path, headers=key)
    assert response.status_code == 200
    assert up.asked[0].target.endswith(path)
    assert inside.visit.usage == Usage()


async def test_a_stream_is_asked_for_its_usage_and_the_client_does_not_see_it(
    enter: Enter,
) -> None:
    body = events(CHAT, named=False, done=True)
    async with upstream(sends(body, "text/event-stream")) as up, enter(environ(up)) as inside:
        plain = await inside.chat(stream=True, stream_options={"other": 1}, messages=["é"])
        asking = await inside.chat(stream=True, stream_options={"include_usage": True})
        still = await inside.chat()
    assert up.asked[0].json["stream_options"] == {"other": 1, "include_usage": True}
    assert up.asked[0].json["messages"] == ["é"]
    assert plain.content == events(CHAT[:-1], named=False, done=True)
    assert asking.content == body
    assert still.content == body
    assert "stream_options" not in up.asked[2].json
    assert inside.visit.usage.requests == 3
    assert inside.visit.usage.output_tokens == 3 * 56


async def test_the_first_bytes_do_not_wait_for_the_rest(enter: Enter) -> None:
    more = asyncio.Event()

    async def stream(asked: Asked, writer: Writer) -> None:
        await writer.stream()
        await writer.event(CLAUDE[0])
        await more.wait()
        for item in CLAUDE[1:]:
            await writer.event(item)

    async with upstream(stream) as up, enter(environ(up)) as inside:
        url = inside.env("ANTHROPIC_BASE_URL") + "/v1/messages"
        key = {"x-api-key": inside.visit.placeholder}
        sent = {"model": "claude-sonnet-4-5"}
        async with inside.client.stream("POST", url, headers=key, json=sent) as response:
            pieces = response.aiter_bytes()
            first = await asyncio.wait_for(anext(pieces), 5)
            more.set()
            rest = b"".join([piece async for piece in pieces])
    assert json.loads(first.removeprefix(b"data: ")) == CLAUDE[0]
    assert first + rest == events(CLAUDE, named=False)
    assert (inside.visit.usage.requests, inside.visit.usage.partial) == (1, 0)


@pytest.mark.parametrize(
    ("status", "says_"),
    [
        (401, "Anthropic refused the key (401): check ANTHROPIC_API_KEY on the server."),
        (403, "Anthropic refused the key (403): check ANTHROPIC_API_KEY on the server."),
        (429, "Anthropic answered 429: Slow down."),
        (529, "Anthropic answered 529: Slow down."),
        (307, ""),
    ],
)
async def test_errors_pass_as_they_are_once_and_are_remembered(
    enter: Enter, status: int, says_: str
) -> None:
    error = {"type": "error", "error": {"type": "x", "message": "Slow\x1bdown."}}
    answer = says(error, status, retry_after="7", location="http://elsewhere.example/")
    async with upstream(answer) as up, enter(environ(up)) as inside:
        response = await inside.claude()
    assert (response.status_code, response.json()) == (status, error)
    assert response.headers["retry-after"] == "7"
    assert len(up.asked) == 1
    assert [each.sentence for each in inside.visit.failures] == ([says_] if says_ else [])
    assert inside.visit.usage == Usage()


async def test_what_failed_is_forgotten_when_a_request_works(enter: Enter) -> None:
    statuses = iter([529, 529, 200])

    async def answer(asked: Asked, writer: Writer) -> None:
        await writer.json(used(), next(statuses))

    async with upstream(answer) as up, enter(environ(up)) as inside:
        await inside.claude()
        await inside.claude()
        assert [each.status for each in inside.visit.failures] == [529, 529]
        await inside.claude()
        assert inside.visit.failures == ()


async def test_a_maker_that_cannot_be_reached_is_told(enter: Enter) -> None:
    host = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    async with enter(host) as inside:
        response = await inside.claude()
    assert response.status_code == 502
    assert response.json()["error"]["type"] == "api_error"
    (failure,) = inside.visit.failures
    assert (failure.maker, failure.status) == ("anthropic", 0)
    assert "127.0.0.1 cannot be reached" in failure.sentence
    assert inside.visit.usage == Usage()


@pytest.mark.parametrize("after", [0, 3])
async def test_an_answer_that_breaks_off_does_not_look_whole(enter: Enter, after: int) -> None:
    async def stream(asked: Asked, writer: Writer) -> None:
        await writer.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for item in CLAUDE[:after]:
            data = f"data: {json.dumps(item)}\n\n".encode()
            await writer.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await asyncio.sleep(0.05)
        writer.cut()

    async with upstream(stream) as up, enter(environ(up)) as inside:
        with pytest.raises(httpx.TransportError):
            await inside.claude()
    usage = inside.visit.usage
    assert (usage.requests, usage.partial) == (1, 1)
    assert usage.cached_tokens == (2000 if after else 0)
    assert "broke its answer off" in inside.visit.failures[0].sentence


async def test_an_answer_that_breaks_off_is_not_whole_for_an_old_client(enter: Enter) -> None:
    async def stream(asked: Asked, writer: Writer) -> None:
        await writer.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        writer.cut()

    async with upstream(stream) as up, enter(environ(up)) as inside:
        reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("model"))
        writer.write(
            b"GET /anthropic/v1/models HTTP/1.0\r\n"
            + f"x-api-key: {inside.visit.placeholder}\r\n\r\n".encode()
        )
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_small_writes_do_not_wait_for_one_another(enter: Enter) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        listening = socket.create_server(("127.0.0.1", 0))
        async with inside.visit.doors[0].serve(listening):
            assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_client_that_leaves_ends_the_request_and_pays_for_what_was_told(
    enter: Enter,
) -> None:
    async def stream(asked: Asked, writer: Writer) -> None:
        await writer.stream()
        await writer.event(CLAUDE[0])
        await asyncio.Event().wait()

    async with upstream(stream) as up, enter(environ(up)) as inside:
        url = inside.env("ANTHROPIC_BASE_URL") + "/v1/messages"
        key = {"x-api-key": inside.visit.placeholder}
        sent = {"model": "claude-sonnet-4-5"}
        async with inside.client.stream("POST", url, headers=key, json=sent) as response:
            await anext(response.aiter_bytes())
        await until(lambda: up.left == 1 and inside.visit.usage.partial == 1)
    assert inside.visit.usage.cached_tokens == 2000


async def test_a_client_that_leaves_before_the_answer_ends_the_request(enter: Enter) -> None:
    async def never(asked: Asked, writer: Writer) -> None:
        await asyncio.Event().wait()

    async with upstream(never) as up, enter(environ(up)) as inside:
        asking = asyncio.ensure_future(inside.claude())
        await until(lambda: len(up.asked) == 1)
        asking.cancel()
        await until(lambda: up.left == 1 and inside.visit.usage.partial == 1)
        await asyncio.gather(asking, return_exceptions=True)


async def test_leaving_the_visit_breaks_off_what_is_under_way(enter: Enter) -> None:
    async def never(asked: Asked, writer: Writer) -> None:
        await asyncio.Event().wait()

    async with upstream(never) as up:
        async with enter(environ(up)) as inside:
            asking = asyncio.ensure_future(inside.claude())
            await until(lambda: len(up.asked) == 1)
            inside_client = inside.client
        await until(lambda: up.left == 1)
        with pytest.raises((httpx.TransportError, RuntimeError)):
            await asking
        assert inside_client.is_closed


@pytest.mark.parametrize(
    ("call", "status", "where"),
    [
        (lambda inside: inside.claude(), 402, ("type", "billing_error")),
        (lambda inside: inside.chat(), 400, ("type", "invalid_request_error")),
        (
            lambda inside: inside.client.post(
                inside.env("GOOGLE_GEMINI_BASE_URL")
                + "/v1beta/models/gemini-2.5-flash:generateContent",
                headers={"x-goog-api-key": inside.visit.placeholder},
                json={},
            ),
            400,
            ("status", "FAILED_PRECONDITION"),
        ),
    ],
    ids=["anthropic", "openai", "gemini"],
)
async def test_a_spent_allowance_is_told_in_the_makers_own_way_and_not_to_be_tried_again(
    enter: Enter,
    call: Callable[[Inside], Awaitable[httpx.Response]],
    status: int,
    where: tuple[str, str],
) -> None:
    async with (
        upstream(says(used())) as up,
        enter(environ(up), allowance=Allowance(usd=0.0)) as inside,
    ):
        assert not inside.visit.spent.is_set()
        response = await call(inside)
        assert inside.visit.spent.is_set()
    error = response.json()["error"]
    assert response.status_code == status
    assert error[where[0]] == where[1]
    assert error["message"] == inside.visit.reason
    assert "budget is used up" in inside.visit.reason
    assert response.headers["x-should-retry"] == "false"
    assert up.asked == []


async def test_it_stops_before_the_request_that_the_allowance_does_not_cover(
    enter: Enter,
) -> None:
    # A request costs 0.004542 dollars.
    async with (
        upstream(says(used())) as up,
        enter(environ(up), allowance=Allowance(usd=0.01)) as inside,
    ):
        statuses = [(await inside.claude()).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 402, 402]
    assert len(up.asked) == 3
    assert inside.visit.usage.requests == 3


async def test_many_at_once_do_not_pass_the_allowance_without_bound(enter: Enter) -> None:
    prices = Prices(by_name={"claude": Price(input=0, output=1_000_000)})
    answer = says({**MESSAGE, "usage": {"output_tokens": 10}})
    sent = {"model": "claude-x", "max_tokens": 10}
    async with (
        upstream(answer) as up,
        enter(environ(up), allowance=Allowance(usd=25), prices=prices) as inside,
    ):
        answers = await asyncio.gather(*(inside.claude(json=sent) for _ in range(20)))
    assert sorted(each.status_code for each in answers) == [200] * 3 + [402] * 17
    assert inside.visit.usage.usd == 30
    assert len(up.asked) == 3


async def test_a_limit_in_dollars_refuses_a_model_without_a_price(enter: Enter) -> None:
    sent = {"model": "mystery-1", "max_tokens": 10}
    async with upstream(says({**used(), "model": "mystery-1"})) as up:
        async with enter(environ(up), allowance=Allowance(usd=5)) as inside:
            refused = await inside.claude(json=sent)
        async with enter(environ(up), allowance=Allowance(tokens=5000)) as free:
            passed = await free.claude(json=sent)
    assert refused.status_code == 402
    assert "No price is known here for the model mystery-1" in refused.json()["error"]["message"]
    assert passed.status_code == 200
    assert free.visit.usage.unpriced == ("mystery-1",)
    assert free.visit.usage.tokens == 1290


@pytest.mark.parametrize(
    ("body", "headers", "says_"),
    [
        (b"not json", {}, "not a JSON object"),
        (b"[]", {}, "not a JSON object"),
        (b"{}", {}, "names no model"),
        (b'{"model": 5}', {}, "names no model"),
        (
            gzip.compress(b'{"model": "x"}', mtime=0),
            {"content-encoding": "gzip"},
            "not a JSON object",
        ),
    ],
)
async def test_a_request_that_cannot_be_counted_is_not_forwarded(
    enter: Enter, body: bytes, headers: dict[str, str], says_: str
) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        key = {"x-api-key": inside.visit.placeholder, **headers}
        response = await inside.claude(headers=key, content=body, json=None)
    assert response.status_code == 400
    assert says_ in response.json()["error"]["message"]
    assert up.asked == []


async def test_a_response_in_the_background_is_refused(enter: Enter) -> None:
    async with upstream(says(RESPONSES[2]["response"])) as up, enter(environ(up)) as inside:
        response = await inside.client.post(
            inside.env("OPENAI_BASE_URL") + "/responses",
            headers={"authorization": f"Bearer {inside.visit.placeholder}"},
            json={"model": "gpt-6.2-sol", "background": True},
        )
    assert response.status_code == 400
    assert up.asked == []


@pytest.mark.parametrize("part", [b"[]", b"0", b"{}"])
async def test_a_request_of_very_many_parts_is_refused(enter: Enter, part: bytes) -> None:
    body = b'{"model": "claude-sonnet-4-5", "x": [' + b",".join([part] * 1_000_001) + b"]}"
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        key = {"x-api-key": inside.visit.placeholder}
        response = await inside.claude(headers=key, content=body, json=None)
    assert response.status_code == 413
    assert up.asked == []


@pytest.mark.parametrize("options", ["", ', "stream_options": null', ', "stream_options": {}'])
@pytest.mark.parametrize("start", [b"{", b" {", b"\n{"])
async def test_what_a_request_says_is_not_changed_by_the_wish_for_usage(
    enter: Enter, start: bytes, options: str
) -> None:
    # Half a character, as agents cut texts; a number that no float holds.
    rest = r'"model": "gpt-5.2", "stream": true, "a": "\ud83d", "b": 12345678901234567890'
    answer = sends(events(CHAT, named=False), "text/event-stream")
    async with upstream(answer) as up, enter(environ(up)) as inside:
        response = await inside.client.post(
            inside.env("OPENAI_BASE_URL") + "/chat/completions",
            headers={"authorization": f"Bearer {inside.visit.placeholder}"},
            content=start + f"{rest}{options}}}".encode(),
        )
    assert response.status_code == 200
    wanted = {**json.loads("{" + rest + "}"), "stream_options": {"include_usage": True}}
    assert up.asked[0].json == wanted


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_request_is_bounded(
    enter: Enter, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr(forward, "REQUEST_BYTES", 1000)

    async def pieces() -> Any:
        for _ in range(300):
            yield b"x" * 1000

    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        content = pieces() if chunked else b"x" * 300_000
        key = {"x-api-key": inside.visit.placeholder}
        response = await inside.claude(headers=key, content=content, json=None)
        again = await inside.claude()
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "request_too_large"
    assert again.status_code == 200
    assert len(up.asked) == 1


async def test_all_requests_of_a_job_are_bounded_together(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "HELD_BYTES", 1000)
    go = asyncio.Event()

    async def later(asked: Asked, writer: Writer) -> None:
        await go.wait()
        await writer.json(used())

    sent = {"model": "claude-sonnet-4-5", "messages": ["x" * 600]}
    async with upstream(later) as up, enter(environ(up)) as inside:
        first = asyncio.ensure_future(inside.claude(json=sent))
        await until(lambda: len(up.asked) == 1)
        second = await inside.claude(json=sent)
        go.set()
        third = await first
        fourth = await inside.claude(json=sent)
    assert [each.status_code for each in (second, third, fourth)] == [503, 200, 200]
    assert "x-should-retry" not in second.headers


async def test_connections_of_a_job_are_bounded(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "CONNECTIONS", 2)
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        held = [await asyncio.open_connection("127.0.0.1", inside.port("model")) for _ in "ab"]
        await asyncio.sleep(0.05)
        with pytest.raises(httpx.TransportError):
            await inside.claude()
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.05)
        assert (await inside.claude()).status_code == 200


async def test_silence_ends_an_answer(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "TIMEOUT", httpx.Timeout(0.1, connect=5, pool=None))

    async def never(asked: Asked, writer: Writer) -> None:
        await asyncio.Event().wait()

    async with upstream(never) as up, enter(environ(up)) as inside:
        response = await inside.claude()
    assert response.status_code == 502
    assert len(up.asked) == 1
    assert inside.visit.failures[0].status == 0


@pytest.mark.parametrize(
    "request_",
    [
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n",
        b"",
    ],
)
async def test_what_is_no_http_is_answered_or_dropped(enter: Enter, request_: bytes) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("model"))
        writer.write(request_)
        writer.write_eof()
        async with asyncio.timeout(10):
            try:
                answer = await reader.read()
            except ConnectionError:
                answer = b""
        writer.close()
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
        assert (await inside.claude()).status_code == 200
    assert len(up.asked) == 1


async def test_a_body_that_waits_to_be_asked_for_is_asked_for(enter: Enter) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("model"))
        body = b'{"model": "claude-sonnet-4-5"}'
        head = f"x-api-key: {inside.visit.placeholder}\r\ncontent-length: {len(body)}\r\n\r\n"
        first = b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n"
        writer.write(first + head.encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        writer.write(body)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
    assert "expect" not in up.asked[0].headers


async def test_requests_on_one_connection_follow_one_another(enter: Enter) -> None:
    async with upstream(says(used())) as up, enter(environ(up)) as inside:
        reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("model"))
        body = b'{"model": "claude-sonnet-4-5"}'
        head = f"x-api-key: {inside.visit.placeholder}\r\ncontent-length: {len(body)}\r\n\r\n"
        one = b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: a\r\n" + head.encode() + body
        writer.write(one + one + one)
        async with asyncio.timeout(10):
            for _ in range(3):
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200")
                await reader.readuntil(b"}}")
        writer.close()
    assert inside.visit.usage.requests == 3


async def test_the_makers_are_reached_through_the_operators_proxy(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://models.example"}
    async with upstream(says(used())) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with enter(host) as inside:
            response = await inside.claude()
    assert response.status_code == 200
    assert proxy.asked[0].target == "http://models.example/v1/messages"
