"""The model door: requests of a job go to the makers of models, with the real key."""

from __future__ import annotations

import hmac
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import httpx

from bot.sandbox.gateway.budget import OUTPUT_TOKENS, Asked, Held, Spent, Till
from bot.sandbox.gateway.counting import Count, HideUsage, Meter, parse
from bot.sandbox.gateway.makers import CREDENTIALS, KEYS, Maker
from bot.sandbox.gateway.model import Failure
from bot.sandbox.gateway.pace import Pace
from bot.sandbox.gateway.server import Exchange, Headers, TooLarge
from bot.sandbox.gateway.wires import Route, wants_usage_hidden, with_usage

REQUEST_BYTES: Final = 32 * 1024**2  # the most that Anthropic takes of a message
# Values in a request, each of which takes a hundred bytes of memory once it is read: the longest
# conversations have a tenth.
REQUEST_PARTS: Final = 1_000_000
HELD_BYTES: Final = 2 * REQUEST_BYTES  # of all requests of a job at once
CONNECTIONS: Final = 64  # of one job: agents ask ten things at once, and keep what they opened
CONNECT_SECONDS: Final = 15.0  # makers answer in less than one; a machine that swaps needs more
SILENCE_SECONDS: Final = 600.0  # models think for minutes before an answer that is not streamed
FAILURES_KEPT: Final = 20
FAILURE_BYTES: Final = 4096  # of an error's text, to find its message in
SENTENCE_CHARACTERS: Final = 300

TIMEOUT: Final = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS, pool=None)

# Between two ends of one connection only, RFC 9110 7.6.1; and what this end says itself.
_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
_OURS: Final = frozenset({"host", "content-length", "accept-encoding", "expect"})
_UNTOLD: Final = frozenset({"set-cookie", "alt-svc"})
# What the libraries of Anthropic and OpenAI obey, whatever the status.
_NO_RETRY: Final[Headers] = ((b"x-should-retry", b"false"),)
# Nothing came of a request that failed so; of others the maker may have made an answer.
_UNSENT: Final = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError),
    *(httpx.WriteError, httpx.WriteTimeout, httpx.ProtocolError, httpx.UnsupportedProtocol),
    httpx.InvalidURL,
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class _Way:
    """Where one request goes."""

    maker: Maker
    route: Route
    path: str
    query: str


