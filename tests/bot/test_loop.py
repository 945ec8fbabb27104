"""The loop of servers starts programs and closes pipes as asyncio's own does."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, create_subprocess_exec
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from bot.loop import serving_loop

PAGES = 8192


@pytest.fixture
def on_loop() -> Callable[[Coroutine[Any, Any, None]], None]:
    def run(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=serving_loop) as runner:
            runner.run(asyncio.wait_for(work, 60))

    return run


Run = Callable[[Coroutine[Any, Any, None]], None]


def open_files() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())


def test_what_a_program_is_told_and_tells(on_loop: Run) -> None:
    async def work() -> None:
        command = ("/bin/sh", "-c", 'cat; echo "$WORD" >&2; exit 3')
        process = await create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={"WORD": "no"}, cwd="/"
        )
        much = b"word\n" * 100_000
        assert await process.communicate(much) == (much, b"no\n")
        assert process.returncode == await process.wait() == 3

    on_loop(work())


def test_many_at_once_end_each_by_itself(on_loop: Run) -> None:
    async def one(number: int) -> None:
        process = await create_subprocess_exec("/bin/sh", "-c", f"exit {number}", stdin=DEVNULL)
        assert await process.wait() == number

    async def work() -> None:
        before = len(open_files())
        await asyncio.gather(*map(one, range(20)))
        assert len(open_files()) == before

    on_loop(work())


def test_a_killed_program_says_by_what(on_loop: Run) -> None:
    async def work() -> None:
        process = await create_subprocess_exec("sleep", "60", stdout=PIPE)
        process.kill()
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            process.kill()

    on_loop(work())


def test_a_program_that_is_not_there(on_loop: Run) -> None:
    async def work() -> None:
        with pytest.raises(FileNotFoundError):
            await create_subprocess_exec("/nowhere/to/be/found")

    on_loop(work())


def test_only_what_is_passed_on_is_open_there(on_loop: Run) -> None:
    async def work() -> None:
        read, write = os.pipe()
        os.set_inheritable(read, True)
        os.set_inheritable(write, True)
        look = f"import os; os.write({write}, b'x'); os.fstat({read})"
        process = await create_subprocess_exec(
            *(sys.executable, "-c", look), pass_fds=(write,), stderr=DEVNULL
        )
        assert await process.wait() == 1
        assert os.read(read, 2) == b"x"
        os.close(read)
        os.close(write)

    on_loop(work())


def test_a_start_copies_no_memory(on_loop: Run) -> None:
    memory = bytearray(PAGES * resource.getpagesize())

    def touch() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        memory[:: resource.getpagesize()] = bytes(PAGES)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    async def work() -> None:
        touch()
        process = await create_subprocess_exec("true")
        assert touch() < PAGES / 4
        await process.wait()

    on_loop(work())


class Slow(io.FileIO):
    """A pipe's end while whose closing another thread opens something."""

    opened = -1

    def close(self) -> None:
        if not self.closed:
            self.opened = os.open("/dev/null", os.O_RDONLY)
        super().close()


@pytest.mark.parametrize("writes", [False, True])
def test_a_pipe_is_closed_once(on_loop: Run, writes: bool) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        mine, other = (write, read) if writes else (read, write)
        pipe = Slow(mine, "w" if writes else "r")
        transport: Any
        if writes:
            transport, _ = await loop.connect_write_pipe(asyncio.Protocol, pipe)
        else:
            transport, _ = await loop.connect_read_pipe(asyncio.Protocol, pipe)
        transport.close()
        await asyncio.sleep(0)
        if writes:
            assert os.read(other, 1) == b""
        else:
            with pytest.raises(BrokenPipeError):
                os.write(other, b"x")
        os.fstat(pipe.opened)  # that is open still
        os.close(pipe.opened)
        os.close(other)

    on_loop(work())
