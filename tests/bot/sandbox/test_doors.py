"""Ports of a job's own loopback behind which the bot listens, and jobs that are talked to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from bot.errors import OperatorError
from bot.sandbox.doors import numbered
from bot.sandbox.model import Door, Job, Sandbox
from tests.bot.sandbox.conftest import MakeJob, alive, until

Serve = Callable[[socket.socket], AbstractAsyncContextManager[None]]

ASK = (
    "import os, urllib.request\n"
    "for name in sorted(os.environ):\n"
    "    if name.startswith('DOOR'):\n"
    "        print(name, urllib.request.urlopen(os.environ[name]).read().decode())\n"
)


def saying(word: str, served: list[str] | None = None) -> Serve:
    """What listens behind a door: it answers each request with `word`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 200 OK\r\ncontent-length: {len(word)}\r\n\r\n{word}".encode())
        await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def serve(listening: socket.socket) -> AsyncIterator[None]:
        server = await asyncio.start_server(answer, sock=listening)
        async with server:
            if served is not None:
                served.append("open")
            yield
        if served is not None:
            served.append("closed")

    return serve


def asking(make_job: MakeJob, *doors: Door) -> Job:
    env = {f"DOOR_{door.name}": f"{{door:{door.name}}}/" for door in doors}
    return make_job("", argv=("python3", "-c", ASK), env=env, doors=doors)


async def test_a_door_leads_to_the_bot(sandbox: Sandbox, make_job: MakeJob) -> None:
    served: list[str] = []
    one = Door(name="one", port=8080, serve=saying("first", served))
    two = Door(name="two", port=0, serve=saying("second"))
    ended = await sandbox.run(asking(make_job, one, two))
    assert ended.tail.splitlines() == ["DOOR_one first", "DOOR_two second"]
    assert served == ["open", "closed"]


async def test_a_door_is_where_it_was_asked_for(make_job: MakeJob, walled: Sandbox) -> None:
    door = Door(name="model", port=18901, serve=saying("here"))
    ended = await walled.run(make_job("echo {door:model} {door:other}", doors=(door,)))
    assert ended.tail == "http://127.0.0.1:18901 {door:other}"


async def test_many_jobs_have_the_same_door(make_job: MakeJob, walled: Sandbox) -> None:
    doors = [Door(name="d", port=9000, serve=saying(f"word {n}")) for n in range(8)]
    ended = await asyncio.gather(*(walled.run(asking(make_job, each)) for each in doors))
    assert [each.tail for each in ended] == [f"DOOR_d word {n}" for n in range(8)]


async def test_what_fails_behind_a_door_ends_the_job(
    sandbox: Sandbox, make_job: MakeJob, nap: str
) -> None:
    @contextlib.asynccontextmanager
    async def fail(listening: socket.socket) -> AsyncIterator[None]:
        if listening:
            raise OperatorError("No key.")
        yield

    door = Door(name="model", port=0, serve=fail)
    with pytest.raises(OperatorError, match="No key"):
        await sandbox.run(make_job(nap, doors=(door,)))
    assert not alive(nap)


def test_doors_that_may_be_anywhere_are_apart() -> None:
    def door(port: int) -> Door:
        return Door(name=f"at{port}", port=port, serve=saying(""))

    ports = numbered([door(0), door(80), door(0)])
    assert ports[1] == 80
    assert len(set(ports)) == 3
    with pytest.raises(ValueError, match="two doors"):
        numbered([door(80), door(80)])


async def test_a_job_is_talked_to(sandbox: Sandbox, make_job: MakeJob) -> None:
    script = 'echo warm >&2; while read line; do echo "heard $line"; done; echo bye; exit 3'
    lines: list[str] = []
    async with sandbox.talk(make_job(script), on_output=lines.append) as talk:
        for word in (b"one", b"two"):
            talk.writer.write(word + b"\n")
            assert await talk.reader.readline() == b"heard " + word + b"\n"
        talk.writer.close()
        ended = await talk.ended()
        assert await talk.reader.read() == b"bye\n"
    assert (ended.code, ended.how, ended.tail, lines) == (3, "exited", "warm", ["warm"])


async def test_leaving_a_talk_ends_the_job(sandbox: Sandbox, make_job: MakeJob, nap: str) -> None:
    async with sandbox.talk(make_job(f"setsid {nap} & (setsid {nap} &) ; cat")):
        assert await until(lambda: alive(nap))
    assert not alive(nap)


async def test_a_talk_that_is_killed_says_so(sandbox: Sandbox, make_job: MakeJob, nap: str) -> None:
    async with sandbox.talk(make_job(f"echo up; {nap}")) as talk:
        assert await talk.reader.readline() == b"up\n"
        await talk.kill()
        assert not alive(nap)
        assert (await talk.ended()).how == "stopped"


async def test_a_talk_is_stopped_from_outside(
    sandbox: Sandbox, make_job: MakeJob, nap: str
) -> None:
    stop = asyncio.Event()
    async with sandbox.talk(make_job(nap), stop=stop) as talk:
        assert await until(lambda: alive(nap))
        stop.set()
        assert (await talk.ended()).how == "stopped"
    assert not alive(nap)


async def test_both_streams_of_a_talk_count_as_output(sandbox: Sandbox, make_job: MakeJob) -> None:
    script = "head -c 600 /dev/zero; head -c 600 /dev/zero >&2; sleep 60"
    async with sandbox.talk(make_job(script, output_bytes=1000)) as talk:
        ended = await asyncio.wait_for(talk.ended(), 60)
    assert ended.how == "too_much_output"


async def test_a_talk_whose_words_nobody_reads_does_not_fill_the_memory(
    sandbox: Sandbox, make_job: MakeJob
) -> None:
    script = "yes | head -c 200000000; echo through >&2"
    job = make_job(script, output_bytes=1_000_000_000, seconds=2)
    async with sandbox.talk(job) as talk:
        ended = await talk.ended()
    assert (ended.how, ended.tail) == ("timed_out", "")


async def test_the_time_of_a_talk_is_limited(sandbox: Sandbox, make_job: MakeJob, nap: str) -> None:
    async with sandbox.talk(make_job(nap, seconds=0.3)) as talk:
        assert await talk.reader.read() == b""
        assert (await talk.ended()).how == "timed_out"
    assert not alive(nap)


async def test_secrets_are_not_written(sandbox: Sandbox, make_job: MakeJob) -> None:
    secret = "sk-test-0123456789abcdef"
    log = make_job("").home / "log"
    lines: list[str] = []
    job = make_job(f"echo key {secret}", log=log.with_name("log"), secrets=frozenset({secret}))
    ended = await sandbox.run(job, on_output=lines.append)
    assert lines == [ended.tail] == ["key [secret]"]
    assert secret not in log.read_text()