class ModelDoor:
    """Answers the requests of one job; see `Exchange`."""

    def __init__(
        self,
        makers: Mapping[str, Maker],
        placeholder: str,
        till: Till,
        client: httpx.AsyncClient,
    ) -> None:
        self.failures: deque[Failure] = deque(maxlen=FAILURES_KEPT)
        self._makers = makers
        self._placeholder = placeholder.encode()
        self._till = till
        self._client = client
        self._held_bytes = 0
        self._pace = Pace()

    async def __call__(self, exchange: Exchange) -> None:
        """Forward one request, or answer it with why not."""
        path, _, query = exchange.target.partition("?")
        maker = self._maker(path)
        if maker is None or path.rstrip("/") == maker.prefix.rstrip("/"):
            await self._elsewhere(exchange, maker, path)
            return
        query, given = _without_key(query)
        if not self._opens(exchange, given):
            await self._refuse(exchange, maker, 401, "This is not the key of this job.")
            return
        rest = path[len(maker.prefix) :]
        route = maker.wire.route(exchange.method, rest)
        if route is None:
            say = f"{exchange.method} {rest[:100]} is not among the requests that are forwarded."
            await self._refuse(exchange, maker, 404, say)
            return
        await self._with_body(exchange, _Way(maker, route, rest, query))

    def _maker(self, path: str) -> Maker | None:
        for maker in self._makers.values():
            if path == maker.prefix or path.startswith(f"{maker.prefix}/"):
                return maker
        return None

    async def _elsewhere(self, exchange: Exchange, maker: Maker | None, path: str) -> None:
        """Programs try the bare address to see whether somebody is there."""
        if exchange.method in {"GET", "HEAD"} and (maker is not None or path == "/"):
            await exchange.answer(200, b"")
            return
        reachable = ", ".join(each.prefix for each in self._makers.values())
        await exchange.answer(404, f"Only {reachable} are here.\n".encode(), headers=_NO_RETRY)

    def _opens(self, exchange: Exchange, given: str) -> bool:
        """Whether the job's placeholder is in any place where programs put a key."""
        bearer = exchange.header("authorization").partition(" ")[2].strip()
        names = ("x-api-key", "x-goog-api-key", "api-key")
        offered = [given, bearer, *(exchange.header(name) for name in names)]
        return any(hmac.compare_digest(each.encode(), self._placeholder) for each in offered)

    async def _with_body(self, exchange: Exchange, way: _Way) -> None:
        length = exchange.header("content-length")
        room = min(int(length), REQUEST_BYTES) if length.isdigit() else REQUEST_BYTES
        if exchange.method == "GET":
            room = 0
        if self._held_bytes + room > HELD_BYTES:
            await self._refuse(exchange, way.maker, 503, "Too many large requests at once.")
            return
        self._held_bytes += room
        try:
            body = await exchange.body(REQUEST_BYTES)
            await self._checked(exchange, way, body)
        except TooLarge:
            say = (
                f"A request has at most {REQUEST_BYTES // 1024**2} MB and {REQUEST_PARTS:,} parts."
            )
            await self._refuse(exchange, way.maker, 413, say)
        finally:
            self._held_bytes -= room

    async def _checked(self, exchange: Exchange, way: _Way, body: bytes) -> None:
        if way.route.reader is None:
            await exchange.while_there(self._free(exchange, way, body))
            return
        if sum(map(body.count, (b",", b"[", b"{"))) > REQUEST_PARTS:
            raise TooLarge
        await self._pace.turn(len(body))
        with self._pace:
            parsed = None if exchange.header("content-encoding") else parse(body)
        if not isinstance(parsed, dict):
            await self._refuse(exchange, way.maker, 400, "The request is not a JSON object.")
            return
        wanted = way.maker.wire.wanted(way.path, parsed)
        if wanted.wrong or not wanted.model:
            say = wanted.wrong or "The request names no model."
            await self._refuse(exchange, way.maker, 400, say)
            return
        output = OUTPUT_TOKENS if wanted.output_tokens is None else wanted.output_tokens
        asked = Asked(wanted.model, wanted.tier, len(body), output)
        hide = wants_usage_hidden(way.route.reader, parsed)
        if hide:
            body = with_usage(body, parsed)
        del parsed  # many times the size of its text, and answers take minutes
        await exchange.while_there(self._paid(exchange, way, body, asked, hide))

    async def _paid(
        self, exchange: Exchange, way: _Way, body: bytes, asked: Asked, hide: bool
    ) -> None:
        try:
            held = await self._till.hold(asked)
        except Spent as error:
            await self._refuse(exchange, way.maker, way.maker.wire.spent, str(error))
            return
        await _Passing(self, exchange, way, held).run(body, hide)

    async def _free(self, exchange: Exchange, way: _Way, body: bytes) -> None:
        await _Passing(self, exchange, way, None).run(body, hide=False)

    async def _refuse(self, exchange: Exchange, maker: Maker, status: int, say: str) -> None:
        retry = () if status == 503 else _NO_RETRY
        complaint = maker.wire.complaint(status, say)
        await exchange.answer(status, complaint, "application/json", retry)

    def request(self, exchange: Exchange, way: _Way, body: bytes) -> httpx.Request:
        """Return the request as the maker gets it."""
        query = f"?{way.query}" if way.query else ""
        return httpx.Request(
            exchange.method,
            f"{way.maker.base}{way.path}{query}",
            headers=_outward(exchange.headers, way.maker),
            content=body or None,
            extensions={"timeout": TIMEOUT.as_dict()},
        )

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send it, once."""
        return await self._client.send(request, stream=True, follow_redirects=False)

    def settle(self, held: Held | None, count: Count | None, answer_bytes: int) -> None:
        """Charge a request that was counted."""
        if held is not None:
            self._till.settle(held, count, answer_bytes)

    def worked(self) -> None:
        """Forget what failed before."""
        self.failures.clear()

    def failed(self, maker: Maker, status: int, sentence: str) -> None:
        """Remember that a request failed."""
        shown = _UNPRINTABLE.sub(" ", sentence)[:SENTENCE_CHARACTERS]
        self.failures.append(Failure(maker.name, status, shown, time.time()))


class _Passing:
    """One request on its way, and its answer on the way back."""

    def __init__(self, door: ModelDoor, exchange: Exchange, way: _Way, held: Held | None) -> None:
        self._door = door
        self._exchange = exchange
        self._way = way
        self._held = held
        self._meter: Meter | None = None
        self._sent = False
        self._passed = 0

    async def run(self, body: bytes, hide: bool) -> None:
        """Forward, pass the answer on, charge for it; nothing is tried twice."""
        try:
            request = self._door.request(self._exchange, self._way, body)
            del body
            self._sent = True
            response = await self._door.send(request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._sent = not isinstance(error, _UNSENT)
            await self._unreached(error)
        else:
            await self._answered(response, hide)
        finally:
            self._door.settle(self._held, self._count(), self._passed)

    async def _answered(self, response: httpx.Response, hide: bool) -> None:
        hiding = HideUsage() if hide and response.is_success else None
        if response.is_success and self._way.route.reader is not None:
            self._meter = Meter(
                self._way.route.reader,
                response.headers.get("content-type", ""),
                response.headers.get("content-encoding", ""),
            )
        self._sent = response.is_success  # errors cost nothing
        try:
            await self._exchange.start(
                response.status_code, _inward(response, unchanged=hiding is None)
            )
            await self._pass(response, hiding)
        except httpx.HTTPError as error:
            self._broke_off(error)
        finally:
            await response.aclose()

    async def _pass(self, response: httpx.Response, hiding: HideUsage | None) -> None:
        said = bytearray()
        async for chunk in response.aiter_raw():
            self._passed += len(chunk)
            if self._meter is not None:
                self._meter.feed(chunk)
            elif len(said) < FAILURE_BYTES:
                said += chunk[:FAILURE_BYTES]
            shown = hiding.feed(chunk) if hiding is not None else chunk
            if shown:
                await self._exchange.send(shown)
        if hiding is not None and (left := hiding.rest()):
            await self._exchange.send(left)
        if response.is_error:
            maker, status = self._way.maker, response.status_code
            self._door.failed(maker, status, _sentence(maker, status, bytes(said)))
        elif self._meter is not None:
            self._door.worked()
        await self._exchange.end()

    def _count(self) -> Count | None:
        if not self._sent:
            return None
        return self._meter.done() if self._meter is not None else Count()

    async def _unreached(self, error: Exception) -> None:
        maker = self._way.maker
        host = httpx.URL(maker.base).host
        why = _UNPRINTABLE.sub(" ", str(error))[:100] or type(error).__name__
        say = f"{host} cannot be reached from the server: {why}."
        self._door.failed(maker, 0, say)
        await self._exchange.answer(502, maker.wire.complaint(502, say), "application/json")

    def _broke_off(self, error: Exception) -> None:
        """The answer is left without its end, so the client's connection is broken off as well."""
        maker = self._way.maker
        why = str(error) or type(error).__name__
        self._door.failed(maker, 0, f"{maker.title} broke its answer off: {why}.")


