"""The way in: what is kept, what is refused, and that nothing else can come of it."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from bot.database import Database
from bot.deliveries import Inbox
from bot.errors import OperatorError
from bot.payloads import glance, is_wanted
from bot.webhook import Message, Webhook

SECRET = b"a shared secret"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
COMMENT = json.dumps({"action": "created", "comment": {"id": 1}}).encode()


@pytest.fixture
async def client(inbox: Inbox) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(Webhook(SECRET, inbox)) as made:
        yield made


def client_of(webhook: Webhook) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/webhook", endpoint=webhook)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bot")


def signed(body: bytes, event: str = "issue_comment", guid: str = "guid-1") -> dict[str, str]:
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": "sha256=" + hmac.digest(SECRET, body, hashlib.sha256).hex(),
        "Content-Type": "application/json",
    }


async def kept(inbox: Inbox) -> list[str]:
    return [each.guid for each in await inbox.received_since(LONG_AGO)]


async def test_a_delivery_is_durable_before_it_is_acknowledged(
    client: httpx.AsyncClient, inbox: Inbox
) -> None:
    answer = await client.post("/webhook", content=COMMENT, headers=signed(COMMENT))
    assert (answer.status_code, answer.json()) == (202, {"delivery": "guid-1"})
    stored = await inbox.get("guid-1")
    assert stored is not None
    assert (stored.event, stored.body) == ("issue_comment", COMMENT)


async def test_the_same_guid_is_kept_once(client: httpx.AsyncClient, inbox: Inbox) -> None:
    for _ in range(2):
        answer = await client.post("/webhook", content=COMMENT, headers=signed(COMMENT))
        assert answer.status_code == 202
    assert await kept(inbox) == ["guid-1"]


async def test_the_hash_may_be_written_in_capitals(client: httpx.AsyncClient) -> None:
    headers = signed(COMMENT)
    headers["X-Hub-Signature-256"] = "sha256=" + headers["X-Hub-Signature-256"][7:].upper()
    answer = await client.post("/webhook", content=COMMENT, headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("event", "body", "status"),
    [
        ("ping", b'{"zen": "Keep it logically awesome."}', 200),
        ("star", b'{"action": "created"}', 202),
        ("an_event_of_next_year", b"{}", 202),
        ("issue_comment", b'{"action": "edited"}', 202),
        ("issue_comment", b'{"action": {"not": "text"}}', 202),
    ],
)
async def test_what_we_do_not_act_on_is_accepted_and_not_kept(
    client: httpx.AsyncClient, inbox: Inbox, event: str, body: bytes, status: int
) -> None:
    answer = await client.post("/webhook", content=body, headers=signed(body, event))
    assert answer.status_code == status
    assert await kept(inbox) == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
async def test_another_method_is_told_which_one(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/webhook")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("X-GitHub-Event", None, 400),
        ("X-GitHub-Event", "Issue Comment", 400),
        ("X-GitHub-Event", "e" * 61, 400),
        ("X-GitHub-Delivery", None, 400),
        ("X-GitHub-Delivery", "../../etc", 400),
        ("X-GitHub-Delivery", "a" * 65, 400),
        ("X-GitHub-Delivery", "", 400),
        ("Content-Type", None, 400),
        ("Content-Type", "text/plain", 400),
        ("Content-Type", "application/x-www-form-urlencoded", 400),
        ("Content-Length", "12x", 400),
        ("Content-Length", "-1", 400),
        ("Content-Length", "5", 400),
        ("Content-Length", "26214401", 413),
        ("Content-Length", "9" * 18, 413),
        ("X-Hub-Signature-256", None, 401),
        ("X-Hub-Signature-256", "", 401),
        ("X-Hub-Signature-256", "sha256=" + "0" * 64, 401),
        ("X-Hub-Signature-256", "sha256=" + "0" * 63, 401),
        ("X-Hub-Signature-256", "sha1=" + "0" * 40, 401),
    ],
)
async def test_a_header_that_is_wrong_is_refused(
    client: httpx.AsyncClient, inbox: Inbox, header: str, value: str | None, status: int
) -> None:
    headers = signed(COMMENT)
    headers.pop(header, None)
    if value is not None:
        headers[header] = value
    answer = await client.post("/webhook", content=COMMENT, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"].endswith(".")
    assert await kept(inbox) == []


async def test_a_sha1_signature_alone_is_refused(client: httpx.AsyncClient) -> None:
    headers = signed(COMMENT)
    del headers["X-Hub-Signature-256"]
    headers["X-Hub-Signature"] = "sha1=" + hmac.digest(SECRET, COMMENT, hashlib.sha1).hex()
    assert (await client.post("/webhook", content=COMMENT, headers=headers)).status_code == 401


async def test_one_changed_byte_is_refused(client: httpx.AsyncClient, inbox: Inbox) -> None:
    forged = COMMENT.replace(b"1", b"2")
    answer = await client.post("/webhook", content=forged, headers=signed(COMMENT))
    assert answer.status_code == 401
    assert await kept(inbox) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe{}", b'{"a":' * 2000, b"payload={}"],
)
async def test_a_signed_body_that_is_no_json_object_is_refused(
    client: httpx.AsyncClient, body: bytes
) -> None:
    answer = await client.post("/webhook", content=body, headers=signed(body))
    assert answer.status_code == 400


async def test_the_signature_is_checked_before_anything_is_parsed(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/webhook", content=b"{", headers=signed(b"another"))
    assert answer.status_code == 401


async def test_a_body_without_a_length_is_cut_off_above_the_cap(inbox: Inbox) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1_000

    async with client_of(Webhook(SECRET, inbox, body_max=10_000)) as client:
        answer = await client.post("/webhook", content=endless(), headers=signed(b""))
    assert answer.status_code == 413


async def test_a_body_in_chunks_is_taken_as_one(client: httpx.AsyncClient, inbox: Inbox) -> None:
    async def bytewise() -> AsyncIterator[bytes]:
        for byte in COMMENT:
            yield bytes([byte])

    answer = await client.post("/webhook", content=bytewise(), headers=signed(COMMENT))
    assert answer.status_code == 202
    assert await kept(inbox) == ["guid-1"]


async def test_a_crowd_is_asked_to_come_later_and_leaves_no_trace(inbox: Inbox) -> None:
    webhook = Webhook(SECRET, inbox, held_max=len(COMMENT))
    big = COMMENT + b" "
    async with client_of(webhook) as client:
        answer = await client.post("/webhook", content=big, headers=signed(big))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        for number in range(3):
            headers = signed(COMMENT, guid=f"g{number}")
            assert (
                await client.post("/webhook", content=COMMENT, headers=headers)
            ).status_code == 202


async def test_a_disk_that_refuses_asks_to_come_later(
    client: httpx.AsyncClient, database: Database
) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql("DROP TABLE deliveries")
    answer = await client.post("/webhook", content=COMMENT, headers=signed(COMMENT))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


def test_an_empty_secret_is_the_operators_mistake(inbox: Inbox) -> None:
    with pytest.raises(OperatorError):
        Webhook(b"", inbox)


# Over a real socket


@asynccontextmanager
async def serving(webhook: Webhook) -> AsyncIterator[int]:
    config = uvicorn.Config(
        webhook, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
        await asyncio.sleep(0.005)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


def request_head(body: bytes) -> bytes:
    lines = [f"{name}: {value}" for name, value in signed(body).items()]
    lines += ["Host: bot", f"Content-Length: {len(body)}"]
    return ("POST /webhook HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()


async def test_a_truncated_body_leaves_no_record(inbox: Inbox) -> None:
    async with serving(Webhook(SECRET, inbox)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_head(COMMENT) + COMMENT[:-1])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            headers = signed(COMMENT, guid="whole")
            answer = await client.post("/webhook", content=COMMENT, headers=headers)
    assert answer.status_code == 202
    assert await kept(inbox) == ["whole"]
    assert await reader.read() == b""


async def test_a_body_that_dawdles_is_cut_off(inbox: Inbox) -> None:
    async with serving(Webhook(SECRET, inbox, body_seconds=0.05)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_head(COMMENT) + COMMENT[:1])
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()
    assert await kept(inbox) == []


# Anything at all


class Kept:
    """Keeps deliveries in memory."""

    def __init__(self) -> None:
        self.guids: list[str] = []

    async def store(self, guid: str, event: str, body: bytes) -> bool:
        self.guids.append(guid)
        return True


async def call(webhook: Webhook, method: str, headers: Any, chunks: list[bytes]) -> int:
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number + 1 < len(chunks)}
        for number, chunk in enumerate(chunks)
    ] or [{"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": headers}
    await webhook(scope, receive, send)
    return int(sent[0]["status"]) if sent else 0


NAMES = st.sampled_from(
    [
        b"x-github-event", b"x-github-delivery", b"x-hub-signature-256", b"content-type",
        b"content-length", b"x-hub-signature",
    ]
)  # fmt: skip
VALUES = st.binary(max_size=80) | st.sampled_from(
    [b"push", b"guid-1", b"application/json", b"12", b"sha256=" + b"0" * 64]
)


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "\udc80"]),
    headers=st.lists(st.tuples(NAMES | st.binary(max_size=20), VALUES), max_size=12),
    chunks=st.lists(st.binary(max_size=200), max_size=4),
)
def test_no_stranger_can_make_it_fail_or_keep(
    method: str, headers: list[tuple[bytes, bytes]], chunks: list[bytes]
) -> None:
    keeper = Kept()
    status = asyncio.run(call(Webhook(SECRET, keeper), method, headers, chunks))
    assert status == 0 or 400 <= status < 500
    assert keeper.guids == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(
    event=st.sampled_from(["push", "issue_comment", "star", "ping"]),
    body=st.binary(max_size=100)
    | st.dictionaries(st.sampled_from(["action", "issue", "ref"]), JSON).map(
        lambda made: json.dumps(made).encode()
    ),
)
def test_nothing_that_github_could_sign_makes_it_fail(event: str, body: bytes) -> None:
    headers = [(key.lower().encode(), value.encode()) for key, value in signed(body, event).items()]
    status = asyncio.run(call(Webhook(SECRET, Kept()), "POST", headers, [body]))
    assert status in (200, 202, 400)


# GitHub's own examples


def examples_folder(into: Path) -> Path:
    """Find the npm package `@octokit/webhooks-examples`, or install it in a folder."""
    if named := os.environ.get("ORCHESTRATE_WEBHOOK_EXAMPLES"):
        return Path(named)
    if shutil.which("npm") is None:
        pytest.skip("npm is missing: install it, or name a folder in ORCHESTRATE_WEBHOOK_EXAMPLES.")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    command += ["--prefix", str(into), "@octokit/webhooks-examples"]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        ended = None
    if ended is None or ended.returncode != 0:
        pytest.skip("npm could not fetch the examples: name a folder that has them in "
                    "ORCHESTRATE_WEBHOOK_EXAMPLES.")  # fmt: skip
    return into / "node_modules" / "@octokit" / "webhooks-examples"


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    folder = examples_folder(tmp_path_factory.mktemp("examples"))
    events = json.loads((folder / "api.github.com" / "index.json").read_bytes())
    return [
        (event["name"], json.dumps(example).encode())
        for event in events
        for example in event["examples"]
    ]


WAY_IN = ("webhook", "deliveries", "payloads", "database")


@pytest.mark.slow
async def test_githubs_own_examples_are_accepted_and_memory_stays_flat(
    examples: list[tuple[str, bytes]], client: httpx.AsyncClient, inbox: Inbox
) -> None:
    async def send_all(turn: int) -> None:
        for number, (event, body) in enumerate(examples):
            headers = signed(body, event, f"{turn}-{number}")
            answer = await client.post("/webhook", content=body, headers=headers)
            assert answer.status_code in (200, 202), (event, number)

    def held() -> int:
        gc.collect()
        # Only what the way in allocated: other tests' world lives on in the same process.
        ours = [tracemalloc.Filter(True, f"*/bot/{name}.py") for name in WAY_IN]
        found = tracemalloc.take_snapshot().filter_traces(ours)
        return sum(trace.size for trace in found.traces)

    assert len(examples) > 300
    await send_all(0)
    tracemalloc.start()
    try:
        await send_all(1)
        after_one = held()
        for turn in range(2, 5):
            await send_all(turn)
        grown = held() - after_one
    finally:
        tracemalloc.stop()
    # Three more turns send over 10 MB; what stays is caches and counters.
    assert grown < 300_000
    wanted = sum(glance(event, body) for event, body in examples)
    assert len(await inbox.received_since(LONG_AGO)) == 5 * wanted
    passed = {e for e, body in examples if is_wanted(e, json.loads(body)) and not glance(e, body)}
    assert passed <= {"check_run", "status"}  # of no run: no example is on a branch of ours
    assert wanted > 30
