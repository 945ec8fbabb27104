"""Git work in processes of its own, so that no event loop waits for it.

pygit2 and zlib hold the interpreter for as long as they work: in a thread, 60 MB of blobs stop
everything else for a second. A worker process also keeps its repositories open from call to call.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, Protocol, TypeVar

from bot.errors import TransientError

P = ParamSpec("P")
T = TypeVar("T")

_PR_SET_PDEATHSIG = 1


class Call(Protocol):
    """Runs a function elsewhere and returns what it does; `asyncio.to_thread` is one."""

    def __call__(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[T]:
        """Run `function`, which must be a module's own, on values that can be copied."""


class Pool:
    """Worker processes, started as they are needed, at most `workers` at once."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a worker; TransientError where the worker is killed meanwhile."""
        executor = self._executor = self._executor or self._made()
        job = _Job(function, args, kwargs)
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, job)
        except BrokenProcessPool as error:
            if self._executor is executor:
                self._executor = None
            raise TransientError("A git worker was killed; it is started again.") from error

    async def stop(self) -> None:
        """End the workers; what is under way is given up."""
        executor, self._executor = self._executor, None
        if executor is not None:
            for process in (executor._processes or {}).values():
                process.terminate()
            await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)

    def _made(self) -> ProcessPoolExecutor:
        # Spawned, since forking copies the threads' locks in whatever state they are.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, context, _begin)


class _Job:
    """A call on its way to a worker."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        return self._function(*self._args, **self._kwargs)


def _begin() -> None:
    """Die with the server, however it dies, and leave the terminal's signals to it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