def _outward(headers: Headers, maker: Maker) -> list[tuple[str, str]]:
    """Return a request's headers with the real key, without what is for this end alone."""
    told = [(name.decode("ascii"), value.decode("latin-1")) for name, value in headers]
    dropped = _HOP | _OURS | CREDENTIALS | _listed(told)
    kept = [(name, value) for name, value in told if name not in dropped]
    if maker.betas:
        asked = [value for name, value in kept if name == "anthropic-beta"]
        kept = [(name, value) for name, value in kept if name != "anthropic-beta"]
        named = [part.strip() for value in asked for part in value.split(",")]
        betas = dict.fromkeys([*maker.betas, *(name for name in named if name)])
        kept.append(("anthropic-beta", ",".join(betas)))
    # Whole answers are counted as they pass; what is compressed has to be undone for that.
    return [*kept, ("accept-encoding", "identity"), *maker.headers]


def _inward(response: httpx.Response, *, unchanged: bool) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers for the job."""
    told = [
        (name.decode("latin-1").lower(), value.decode("latin-1"), name, value)
        for name, value in response.headers.raw
    ]
    dropped = _HOP | _UNTOLD | _listed([(name, value) for name, value, _, _ in told])
    if not unchanged:
        dropped |= {"content-length"}
    return [(name, value) for lower, _, name, value in told if lower not in dropped]


def _listed(headers: list[tuple[str, str]]) -> frozenset[str]:
    """Return the headers that `Connection` names as its own."""
    values = [value for name, value in headers if name.lower() == "connection"]
    return frozenset(part.strip().lower() for value in values for part in value.split(","))


def _without_key(query: str) -> tuple[str, str]:
    """Return a query without `key`, where Gemini's programs may put it, and what that was."""
    if "key" not in query:
        return query, ""
    pairs = parse_qsl(query, keep_blank_values=True)
    given = next((value for name, value in pairs if name == "key"), "")
    return urlencode([(name, value) for name, value in pairs if name != "key"]), given


def _sentence(maker: Maker, status: int, said: bytes) -> str:
    if status in {401, 403}:
        if maker.key:
            return f"{maker.title} refused the key ({status}): check {maker.key} on the server."
        return f"{maker.title} wants a key ({status}): set {KEYS[maker.name]} on the server."
    message = _message(said)
    return f"{maker.title} answered {status}{f': {message}' if message else ''}."


def _message(said: bytes) -> str:
    parsed: Any = parse(said)
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    error = parsed.get("error") if isinstance(parsed, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message.strip().rstrip(".") if isinstance(message, str) else ""
