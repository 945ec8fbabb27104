"""Git work in processes of its own, so that no event loop waits for it.

pygit2 and zlib hold the interpreter for as long as they work: in a thread, 60 MB of blobs stop
everything else for a second. A worker is `python -m bot.git.worker`; it keeps its repositories open
from call to call, and can be ended when it takes too long.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys
from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar, cast

from bot.errors import TransientError

from .worker import LENGTH, Answer, framed

P = ParamSpec("P")
T = TypeVar("T")

CALL_SECONDS = 300.0
"""Seconds for one call: a first look at a checkout of 57,000 files takes ten, on a slow disk."""


LARGE = 64 * 1024
"""Bytes of an answer that is made objects of beside the event loop: what changed in 10,000 files is
1 MB, and takes some 30 ms."""


class Call(Protocol):
    """Runs a function elsewhere and returns what it does; `asyncio.to_thread` is one."""

    def __call__(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[T]:
        """Run `function`, which must be a module's own, on values that can be copied."""


class Pool:
    """Worker processes, started as they are needed, at most `workers` at once."""

    def __init__(self, workers: int) -> None:
        self._free = asyncio.Semaphore(workers)
        self._idle: list[asyncio.subprocess.Process] = []
        self._busy: set[asyncio.subprocess.Process] = set()

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a worker; whoever is cancelled meanwhile ends the worker with it.

        Raises TransientError where the worker dies or takes too long, else what `function` raises.
        """
        asked = framed(pickle.dumps((function, args, kwargs)))
        async with self._free:
            answer = await self._asked(asked, function.__name__)
        if answer.error is not None:
            raise answer.error
        return cast(T, answer.value)

    async def stop(self) -> None:
        """End the workers; what is under way is given up."""
        for worker in (*self._idle, *self._busy):
            await _end(worker)
        self._idle.clear()

    async def _asked(self, asked: bytes, name: str) -> Answer:
        worker = self._idle.pop() if self._idle else await _started()
        self._busy.add(worker)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await _exchange(worker, asked)
        except TimeoutError as error:
            await _end(worker)
            raise TransientError(f"{name} took longer than {CALL_SECONDS:g} seconds.") from error
        except (EOFError, OSError) as error:
            await _end(worker)
            raise TransientError(f"A git worker died at {name}.") from error
        except BaseException:
            await asyncio.shield(_end(worker))
            raise
        finally:
            self._busy.discard(worker)
        self._idle.append(worker)
        return answer


async def _started() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot.git.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # the terminal's signals are for the server
    )


async def _exchange(worker: asyncio.subprocess.Process, asked: bytes) -> Answer:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(asked)
    await worker.stdin.drain()
    (length,) = LENGTH.unpack(await worker.stdout.readexactly(LENGTH.size))
    # Only we and the worker hold the pipe's ends, so what comes is what it made of our question.
    data = await worker.stdout.readexactly(length)
    if length < LARGE:
        return cast(Answer, pickle.loads(data))  # noqa: S301
    return cast(Answer, await asyncio.to_thread(pickle.loads, data))


async def _end(worker: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.kill()
    await worker.communicate()  # reads on, so that the pipes are closed
