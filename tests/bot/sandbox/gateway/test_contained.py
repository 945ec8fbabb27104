"""The gateway with real jobs: what one does inside a sandbox, through its doors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.gateway import Allowance, Gateway, Pass, Prices
from bot.sandbox.model import Job, Sandbox
from bot.sandbox.none import NoSandbox
from tests.bot.sandbox.gateway.conftest import environ
from tests.support.upstream import Asked, Writer, upstream

PYTHON = Path("/usr/bin/python3")
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="there is no Python in /usr")

ASK = """
import json, os, urllib.request
for _ in range(3):
    request = urllib.request.Request(
        os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages",
        json.dumps({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": []}).encode(),
        {"x-api-key": os.environ["ANTHROPIC_API_KEY"]},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.status, json.load(answer)["usage"]["output_tokens"])
    except urllib.error.HTTPError as error:
        print(error.code, json.load(error)["error"]["message"])
"""
FETCH = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            print(answer.status, answer.read().decode())
    except OSError as error:
        print(error)
"""
ROUND = """
import socket, sys
for port in map(int, sys.argv[1:]):
    try:
        socket.create_connection(("127.0.0.1", port), 2)
        print("reached")
    except OSError:
        print("not reached")
"""
SEE = """
import pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    for name in ("environ", "cmdline"):
        try:
            print((process / name).read_bytes())
        except OSError:
            pass
"""

MakeJob = Callable[..., Job]


@pytest.fixture(params=[Bubblewrap(), NoSandbox()], ids=lambda sandbox: str(sandbox.name))
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    chosen: Sandbox = request.param
    return chosen


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def make(program: str, *arguments: str, **changes: Any) -> Job:
        given: dict[str, Any] = {
            "argv": (str(PYTHON), "-I", "-c", program, *arguments),
            "workspace": workspace,
            "home": tmp_path / "home",
            "seconds": 60.0,
            "output_bytes": 100_000,
        }
        return Job(**{**given, **changes})

    return make


async def costs(asked: Asked, writer: Writer) -> None:
    usage = {"input_tokens": 1000, "output_tokens": 500}
    await writer.json({"type": "message", "model": "claude-sonnet-4-5", "usage": usage})


async def test_a_job_uses_a_model_until_its_allowance_is_used_up(
    sandbox: Sandbox, make_job: MakeJob
) -> None:
    async with upstream(costs) as up:
        gateway = Gateway(environ(up), Prices.load())
        allowed = Pass(frozenset({"anthropic"}), allowance=Allowance(usd=0.02))
        async with gateway.open(allowed) as visit:
            ended = await sandbox.run(make_job(ASK, env=visit.env, doors=visit.doors))
    assert ended.code == 0, ended.tail
    assert ended.tail.splitlines()[:2] == ["200 500", "200 500"]
    assert "budget is used up" in ended.tail
    assert [each.headers["x-api-key"] for each in up.asked] == ["real-anthropic-key"] * 2
    assert visit.usage.usd == pytest.approx(0.021)
    assert visit.spent.is_set()


async def test_a_job_reaches_what_policy_allows_and_nothing_else(
    sandbox: Sandbox, make_job: MakeJob
) -> None:
    async def hello(asked: Asked, writer: Writer) -> None:
        await writer.whole(b"hello", "text/plain")

    async with upstream(hello) as up:
        here = f"127.0.0.1:{up.port}"
        gateway = Gateway({}, Prices.load(), private_hosts=[here])
        async with gateway.open(Pass(hosts=(here,))) as visit:
            env = {name: value for name, value in visit.env.items() if name.lower() != "no_proxy"}
            urls = (f"http://{here}/x", "http://evil.example/", "https://evil.example/")
            job = make_job(FETCH, env=env, doors=visit.doors)
            (job.workspace / "fetch.py").write_text(FETCH)
            job = replace(job, argv=(str(PYTHON), "fetch.py", *urls))
            ended = await sandbox.run(job)
    allowed, refused, tunnel = ended.tail.splitlines()
    assert allowed == "200 hello"
    assert "403" in refused
    assert "403" in tunnel
    assert [(each.host, each.port) for each in visit.blocked] == [
        ("evil.example", 80),
        ("evil.example", 443),
    ]
    # The words behind are URLs, of which the first is shown.
    assert {each.program for each in visit.blocked} == {f"python3 fetch.py {urls[0]} {urls[1]}"}


async def test_without_its_doors_a_job_reaches_nothing(make_job: MakeJob) -> None:
    async with upstream(costs) as up:
        gateway = Gateway(environ(up), Prices.load())
        async with gateway.open(Pass(frozenset({"anthropic"}))) as visit:
            ports = [str(up.port), *(str(door.port) for door in visit.doors)]
            shut = await Bubblewrap().run(make_job(ROUND, *ports))
            opened = await Bubblewrap().run(make_job(ROUND, *ports, doors=visit.doors))
    assert shut.tail.split("\n") == ["not reached"] * 3
    assert opened.tail.split("\n") == ["not reached", "reached", "reached"]


async def test_the_key_is_nowhere_in_a_job(make_job: MakeJob) -> None:
    async with upstream(costs) as up:
        gateway = Gateway(environ(up), Prices.load())
        async with gateway.open(Pass(frozenset({"anthropic", "openai", "gemini"}))) as visit:
            ended = await Bubblewrap().run(make_job(SEE, env=visit.env, doors=visit.doors))
    assert ended.code == 0, ended.tail
    assert visit.placeholder in ended.tail
    assert not any(secret in ended.tail for secret in visit.secrets)
