"""Start a program, feed it, read it, hold it to its limits, and see every process of it dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bot.errors import OperatorError
from bot.sandbox.model import Ended, How, Job, OnOutput
from bot.sandbox.output import Output

# How long killed processes may take to be gone: the kernel needs milliseconds, a slow disk more.
DEATH_SECONDS = 10.0
# What is left in the pipe after the last process died is read within this.
DRAIN_SECONDS = 1.0
_CHUNK = 65_536  # the size of a Linux pipe


class Tree(Protocol):
    """The processes of one job, as the sandbox that started them can reach them."""

    async def ready(self) -> None:
        """Learn what is needed to kill them."""

    async def exited(self) -> None:
        """Return when the job's own program has ended."""

    async def kill(self) -> None:
        """Kill whatever is alive, and return when nothing is. Safe to call twice."""

    async def code(self, tail: str) -> int:
        """The exit code of a job that ended by itself and whose last output was `tail`."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process that we started: its output to read, and its input to write, or None.

    `pidfd` is readable when the process has ended.
    """

    process: subprocess.Popen[bytes]
    pidfd: int
    output: int
    input: int | None

    async def wait(self) -> int:
        """Wait for the end; the code is -N after signal N."""
        if self.process.returncode is None:
            await readable(self.pidfd)
        return self.process.wait()

    def kill(self) -> None:
        """Kill the process, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    with_input: bool,
    pass_fds: Sequence[int] = (),
) -> Started:
    """Start `argv` in a session of its own, so that no signal to it reaches the bot's group.

    Not by the event loop: uvloop lets descriptors through that the bot inherited, and asyncio's
    wait for a process waits for everyone who holds its pipes. Raises OperatorError when the
    program cannot be started.
    """
    output, write = os.pipe()
    read, feed = os.pipe() if with_input else (subprocess.DEVNULL, None)
    try:
        process = subprocess.Popen(
            argv,
            stdin=read,
            stdout=write,
            stderr=write,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except OSError as error:
        _close(output, feed)
        raise OperatorError(f"`{argv[0]}` cannot be started: {error.strerror}.") from error
    finally:
        _close(write, read if with_input else None)
    return Started(process, os.pidfd_open(process.pid), output, feed)


async def readable(descriptor: int) -> None:
    """Wait until `descriptor` can be read; one waiter at a time for each descriptor."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)


async def supervise(
    started: Started,
    tree: Tree,
    job: Job,
    *,
    stop: asyncio.Event | None,
    on_output: OnOutput | None,
) -> Ended:
    """Watch a started job until it ends or must; then kill what is left of it, and say how it was.

    The tree is killed in every case, also when the job ended by itself, `on_output` raised or we
    were cancelled: nothing that a job left behind may touch the workspace afterwards.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    output = await _output(started, tree, job, on_output)
    pump = asyncio.create_task(_pump(started.output, output))
    feed = asyncio.create_task(_feed(started.input, job.stdin))
    try:
        await tree.ready()
        how = await _first(tree, pump, stop, begun + job.seconds)
    finally:
        await tree.kill()
        await _finish(pump, feed)
        output.close()
        os.close(started.pidfd)
    if how == "exited" and output.full:
        how = "too_much_output"
    if not pump.cancelled():
        pump.result()  # raises what `on_output` raised
    code = await tree.code(output.tail()) if how == "exited" else None
    return Ended(code, how, output.tail(), loop.time() - begun)


async def _output(started: Started, tree: Tree, job: Job, on_output: OnOutput | None) -> Output:
    try:
        return Output(job.output_bytes, job.log, on_output)
    except OSError as error:
        await tree.kill()
        _close(started.output, started.input, started.pidfd)
        raise OperatorError(
            f"The log {job.log} cannot be written ({error.strerror}): look at its folder."
        ) from error


async def _first(
    tree: Tree, pump: asyncio.Task[bool], stop: asyncio.Event | None, deadline: float
) -> How:
    """Wait for whichever comes first, and name it."""
    loop = asyncio.get_running_loop()
    exited = asyncio.create_task(tree.exited())
    stopped = asyncio.create_task((stop or asyncio.Event()).wait())
    pending: set[asyncio.Task[bool] | asyncio.Task[None]] = {exited, stopped, pump}
    try:
        while True:
            left = max(0.0, deadline - loop.time())
            done, pending = await asyncio.wait(
                pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            if pump in done and pump.result():
                return "too_much_output"
            if exited in done:
                exited.result()
                return "exited"
            if stopped in done:
                return "stopped"
            if not done:
                return "timed_out"
    finally:
        exited.cancel()
        stopped.cancel()
        # Their clean-up must be over before anyone waits on the same descriptor again.
        await asyncio.wait({exited, stopped})


async def _pump(descriptor: int, output: Output) -> bool:
    """Read until the end, or until the limit: then return True."""
    reader = asyncio.StreamReader(limit=_CHUNK)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    try:
        while not output.full and (data := await reader.read(_CHUNK)):
            output.feed(data)
    finally:
        transport.close()
    return output.full


async def _feed(descriptor: int | None, data: bytes) -> None:
    """Write `data` and close; a program that does not read its input is no error."""
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", 0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            writer.write(data)
            await writer.drain()
        finally:
            # Not close(): that waits for what is buffered, and nobody may be left to read it.
            if transport.get_write_buffer_size():
                transport.abort()
            else:
                transport.close()


async def _finish(pump: asyncio.Task[bool], feed: asyncio.Task[None]) -> None:
    """Read what is left in the pipe, and give up on what does not end."""
    feed.cancel()
    await asyncio.wait({pump, feed}, timeout=DRAIN_SECONDS)
    pump.cancel()
    await asyncio.wait({pump, feed})


def _close(*descriptors: int | None) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)
