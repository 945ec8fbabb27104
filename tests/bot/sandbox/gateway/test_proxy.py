from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bot.errors import ConfigError, OperatorError
from bot.sandbox.gateway import Gateway, Pass, Prices, proxy
from bot.sandbox.gateway.server import READ_BYTES
from tests.bot.sandbox.gateway.conftest import Enter, Inside, until
from tests.support.upstream import Asked, Writer, upstream

NOBODY: dict[str, str] = {}


async def hello(asked: Asked, writer: Writer) -> None:
    await writer.whole(b"hello", "text/plain")


class Web:
    """Names that lead where a test says, and how often each was asked for."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (family[":" in each], socket.SOCK_STREAM, 6, "", (each, port))
            for each in self.names[host]
        ]


@pytest.fixture
async def web(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[str]]], Web]:
    def make(names: dict[str, list[str]]) -> Web:
        made = Web(names)
        real = asyncio.get_running_loop().getaddrinfo

        async def getaddrinfo(host: Any, port: Any, **more: Any) -> Any:
            if host in made.names or not _is_address(host):
                return await made.getaddrinfo(host, port, **more)
            return await real(host, port, **more)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return made

    return make


def _is_address(host: Any) -> bool:
    return isinstance(host, str) and (":" in host or host.replace(".", "").isdigit())


def through(inside: Inside) -> httpx.AsyncClient:
    return httpx.AsyncClient(proxy=inside.env("HTTP_PROXY"), trust_env=False, timeout=10)


async def connect(inside: Inside, authority: str, more: str = "") -> tuple[bytes, Any, Any]:
    """The answer's head to a CONNECT, and both ends of what follows."""
    reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("proxy"))
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{more}\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"\r\n\r\n")
    return answer, reader, writer


