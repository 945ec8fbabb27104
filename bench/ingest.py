"""How fast webhooks are taken in: `python -m bench.ingest [--json]`.

Our `/webhook` (signature, JSON, one durable record, 202) and, for comparison in the same run, the
same for an event that nobody handles (nothing is kept) and a bare Starlette route that reads the
body and answers. The server runs in one process under uvloop and httptools, the client in
another, over keep-alive connections that each send their next request when the last is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bot.database import open_database
from bot.deliveries import Inbox
from bot.webhook import Webhook

SECRET = b"a shared secret"
CONNECTIONS = (16, 100)
BODY_BYTES = 11_000
"""The size of an ordinary `issue_comment`."""

SECONDS = 2.0
WARM_SECONDS = 0.3
ROUNDS = 2
"""Each measurement is made this often, in turn with the others; the better one counts."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement: requests a second, and latencies in milliseconds."""

    server: str
    connections: int
    rps: float
    p50_ms: float
    p99_ms: float


def body() -> bytes:
    """Make an `issue_comment` of the ordinary size."""
    user = {"login": "ada", "id": 1, "type": "User"}
    payload: dict[str, Any] = {
        "action": "created",
        "repository": {"id": 1, "name": "widgets", "owner": {"login": "acme"}},
        "installation": {"id": 1},
        "sender": user,
        "issue": {"number": 1, "title": "Slow", "user": user, "labels": []},
        "comment": {"id": 1, "body": "hi", "user": user, "created_at": "2026-01-02T03:04:05Z"},
    }
    filler = 0
    while len(made := json.dumps(payload).encode()) < BODY_BYTES:
        payload["repository"][f"url_{filler}"] = "https://api.github.example/repos/acme/widgets/x"
        filler += 1
    return made


def _request(path: str, event: str, number: str, made: bytes, signature: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bot\r\nContent-Type: application/json\r\n"
        f"X-GitHub-Event: {event}\r\nX-GitHub-Delivery: {number}\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(made)}\r\n\r\n"
    )
    return head.encode() + made


class _Client(asyncio.Protocol):
    """One connection: writes a request, times its answer, writes the next."""

    def __init__(self, next_request: Iterator[bytes]) -> None:
        self._requests = next_request
        self._began = 0.0
        self._got = b""
        self.times: list[float] = []
        self.stop = asyncio.Event()
        self.ended = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, separator, rest = self._got.partition(b"\r\n\r\n")
        if not separator or len(rest) < _content_length(head):
            return
        assert head[9:10] == b"2", head
        self._got = b""
        self.times.append(time.perf_counter() - self._began)
        if self.stop.is_set():
            self.ended.set()
        else:
            self._send()

    def _send(self) -> None:
        request = next(self._requests)
        self._began = time.perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()


def _content_length(head: bytes) -> int:
    at = head.lower().index(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n")[0])


async def _load(port: int, path: str, event: str, connections: int) -> tuple[float, list[float]]:
    made = body()
    signature = hmac.digest(SECRET, made, hashlib.sha256).hex()
    prefix = f"{path.strip('/')}-{event.replace('_', '-')}-{connections}-{time.time_ns()}"[:50]

    def requests() -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            yield _request(path, event, f"{prefix}-{number}", made, signature)

    shared, loop = requests(), asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: _Client(shared), "127.0.0.1", port)
        clients.append(client)
    await asyncio.sleep(WARM_SECONDS)
    for client in clients:
        client.times.clear()
    began = time.perf_counter()
    await asyncio.sleep(SECONDS)
    for client in clients:
        client.stop.set()
    spent = time.perf_counter() - began
    times = [each for client in clients for each in client.times]
    await asyncio.gather(*(client.ended.wait() for client in clients))
    for client in clients:
        client.close()
    return spent, times


async def _bare(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"ok": True}, status_code=202)


async def _serve(listener: socket.socket, folder: str) -> None:
    database = await open_database(f"sqlite:///{Path(folder) / 'bench.sqlite3'}")
    webhook = Webhook(SECRET, Inbox(database))
    routes = [
        Route("/webhook", endpoint=webhook),
        Route("/bare", _bare, methods=["POST"]),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes),
        http="httptools",
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
    await uvicorn.Server(config).serve(sockets=[listener])


def _server(listener: socket.socket, folder: str) -> None:
    uvloop.run(_serve(listener, folder))


@contextmanager
def _served(folder: str) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    process = multiprocessing.get_context("fork").Process(target=_server, args=(listener, folder))
    process.start()
    try:
        yield listener.getsockname()[1]
    finally:
        process.terminate()
        process.join(10)
        listener.close()


LOADS = (
    ("bare starlette", "/bare", "issue_comment"),
    ("webhook, kept", "/webhook", "issue_comment"),
    ("webhook, ignored", "/webhook", "star"),
)


def measure(folder: str) -> list[Figure]:
    """Run every load, the record in `folder`; return the better of each one's rounds."""
    best: dict[tuple[str, int], Figure] = {}
    with _served(folder) as port:
        for _ in range(ROUNDS):
            for name, path, event in LOADS:
                for connections in CONNECTIONS:
                    spent, times = uvloop.run(_load(port, path, event, connections))
                    figure = _figure(name, connections, spent, times)
                    key = (name, connections)
                    best[key] = max(best.get(key, figure), figure, key=lambda each: each.rps)
    return list(best.values())


def _figure(name: str, connections: int, spent: float, times: Sequence[float]) -> Figure:
    cuts = statistics.quantiles(times, n=100)
    return Figure(
        name,
        connections,
        round(len(times) / spent, 1),
        round(cuts[49] * 1000, 2),
        round(cuts[98] * 1000, 2),
    )


def main() -> int:
    """Measure, and print a table or, with `--json`, one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--dir", help="where the record is written; the disk matters")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        figures = measure(folder)
    if options.json:
        print(json.dumps({"ingest": [asdict(each) for each in figures]}))
        return 0
    for each in figures:
        print(f"{each.server:18} {each.connections:4} connections {each.rps:9.1f}/s "
              f"p50 {each.p50_ms:7.2f} ms  p99 {each.p99_ms:7.2f} ms")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
