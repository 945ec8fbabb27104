"""Runs a server until it is told to stop: web, worker and clock in one process, or one of them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvicorn

from bot.app import Server, build
from bot.door import Door, build_web
from bot.errors import OperatorError
from bot.redact import Redactor
from bot.settings import Settings
from bot.shared import Role

log = structlog.get_logger()

DRAIN_SECONDS = 10
"""How long open requests may take to end: GitHub waits no longer for any of them."""


async def serve(
    settings: Settings,
    role: Role = "serve",
    *,
    on_ready: Callable[[Server | Door], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. `on_ready` is awaited once webhooks are taken."""
    redactor = Redactor(settings.secrets(os.environ))
    configure_logging(redactor=redactor)
    listening = listen(settings.host, settings.port)
    server: Server | Door
    try:
        if role == "web":
            server = await build_web(settings, redactor)
        else:
            server = await build(settings, redactor=redactor, role=role)
    except BaseException:
        listening.close()
        raise
    host, port = listening.getsockname()[:2]
    log.info("listening", address=f"http://{host}:{port}", role=role)
    running = uvicorn.Server(web_config(server))
    serving = asyncio.create_task(running.serve(sockets=[listening]))
    learning = asyncio.create_task(_once_ready(server, serving, on_ready))
    try:
        await serving
    finally:
        learning.cancel()


async def _once_ready(
    server: Server | Door,
    serving: asyncio.Task[None],
    on_ready: Callable[[Server | Door], Awaitable[None]] | None,
) -> None:
    while not server.ready and not serving.done():  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    if on_ready is not None:
        await on_ready(server)
    try:
        await server.learn()
    except Exception:
        # The boundary: the server serves without the schedules that it could not read.
        log.exception("schedules not learned")


def web_config(server: Server | Door) -> uvicorn.Config:
    """Configure uvicorn for a server of ours."""
    return uvicorn.Config(
        server.app(),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        lifespan="on",
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the socket before anything else, so that a port in use is one clear sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OperatorError(
            f"{host}:{port} cannot be listened on ({error.strerror}); "
            "choose another with --port or ORCHESTRATE_PORT."
        ) from error
    return listening


def configure_logging(*, quiet: bool = False, redactor: Redactor | None = None) -> None:
    """Log a line of JSON for each thing that happens; with `quiet` only what went wrong.

    What `redactor` knows is not in it.
    """
    level = logging.ERROR if quiet else logging.INFO
    clean = redactor or Redactor()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            lambda _logger, _method, line: clean.text(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Standard output is for results. Looked up for each line: who calls may have changed it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
