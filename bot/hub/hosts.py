"""Which names the hub answers to: its own, and those that no stranger can have.

A page on the web may let its own name lead to 127.0.0.1 and then ask whatever listens there. To the
visitor's browser both are one site, so nothing but the `Host` of the request tells them apart. The
hub takes people for whom they say they are, and a run costs money: so it asks for the name.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.hub.core import Hub

MISDIRECTED = 421
"""RFC 9110, 15.5.20: a server that does not answer for the name in the request."""

LOCAL = "localhost"


class OwnHosts:
    """Lets in what is asked of the hub by a name of its own; anything else is answered with 421."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it before anything of it is read."""
        if scope["type"] != "http" or is_own(Headers(scope=scope).get("host", ""), self._hub.url):
            await self._app(scope, receive, send)
            return
        said = f"The hub answers here by its own name alone: open {self._hub.url}."
        await JSONResponse({"message": said}, MISDIRECTED)(scope, receive, send)


def is_own(host: str, url: str) -> bool:
    """Say whether `host`, with or without a port, is a name of the hub at `url`.

    An address is one too: a browser sends it only where it was asked for, and looks up no name.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    if name == LOCAL or name.endswith(f".{LOCAL}") or name == urlsplit(url).hostname:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
