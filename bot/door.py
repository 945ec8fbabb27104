"""What a process shows to the network: webhooks, its health, and whether it is ready.

`Door` is a process that does nothing else, and leaves the work to others.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot.bus import Bus
from bot.database import Database, is_shared, open_database
from bot.errors import OperatorError, TransientError
from bot.redact import Redactor
from bot.runs.store import Store
from bot.settings import Settings
from bot.shared import SharedInbox, alone
from bot.webhook import ASGIApp, Front, Keeper, Webhook


class Served(Protocol):
    """What lives behind a web application, as long as that does."""

    settings: Settings

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """Stop."""

    async def is_ready(self) -> bool:
        """Say whether it does what it is there for."""


class Door:
    """Takes webhooks in, for others to obey: what `orchestrate web` is."""

    def __init__(self, settings: Settings, database: Database, redactor: Redactor) -> None:
        self.settings = settings
        self.ready = False
        self._database = database
        store = Store(database, redactor)
        self._inbox = SharedInbox(database, lambda: self._bus.arrived())
        self._bus = Bus(settings.database, database, store, lambda: None)

    async def start(self) -> None:
        """Begin."""
        await self._bus.start()
        self.ready = True

    async def stop(self) -> None:
        """Stop."""
        self.ready = False
        await self._bus.stop()
        await self._database.close()

    async def learn(self) -> None:
        """Nothing: others read the schedules."""

    async def is_ready(self) -> bool:
        """Say whether deliveries can be kept."""
        try:
            return self.ready and await self._database.has_tables()
        except TransientError:
            return False

    def app(self) -> ASGIApp:
        """Return the web application."""
        return application(self, self._inbox)


def application(server: Served, inbox: Keeper | None) -> ASGIApp:
    """Return the web application of a process; deliveries go to `inbox`, if it takes any."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    async def readyz(_request: Request) -> Response:
        ready = await server.is_ready()
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    routes = [Route("/healthz", lambda _: PlainTextResponse("ok\n")), Route("/readyz", readyz)]
    secret = server.settings.webhook_secret.get_secret_value().encode()
    if inbox is not None and secret:
        routes.append(Route("/", _home))
    app = Starlette(routes=routes, lifespan=lifespan)
    # It would send people on to the address that the request names, which anybody may have written.
    app.router.redirect_slashes = False
    return Front(Webhook(secret, inbox), app) if inbox is not None and secret else app


def _home(_request: Request) -> Response:
    return PlainTextResponse("Orchestrate is here. GitHub talks to it at /webhook.\n")


async def build_web(settings: Settings, redactor: Redactor) -> Door:
    """Build what takes webhooks in and does nothing else; `OperatorError` says what is missing."""
    if not is_shared(settings.database):
        raise alone("web")
    if not settings.webhook_secret.get_secret_value():
        raise OperatorError("ORCHESTRATE_WEBHOOK_SECRET must be set: it is the App's.")
    return Door(settings, await open_database(settings.database), redactor)
