"""Start a program, feed it, read it, hold it to its limits, and see every process of it dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

from bot.errors import OperatorError
from bot.sandbox.model import Ended, How, Job, OnOutput, Talk
from bot.sandbox.output import Output

# How long killed processes may take to be gone: the kernel needs milliseconds, a slow disk more.
DEATH_SECONDS = 10.0
# What is left in the pipe after the last process died is read within this.
DRAIN_SECONDS = 1.0
# The longest line that a talk's reader takes whole: an agent's message may hold a file's contents.
LINE_BYTES = 16 * 1024 * 1024
_CHUNK = 65_536  # the size of a Linux pipe
# Said by a program that waits to be let go, as its first byte of output: ACK, which no text has.
_HERE = b"\x06"
_WAIT = r'printf "\006" >&2 && read -r go && exec "$0" "$@"'


class Tree(Protocol):
    """The processes of one job, as the sandbox that started them can reach them."""

    async def ready(self) -> None:
        """Learn what is needed to kill them, and let the job's program begin."""

    async def tied(self) -> None:
        """Return when they are sure to end with us; asked when the job waits for the word."""

    async def exited(self) -> None:
        """Return when the job's own program has ended."""

    async def exceeded(self) -> How:
        """Return when they take more than they may together, with what that is."""

    def broke(self) -> How | None:
        """The limit at which the kernel stopped one of them; None where it did not."""

    async def kill(self) -> None:
        """Kill whatever is alive, and return when nothing is. Safe to call twice."""

    async def code(self, tail: str) -> int:
        """The exit code of a job that ended by itself and whose last output was `tail`."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process that we started: its output to read, and its input to write, or None.

    `speech` is its standard output where that is apart from `output`, which then is only its
    standard error. `pidfd` is readable when the process has ended. One that `waits` begins only at
    a word, see `waiting`.
    """

    process: subprocess.Popen[bytes]
    pidfd: int
    output: int
    input: int | None
    speech: int | None = None
    waits: bool = False

    async def wait(self) -> int:
        """Wait for the end; the code is -N after signal N."""
        if self.process.returncode is None:
            await readable(self.pidfd)
        return self.process.wait()

    def kill(self) -> None:
        """Kill the process, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()


class Starter(ABC):
    """A sandbox by the way it starts a job; how it is looked after is the same for all."""

    __slots__ = ()

    @abstractmethod
    async def start(self, job: Job, *, talks: bool) -> tuple[Started, Tree]:
        """Start `job`; raises OperatorError, and leaves nothing, where it cannot be."""

    async def run(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> Ended:
        """Run `job`; see `Sandbox.run`."""
        started, tree = await self.start(job, talks=False)
        return await supervise(started, tree, job, stop=stop, on_output=on_output)

    @contextlib.asynccontextmanager
    async def talk(
        self, job: Job, *, stop: asyncio.Event | None = None, on_output: OnOutput | None = None
    ) -> AsyncIterator[Talk]:
        """Start `job` to talk to it; see `Sandbox.talk`."""
        started, tree = await self.start(job, talks=True)
        async with converse(started, tree, job, stop=stop, on_output=on_output) as talk:
            yield talk


def waiting(argv: Sequence[str]) -> tuple[str, ...]:
    """The command that says that it is there, waits for the word, and becomes `argv`.

    A shell reads it from standard input, and not a byte more. Without the word, since we died, the
    program never begins: what would end it with us may not be in place before.
    """
    return ("/bin/sh", "-c", _WAIT, *argv)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    with_input: bool = False,
    talks: bool = False,
    waits: bool = False,
    pass_fds: Sequence[int] = (),
) -> Started:
    """Start `argv` in a session of its own, so that no signal to it reaches the bot's group.

    With `talks`, standard output comes apart from standard error. There is an input for one that
    talks, and for one that `waits`, see `waiting`. Not by the event loop: uvloop lets descriptors
    through that the bot inherited, and asyncio's wait for a process waits for everyone who holds
    its pipes. Raises OperatorError when the program cannot be started.
    """
    output, write = os.pipe()
    read, feed = os.pipe() if with_input or talks or waits else (subprocess.DEVNULL, None)
    speech, say = os.pipe() if talks else (None, None)
    try:
        process = subprocess.Popen(
            argv,
            stdin=read,
            stdout=write if say is None else say,
            stderr=write,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except OSError as error:
        _close(output, feed, speech)
        raise OperatorError(f"`{argv[0]}` cannot be started: {error.strerror}.") from error
    finally:
        _close(write, say, read if feed is not None else None)
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError as error:  # no descriptor is left
        process.kill()
        process.wait()
        _close(output, feed, speech)
        raise OperatorError(f"`{argv[0]}` cannot be watched: {error.strerror}.") from error
    return Started(process, pidfd, output, feed, speech, waits)


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
    output = await _output(started, tree, job, on_output)
    return await _watch(started, tree, job, stop, output, None)


async def _watch(
    started: Started,
    tree: Tree,
    job: Job,
    stop: asyncio.Event | None,
    output: Output,
    begun: asyncio.Event | None,
) -> Ended:
    """Watch a job and keep its output.

    Once it has begun `begun` is set for whoever talks to it; without one it is given its input.
    Not before: what is written to a job that waits would be taken for the word to begin.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    here = asyncio.Event()
    pump = asyncio.create_task(_pump(started, output, here))
    feed: asyncio.Task[None] | None = None
    try:
        deadline = start + job.seconds
        how = await _within(deadline, stop, _begin(started, tree, here))
        if how is None:
            if begun is None:
                feed = asyncio.create_task(_feed(started.input, job.stdin))
            else:
                begun.set()
            how = await _first(tree, pump, output, stop, deadline)
    finally:
        await tree.kill()
        await _finish(pump, feed)
        if begun is None and feed is None:
            _close(started.input)
        output.close()
        os.close(started.pidfd)
    if how == "exited":
        how = tree.broke() or ("too_much_output" if output.full else how)
    if not pump.cancelled():
        pump.result()  # raises what `on_output` raised
    code = await tree.code(output.tail()) if how == "exited" else None
    return Ended(code, how, output.tail(), loop.time() - start)


