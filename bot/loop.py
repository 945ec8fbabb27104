"""The event loop that servers run on: uvloop, but for how it starts processes and closes pipes.

uvloop forks for each process: with the 150 MB of a server that copies its page tables and, after
that, whatever is written to, 20 ms in which nothing else goes on. `Popen` borrows the memory until
the program is there (vfork), which is 2 ms, most of them the program's own.

uvloop closes a pipe that it was given twice, by its number. In between another thread may have
opened something under the same one, and that is closed then.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Callable
from typing import Any

import uvloop


def serving_loop() -> asyncio.AbstractEventLoop:
    """Make such a loop."""
    return _Loop()


class _Loop(uvloop.Loop):
    """What asyncio's own loop does where uvloop does otherwise; what is given is asyncio's, too."""

    async def connect_read_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
        return await super().connect_read_pipe(protocol_factory, _taken(pipe, "rb"))

    async def connect_write_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
        return await super().connect_write_pipe(protocol_factory, _taken(pipe, "wb"))

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], Any],
        *command: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        **more: Any,
    ) -> Any:
        """Start a program; `more` is what `Popen` takes."""
        protocol, connected = protocol_factory(), self.create_future()
        begun = _Begun(
            *(self, protocol, command, False, stdin, stdout, stderr, 0),
            waiter=connected,
            **more,
        )
        try:
            await connected
        except BaseException:
            begun.close()
            raise
        return begun, protocol


def _taken(pipe: Any, mode: str) -> Any:
    """Return a pipe under a number that is closed where uvloop closes it first, and not again."""
    number = os.dup(pipe.fileno())
    pipe.close()
    return open(number, mode, buffering=0, closefd=False)


class _Begun(BaseSubprocessTransport):
    """A program begun by `Popen`; the kernel tells the loop when it has ended."""

    _loop: asyncio.AbstractEventLoop
    _proc: subprocess.Popen[bytes] | None

    def _start(
        self,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        **more: Any,
    ) -> None:
        self._proc = subprocess.Popen(
            args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize, **more
        )
        end = os.pidfd_open(self._proc.pid)
        self._loop.add_reader(end, self._ended, self._proc, end)

    def _ended(self, process: subprocess.Popen[bytes], end: int) -> None:
        self._loop.remove_reader(end)
        os.close(end)
        # Whoever sent it a signal may have seen that it has ended: then this is what that one saw.
        self._process_exited(process.wait())
