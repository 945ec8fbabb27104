"""Doors: ports of a job's own loopback behind which the bot listens."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bot.errors import OperatorError
from bot.sandbox import doorman
from bot.sandbox.model import Door, Job

# Where a door is that may be anywhere, in a network that has nothing else.
FIRST_PORT: Final = 18_000
# The doorman answers in a millisecond; a machine that swaps needs more.
ANSWER_SECONDS: Final = 10.0
# The kernel hands over 253 descriptors in one message.
MAX_DOORS: Final = 16


def numbered(doors: Sequence[Door]) -> tuple[int, ...]:
    """The port of each door, in a network that has nothing but them."""
    ports: list[int] = []
    for door in doors:
        port = door.port or next(p for p in range(FIRST_PORT, 65_536) if p not in ports)
        if port in ports:
            raise ValueError(f"two doors at port {port}")
        ports.append(port)
    return tuple(ports)


def told(job: Job, ports: Sequence[int]) -> Job:
    """The job, with the addresses of its doors in its arguments and variables."""
    if not job.doors:
        return job
    addresses = {
        f"{{door:{door.name}}}": f"http://127.0.0.1:{port}"
        for door, port in zip(job.doors, ports, strict=True)
    }
    env = {name: _filled(value, addresses) for name, value in job.env.items()}
    return replace(job, argv=tuple(_filled(each, addresses) for each in job.argv), env=env)


def _filled(text: str, addresses: Mapping[str, str]) -> str:
    for mark, address in addresses.items():
        text = text.replace(mark, address)
    return text


def listen_on_host(doors: Sequence[Door]) -> list[socket.socket]:
    """Listen at free ports of the host's loopback, one for each door."""
    return [socket.create_server(("127.0.0.1", 0), backlog=doorman.BACKLOG) for _ in doors]


async def serve(doors: Sequence[Door], sockets: Sequence[socket.socket]) -> AsyncExitStack:
    """Let what belongs behind each door serve it; until the stack is closed."""
    async with AsyncExitStack() as stack:
        for listening in sockets:
            stack.callback(listening.close)
        for door, listening in zip(doors, sockets, strict=True):
            listening.setblocking(False)
            await stack.enter_async_context(door.serve(listening))
        return stack.pop_all()
    raise AssertionError("the block above returns or raises")


@dataclass(slots=True, weakref_slot=True)
class Doorman:
    """The program that listens inside of other networks; started when it is first asked.

    One question at a time, so that answers need no name.
    """

    _asking: socket.socket | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def listen(self, pid: int, ports: Sequence[int]) -> list[socket.socket]:
        """Listen at `ports` of the loopback that the process `pid` has."""
        assert len(ports) <= MAX_DOORS, "more doors than anything needs"
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            async with self._turn:
                return await asyncio.to_thread(self._ask, network, ports)
        finally:
            os.close(network)

    def _ask(self, network: int, ports: Sequence[int]) -> list[socket.socket]:
        asking = self._asking or self._start()
        question = b"".join(map(doorman.PORT.pack, ports))
        rights = array.array("i", [network])
        try:
            asking.sendmsg([question], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            answer, numbers = _descriptors(asking)
        except OSError as error:
            self._forget()
            raise OperatorError(
                f"The network of the job does not open ({error.strerror or error}): run "
                "`orchestrate doctor` to see what the sandbox lacks."
            ) from error
        if len(numbers) != len(ports):
            reason = answer.decode(errors="replace").strip("\0") or "no answer"
            raise OperatorError(
                f"The network of the job does not open ({reason}): run `orchestrate doctor` to "
                "see what the sandbox lacks."
            )
        return [socket.socket(fileno=number) for number in numbers]

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            program = [sys.executable, "-I", "-S", str(Path(doorman.__file__))]
            process = subprocess.Popen(
                [*program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.settimeout(ANSWER_SECONDS)
        # It ends when this end of the pair is closed, as it is when the bot is killed.
        weakref.finalize(self, _end, ours, process)
        self._asking = ours
        return ours

    def _forget(self) -> None:
        if self._asking is not None:
            self._asking.close()
            self._asking = None


def _end(asking: socket.socket, process: subprocess.Popen[bytes]) -> None:
    asking.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(ANSWER_SECONDS)


def _descriptors(asking: socket.socket) -> tuple[bytes, list[int]]:
    data, ancillary, _, _ = asking.recvmsg(
        doorman.QUESTION_BYTES, socket.CMSG_SPACE(4 * MAX_DOORS), socket.MSG_CMSG_CLOEXEC
    )
    numbers = array.array("i")
    for _level, kind, content in ancillary:
        if kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, list(numbers)