@contextlib.asynccontextmanager
async def converse(
    started: Started,
    tree: Tree,
    job: Job,
    *,
    stop: asyncio.Event | None,
    on_output: OnOutput | None,
) -> AsyncIterator[Talk]:
    """Watch a started job as `supervise` does, while others talk to it; see `Sandbox.talk`."""
    assert started.speech is not None, "it was started to talk"
    assert started.input is not None, "it was started to talk"
    output = await _output(started, tree, job, on_output)
    speech = _Speech(output)
    killed, begun = asyncio.Event(), asyncio.Event()
    relayed = asyncio.create_task(_relay(stop, killed))
    over = asyncio.create_task(_watch(started, tree, job, killed, output, begun))
    over.add_done_callback(lambda _: begun.set())  # one that never began is over
    reading: asyncio.ReadTransport | None = None
    writer: asyncio.StreamWriter | None = None
    unopened: int | None = started.input
    try:
        reading = await _read(started.speech, speech)
        await begun.wait()
        # From here on it is closed by what it is opened for, also where that does not come to be.
        unopened = None
        writer = await _write(started.input)
        yield _Conversation(speech, writer, killed, over)
    finally:
        killed.set()
        relayed.cancel()
        await asyncio.wait({over, relayed})
        _close(unopened)
        if writer is not None:
            _hang_up(writer)
        if reading is not None:
            reading.close()
        failed = None if over.cancelled() else over.exception()
    if failed is not None:  # the sandbox did not start, and nobody asked
        raise failed


def _hang_up(writer: asyncio.StreamWriter) -> None:
    # Not close(): that waits for what is buffered, and nobody is left to read it.
    # One that the job's death has closed already is gone.
    if writer.transport.get_write_buffer_size() or not writer.transport.is_closing():
        writer.transport.abort()


class _Speech(asyncio.StreamReader):
    """A job's standard output, which counts towards what it may print."""

    def __init__(self, counted: Output) -> None:
        super().__init__(limit=LINE_BYTES)
        self._counted = counted

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        if taken := self._counted.count(bytes(data)):
            super().feed_data(taken)