async def _broken_off(reader: asyncio.StreamReader) -> None:
    """Wait until the other side ends the connection, without a word."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def test_a_job_without_models_has_the_proxy_alone(enter: Enter) -> None:
    async with enter(NOBODY, makers=frozenset()) as inside:
        assert [door.name for door in inside.visit.doors] == ["proxy"]
        assert inside.env("HTTPS_PROXY") == inside.env("http_proxy")
        assert "127.0.0.1" in inside.visit.env["NO_PROXY"]
        assert not any("KEY" in name for name in inside.visit.env)


async def test_an_allowed_host_is_reached(enter: Enter) -> None:
    async with upstream(hello) as up:
        here = f"127.0.0.1:{up.port}"
        async with (
            enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside,
            through(inside) as client,
        ):
            response = await client.post(
                f"http://{here}/simple/?a=%2F&b=1",
                content=b"body",
                headers={"proxy-authorization": "Basic x", "x-kept": "1"},
            )
    assert (response.status_code, response.content) == (200, b"hello")
    asked = up.asked[0]
    assert (asked.method, asked.target, asked.body) == ("POST", "/simple/?a=%2F&b=1", b"body")
    assert asked.headers["host"] == here
    assert asked.headers["x-kept"] == "1"
    assert "proxy-authorization" not in asked.headers
    assert inside.visit.blocked == ()


async def test_a_tunnel_carries_bytes_both_ways(enter: Enter) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.upper())
            await writer.drain()
        writer.write(b"!")
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    here = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside:
        answer, reader, writer = await connect(inside, here)
        assert answer.startswith(b"HTTP/1.1 200 ")
        sent = b"abc" * 300_000
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(10):
            assert await reader.read(-1) == sent.upper() + b"!"
        writer.close()
    server.close()


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://evil.example/", "evil.example", 80),
        ("http://evil.example:8080/x", "evil.example", 8080),
        ("http://registry.example:8080/", "registry.example", 8080),
        ("http://registry.example.evil.example/", "registry.example.evil.example", 80),
        ("http://registry.example@evil.example/", "evil.example", 80),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254", 80),
        ("http://127.0.0.1:8000/", "127.0.0.1", 8000),
        ("http://localhost:8000/", "localhost", 8000),
    ],
)
async def test_another_host_is_refused_and_told_once(
    enter: Enter, url: str, host: str, port: int
) -> None:
    before = time.time()
    async with (
        enter(NOBODY, makers=frozenset(), hosts=["registry.example"]) as inside,
        through(inside) as client,
    ):
        headers = {"user-agent": "pip/24.0 {...}\x7f"}
        responses = [await client.get(url, headers=headers) for _ in range(3)]
        tunnel, _, writer = await connect(inside, f"{host}:{port}")
        writer.close()
    assert [each.status_code for each in responses] == [403] * 3
    assert responses[0].text == f"{host}:{port} is not among the hosts that this job may reach.\n"
    assert tunnel.startswith(b"HTTP/1.1 403 ")
    (blocked,) = inside.visit.blocked
    assert (blocked.host, blocked.port) == (host, port)
    assert before <= blocked.at <= time.time()


async def test_a_program_that_is_not_found_is_told_as_it_names_itself(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "command_of", lambda client, door: "")
    async with enter(NOBODY, makers=frozenset()) as inside, through(inside) as client:
        await client.get("http://a.example/", headers={"user-agent": "pip/24.0 {...}\x7f"})
        await client.get("http://b.example/", headers={"user-agent": "x" * 500})
    assert [each.program for each in inside.visit.blocked] == ["pip/24.0 {...}", "x" * 80]


async def test_an_address_in_brackets_is_refused_as_well(enter: Enter) -> None:
    async with enter(NOBODY, makers=frozenset()) as inside:
        answer, reader, writer = await connect(inside, "[::1]:8000")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert (await reader.readline()).startswith(b"[::1]:8000 is not among")
        writer.close()
    assert [(each.host, each.port) for each in inside.visit.blocked] == [("::1", 8000)]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["151.101.0.223", "192.168.0.1"],
    ],
)
async def test_a_name_that_leads_to_a_private_address_is_refused(
    enter: Enter, web: Callable[[dict[str, list[str]]], Web], addresses: list[str]
) -> None:
    web({"registry.example": addresses})
    async with (
        enter(NOBODY, makers=frozenset(), hosts=["registry.example"]) as inside,
        through(inside) as client,
    ):
        response = await client.get("http://registry.example/")
        tunnel, _, writer = await connect(inside, "registry.example:443")
        writer.close()
    assert response.status_code == 403
    assert "ORCHESTRATE_PRIVATE_HOSTS=registry.example:80" in response.text
    assert tunnel.startswith(b"HTTP/1.1 403 ")
    assert [(each.host, each.port) for each in inside.visit.blocked] == [
        ("registry.example", 80),
        ("registry.example", 443),
    ]


async def test_a_private_address_that_policy_names_waits_for_the_operator(enter: Enter) -> None:
    async with upstream(hello) as up:
        here = f"127.0.0.1:{up.port}"
        async with (
            enter(NOBODY, makers=frozenset(), hosts=[here]) as inside,
            through(inside) as client,
        ):
            response = await client.get(f"http://{here}/")
    assert response.status_code == 403
    assert up.asked == []


async def test_a_private_address_that_the_operator_names_waits_for_policy(enter: Enter) -> None:
    async with upstream(hello) as up:
        here = f"127.0.0.1:{up.port}"
        async with (
            enter(NOBODY, makers=frozenset(), private=[here]) as inside,
            through(inside) as client,
        ):
            response = await client.get(f"http://{here}/")
    assert response.status_code == 403
    assert up.asked == []


async def test_a_name_of_the_operators_network_is_reached(
    enter: Enter, web: Callable[[dict[str, list[str]]], Web]
) -> None:
    async with upstream(hello) as up:
        names = web({"registry.lan.corp": ["127.0.0.1"]})
        here = f"registry.lan.corp:{up.port}"
        async with (
            enter(
                NOBODY, makers=frozenset(), hosts=[f"*.lan.corp:{up.port}"], private=[here]
            ) as inside,
            through(inside) as client,
        ):
            response = await client.get(f"http://{here}/")
    assert response.status_code == 200
    assert up.asked[0].headers["host"] == here
    # It is looked up once, so that it cannot lead elsewhere between the look and the connection.
    assert names.asked == ["registry.lan.corp"]


async def test_the_metadata_address_is_not_reached_by_a_name(
    enter: Enter, web: Callable[[dict[str, list[str]]], Web]
) -> None:
    web({"metadata.corp": ["169.254.169.254"]})
    here = "metadata.corp:80"
    async with (
        enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside,
        through(inside) as client,
    ):
        assert (await client.get(f"http://{here}/")).status_code == 403


async def test_a_host_that_is_not_found_or_silent_is_told(
    enter: Enter, web: Callable[[dict[str, list[str]]], Web]
) -> None:
    web({})
    async with (
        enter(
            NOBODY,
            makers=frozenset(),
            hosts=["none.example", "127.0.0.1:9"],
            private=["127.0.0.1:9"],
        ) as inside,
        through(inside) as client,
    ):
        missing = await client.get("http://none.example/")
        silent = await client.get("http://127.0.0.1:9/")
        tunnel, _, writer = await connect(inside, "127.0.0.1:9")
        writer.close()
    assert (missing.status_code, missing.text) == (502, "none.example is not found.\n")
    assert silent.status_code == 502
    assert tunnel.startswith(b"HTTP/1.1 502 ")
    assert inside.visit.blocked == ()


async def test_a_redirect_is_for_the_client_to_follow(enter: Enter) -> None:
    async def elsewhere(asked: Asked, writer: Writer) -> None:
        await writer.whole(b"", "text/plain", 302, location="http://evil.example/")

    async with upstream(elsewhere) as up:
        here = f"127.0.0.1:{up.port}"
        async with (
            enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside,
            through(inside) as client,
        ):
            response = await client.get(f"http://{here}/")
            followed = await client.get(response.headers["location"])
    assert (response.status_code, followed.status_code) == (302, 403)


@pytest.mark.parametrize(
    "first",
    [
        "GET / HTTP/1.1",
        "GET https://registry.example/ HTTP/1.1",
        "GET ftp://registry.example/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://[::1/ HTTP/1.1",
        "GET http://127.1/ HTTP/1.1",
        "CONNECT registry.example HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ],
)
async def test_what_is_not_for_a_proxy_is_answered(enter: Enter, first: str) -> None:
    async with enter(NOBODY, makers=frozenset(), hosts=["registry.example"]) as inside:
        reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("proxy"))
        writer.write(f"{first}\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_second_request_on_a_connection_is_looked_at_as_well(enter: Enter) -> None:
    async with upstream(hello) as up:
        here = f"127.0.0.1:{up.port}"
        async with enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside:
            reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("proxy"))
            for host in (here, "evil.example"):
                writer.write(f"GET http://{host}/ HTTP/1.1\r\nhost: {here}\r\n\r\n".encode())
            async with asyncio.timeout(10):
                first = await reader.readuntil(b"hello")
                second = await reader.readuntil(b"\r\n\r\n")
            writer.close()
    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 403 ")


async def test_a_tunnel_is_not_asked_for_with_a_body(enter: Enter) -> None:
    async with upstream(hello) as up:
        here = f"127.0.0.1:{up.port}"
        async with enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside:
            answer, _, writer = await connect(inside, here, "Content-Length: 5\r\n")
            writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_bytes_of_a_job_are_bounded(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "PASSED_BYTES", 1000)

    async def much(asked: Asked, writer: Writer) -> None:
        await writer.whole(b"x" * 5000, "text/plain")

    async with upstream(much) as up:
        here = f"127.0.0.1:{up.port}"
        async with (
            enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside,
            through(inside) as client,
        ):
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://{here}/")
            after = await client.get(f"http://{here}/")
            tunnel, _, writer = await connect(inside, here)
            writer.close()
    assert (after.status_code, "all the bytes" in after.text) == (403, True)
    assert tunnel.startswith(b"HTTP/1.1 403 ")


async def test_bytes_of_a_tunnel_are_bounded(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "PASSED_BYTES", 1000)
    got = 0

    async def drink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        while data := await reader.read(100):
            got += len(data)
        writer.close()

    server = await asyncio.start_server(drink, "127.0.0.1", 0)
    here = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside:
        _, reader, writer = await connect(inside, here)
        writer.write(b"x" * 1_000_000)
        await _broken_off(reader)
        writer.close()
    server.close()
    assert got <= 1000 + READ_BYTES


async def test_a_silent_tunnel_ends(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "SILENCE_SECONDS", 0.1)

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(nothing, "127.0.0.1", 0)
    here = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside:
        _, reader, writer = await connect(inside, here)
        await _broken_off(reader)
        writer.close()
    server.close()


async def test_connections_of_a_job_are_bounded(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "CONNECTIONS", 1)
    async with enter(NOBODY, makers=frozenset()) as inside:
        _, held = await asyncio.open_connection("127.0.0.1", inside.port("proxy"))
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", inside.port("proxy"))
        writer.write(b"GET http://a.example/ HTTP/1.1\r\nhost: a\r\n\r\n")
        await _broken_off(reader)
        held.close()
        writer.close()


async def test_many_blocked_hosts_are_bounded(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "BLOCKED_KEPT", 3)
    async with (
        enter(NOBODY, makers=frozenset()) as inside,
        through(inside) as client,
    ):
        for number in range(5):
            assert (await client.get(f"http://h{number}.example/")).status_code == 403
    assert [each.host for each in inside.visit.blocked] == [f"h{n}.example" for n in range(3)]


async def test_leaving_the_visit_ends_tunnels(enter: Enter) -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    here = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with enter(NOBODY, makers=frozenset(), hosts=[here], private=[here]) as inside:
        _, _, writer = await connect(inside, here)
    await until(ended.is_set)
    writer.close()
    server.close()


async def test_a_wrong_host_in_policy_or_settings_is_told_before_anything_runs() -> None:
    gateway = Gateway(NOBODY, Prices.load())
    with pytest.raises(ConfigError, match="is not a host"):
        async with gateway.open(Pass(hosts=("https://registry.example/",))):
            pass
    with pytest.raises(OperatorError, match="ORCHESTRATE_PRIVATE_HOSTS"):
        Gateway(NOBODY, Prices.load(), private_hosts=["registry.lan.corp"])


async def test_models_without_a_key_are_told_before_anything_runs() -> None:
    gateway = Gateway({"OPENAI_API_KEY": "k"}, Prices.load())
    assert gateway.configured() == {"openai", "copilot"}
    with pytest.raises(OperatorError, match="set ANTHROPIC_API_KEY"):
        async with gateway.open(Pass(frozenset({"anthropic"}))):
            pass
    async with gateway.open(Pass(frozenset({"anthropic", "openai"}))) as visit:
        assert set(visit.env) >= {"OPENAI_BASE_URL", "OPENAI_API_KEY"}
        assert "ANTHROPIC_API_KEY" not in visit.env
