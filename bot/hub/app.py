"""The hub as an ASGI app, and serving it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.errors import OperatorError
from bot.hub import git_http, graphql, pages
from bot.hub.core import Hub
from bot.hub.hosts import OwnHosts
from bot.hub.refusals import not_found
from bot.hub.rest import (
    apps,
    checks,
    door,
    doors,
    git,
    history,
    issues,
    orgs,
    pulls,
    repos,
    rulesets,
    statuses,
)

# How long to wait for the server to be up, in seconds.
START_TIMEOUT = 10.0

# Open connections are cut off after this many seconds when the hub stops.
GRACE = 1


def create_app(hub: Hub) -> Starlette:
    """REST, GraphQL, git, the hub's own doors and the pages over one hub."""
    tables = (apps, orgs, issues, pulls, checks, statuses, rulesets, git, history, repos)
    rest = [route for module in tables for route in door.routes(hub, module.TABLE)]
    unknown = Route("/api/{rest:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    return Starlette(
        routes=[
            *rest,
            *graphql.routes(hub),
            unknown,
            *git_http.routes(hub),
            *doors.routes(hub),
            *pages.routes(hub),
        ],
        middleware=[Middleware(OwnHosts, hub=hub)],
    )


async def _unknown(request: Request) -> Response:
    return JSONResponse(not_found().body(), 404)


class _Server(uvicorn.Server):
    """A server inside somebody else's process, whose signals are not its own."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve(hub: Hub, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Hub]:
    """Serve `hub` in the running loop on `port` (0: a free one); sets `hub.url`.

    `OperatorError` where the port is taken. Everything is stopped and written at the end.
    """
    taken = _listen(host, port)
    hub.url = f"http://{host}:{taken.getsockname()[1]}"
    config = uvicorn.Config(
        create_app(hub),
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config)
    await hub.start()
    running = asyncio.create_task(server.serve(sockets=[taken]), name="hub")
    try:
        async with asyncio.timeout(START_TIMEOUT):
            await server.ready.wait()
        yield hub
    finally:
        server.should_exit = True
        await running
        taken.close()
        await hub.stop()


def _listen(host: str, port: int) -> socket.socket:
    # The protocol is named, since asyncio switches Nagle's delays off only where it is.
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise OperatorError(f"Port {port} is taken: choose another one for the hub.") from error
    return taken