@dataclass(slots=True)
class _Conversation:
    """Fulfils `Talk` for a job that `_watch` watches."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    killed: asyncio.Event
    over: asyncio.Task[Ended]

    async def ended(self) -> Ended:
        # Whoever stops waiting has not asked for the job's end.
        return await asyncio.shield(self.over)

    async def kill(self) -> None:
        self.killed.set()
        await asyncio.wait({self.over})


async def _relay(stop: asyncio.Event | None, killed: asyncio.Event) -> None:
    if stop is not None:
        await stop.wait()
        killed.set()


async def _output(
    started: Started,
    tree: Tree,
    job: Job,
    on_output: OnOutput | None,
) -> Output:
    try:
        return Output(job.output_bytes, job.log, on_output, job.secrets)
    except OSError as error:
        await tree.kill()
        _close(started.output, started.pidfd, started.input, started.speech)
        raise OperatorError(
            f"The log {job.log} cannot be written ({error.strerror}): look at its folder."
        ) from error


async def _within(
    deadline: float, stop: asyncio.Event | None, start: Coroutine[Any, Any, None]
) -> How | None:
    """Wait for the start; say what came before it, or None."""
    loop = asyncio.get_running_loop()
    starting = asyncio.create_task(start)
    stopped = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        left = max(0.0, deadline - loop.time())
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait({starting, stopped}, timeout=left, return_when=first)
        if starting in done:
            starting.result()
            return None
        return "stopped" if done else "timed_out"
    finally:
        starting.cancel()
        stopped.cancel()
        await asyncio.wait({starting, stopped})


async def _first(
    tree: Tree,
    pump: asyncio.Task[None],
    output: Output,
    stop: asyncio.Event | None,
    deadline: float,
) -> How:
    """Wait for whichever comes first, and name it."""
    ends: dict[asyncio.Task[Any], How] = {
        asyncio.create_task(tree.exited()): "exited",
        asyncio.create_task((stop or asyncio.Event()).wait()): "stopped",
        asyncio.create_task(output.flooded.wait()): "too_much_output",
    }
    exceeded = asyncio.create_task(tree.exceeded())
    pending = {*ends, exceeded, pump}
    try:
        while True:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            done, pending = await asyncio.wait(
                pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return "timed_out"
            if exceeded in done:
                return exceeded.result()
            for task in done:
                task.result()
            if named := [how for task, how in ends.items() if task in done]:
                return named[0]
    finally:
        for task in (*ends, exceeded):
            task.cancel()
        # Their clean-up must be over before anyone waits on the same descriptor again.
        await asyncio.wait({*ends, exceeded})


async def _read(descriptor: int, reader: asyncio.StreamReader) -> asyncio.ReadTransport:
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return transport


async def _write(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", 0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _begin(started: Started, tree: Tree, here: asyncio.Event) -> None:
    """Let the job begin, once all is ready for it and, where it waits, it is there."""
    await tree.ready()
    if started.waits:
        assert started.input is not None, "it waits at its input"
        await here.wait()
        await tree.tied()
        with contextlib.suppress(BrokenPipeError):
            os.write(started.input, b"go\n")


async def _pump(started: Started, output: Output, here: asyncio.Event) -> None:
    """Read until the end, or until the limit; tell when the job is there, or never will be."""
    reader = asyncio.StreamReader(limit=_CHUNK)
    transport = await _read(started.output, reader)
    try:
        while not output.full and (data := await reader.read(_CHUNK)):
            if started.waits and not here.is_set():
                data = data.removeprefix(_HERE)
            here.set()
            output.feed(data)
    finally:
        here.set()
        transport.close()


async def _feed(descriptor: int | None, data: bytes) -> None:
    """Write `data` and close; a program that does not read its input is no error."""
    if descriptor is None:
        return
    writer = await _write(descriptor)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            writer.write(data)
            await writer.drain()
        finally:
            # Not close(): that waits for what is buffered, and nobody may be left to read it.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.transport.close()


async def _finish(pump: asyncio.Task[None], feed: asyncio.Task[None] | None) -> None:
    """Read what is left in the pipe, and give up on what does not end."""
    both = {pump, feed} if feed else {pump}
    if feed:
        feed.cancel()
    await asyncio.wait(both, timeout=DRAIN_SECONDS)
    pump.cancel()
    await asyncio.wait(both)


def _close(*descriptors: int | None) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)
