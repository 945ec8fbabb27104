"""Opens the only ways out of a sandbox, for one job at a time, and tells what went through."""

from __future__ import annotations

import asyncio
import functools
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import httpx

from bot.errors import OperatorError
from bot.sandbox.gateway import forward, hosts, makers, proxy
from bot.sandbox.gateway.budget import Till
from bot.sandbox.gateway.forward import ModelDoor
from bot.sandbox.gateway.makers import Maker
from bot.sandbox.gateway.model import Allowance, Blocked, Failure, Pass
from bot.sandbox.gateway.prices import Prices
from bot.sandbox.gateway.proxy import ProxyDoor
from bot.sandbox.gateway.server import Handle, listen
from bot.sandbox.model import Door
from bot.usage import Usage

MODEL: Final = "model"
PROXY: Final = "proxy"
# No well-known service and no development server listens there.
MODEL_PORT: Final = 18901
PROXY_PORT: Final = 18902
KEPT_CONNECTIONS: Final = 20  # to makers, for the next request: a handshake is 100 ms
KEPT_SECONDS: Final = 60.0
_LOOPBACK: Final = "127.0.0.1,localhost,::1"


class Gateway:
    """Knows the host's keys and endpoints, which no job does.

    environ: the host's own variables. private_hosts: `host:port` of the operator's own network
    that jobs may reach where policy allows them as well.
    """

    def __init__(
        self, environ: Mapping[str, str], prices: Prices, *, private_hosts: Iterable[str] = ()
    ) -> None:
        self._makers = makers.configured(environ)
        self._prices = prices
        self._private = frozenset(_private(each) for each in private_hosts)
        self._clients: tuple[httpx.AsyncClient, httpx.AsyncClient] | None = None
        self._visits = 0

    def configured(self) -> frozenset[str]:
        """Return the makers whose models can be used."""
        return frozenset(self._makers)

    @asynccontextmanager
    async def open(self, passed: Pass) -> AsyncIterator[OpenVisit]:
        """Give what a job needs to go out; it is shut when the context is left.

        Raises OperatorError when none of the makers has a key, ConfigError for a host that is none.
        """
        chosen = {name: self._makers[name] for name in self._makers if name in passed.makers}
        if passed.makers and not chosen:
            needed = "; or ".join(makers.KEYS.get(name, name) for name in sorted(passed.makers))
            raise OperatorError(f"No key for a model is there: set {needed} on the server.")
        models, web = self._enter()
        try:
            placeholder = f"sk-orchestrate-{secrets.token_urlsafe(24)}"
            till = Till(passed.allowance, self._prices)
            yield OpenVisit(
                chosen,
                placeholder,
                till,
                ModelDoor(chosen, placeholder, till, models),
                ProxyDoor(passed.hosts, self._private, web),
                frozenset().union(*(each.secrets for each in self._makers.values())),
            )
        finally:
            await self._leave()

    def _enter(self) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
        """Return the clients that all visits share, made by the first."""
        if self._clients is None:
            limits = httpx.Limits(
                max_connections=None,
                max_keepalive_connections=KEPT_CONNECTIONS,
                keepalive_expiry=KEPT_SECONDS,
            )
            # The operator's own proxy, if there is one, is for the makers alone: what policy allows
            # is reached by the address that was looked at.
            self._clients = (
                httpx.AsyncClient(verify=_authorities(), limits=limits, trust_env=True),
                httpx.AsyncClient(verify=_authorities(), limits=limits, trust_env=False),
            )
        self._visits += 1
        return self._clients

    async def _leave(self) -> None:
        self._visits -= 1
        if self._visits or self._clients is None:
            return
        models, web = self._clients
        self._clients = None
        await models.aclose()
        await web.aclose()


class OpenVisit:
    """One job's time at the gateway; see `Visit`."""

    def __init__(
        self,
        chosen: Mapping[str, Maker],
        placeholder: str,
        till: Till,
        model: ModelDoor,
        web: ProxyDoor,
        hidden: frozenset[str],
    ) -> None:
        self.placeholder = placeholder
        self.secrets = hidden
        self.spent: asyncio.Event = till.spent
        self.env: Mapping[str, str] = _env(chosen, placeholder)
        self._till = till
        self._model = model
        self._web = web
        to_models = (_door(MODEL, MODEL_PORT, model, forward.CONNECTIONS),) if chosen else ()
        self.doors: tuple[Door, ...] = (
            *to_models,
            _door(PROXY, PROXY_PORT, web, proxy.CONNECTIONS),
        )

    @property
    def usage(self) -> Usage:
        """What was used until now."""
        return self._till.usage

    @property
    def blocked(self) -> tuple[Blocked, ...]:
        """The hosts that were refused."""
        return tuple(self._web.blocked.values())

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The requests to models that failed since the last that did not, oldest first."""
        return tuple(self._model.failures)

    def allow(self, allowance: Allowance) -> None:
        """Let the job use so much in all, from its beginning; holds from the next request on."""
        self._till.allow(allowance)

    @property
    def reason(self) -> str:
        """The sentence with which the allowance stopped a request; empty until then."""
        return self._till.reason

    @property
    def unpriced(self) -> bool:
        """Whether that was for want of a price, and not of money."""
        return self._till.unpriced


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Return whom to trust; reading them takes 30 ms, so once a process."""
    return httpx.create_ssl_context()


def _door(name: str, port: int, handle: Handle, connections: int) -> Door:
    def serve(listening: socket.socket) -> AbstractAsyncContextManager[None]:
        return listen(listening, handle, connections=connections)

    return Door(name=name, port=port, serve=serve)


def _env(chosen: Mapping[str, Maker], placeholder: str) -> dict[str, str]:
    env = {}
    for maker in chosen.values():
        address, key = maker.env
        env[address] = f"{{door:{MODEL}}}{maker.prefix}"
        env[key] = placeholder
        env.update(maker.more)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        env[name] = env[name.lower()] = f"{{door:{PROXY}}}"
    env["NO_PROXY"] = env["no_proxy"] = _LOOPBACK
    return env


def _private(text: str) -> tuple[str, int]:
    host, port = hosts.split(text.strip())
    if not host or port is None:
        raise OperatorError(f"ORCHESTRATE_PRIVATE_HOSTS: {text!r} is not `host:port`.")
    return host, port
