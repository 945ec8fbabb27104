"""The command line without the second that it takes to load.

`python -m tests.support.commands` loads the product once; then it forks a process for each command
that it is sent over a socket, with the arguments, environment, folder and standard streams of that
command. The process is the child of whoever asked and ends as a program does, so that it can be
waited for, read and killed like any other. What a command costs to load is measured elsewhere;
the program itself is started where a test is about that, or about what a process shows of itself.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SET_CHILD_SUBREAPER = 36
"""Of prctl(2): orphans of one's descendants become one's own children."""

LENGTH_BYTES = 8
MODULE = "-m"
"""In front of a command that is a module of Python's, and not of `orchestrate`."""

LAZY = (
    *("dbos._sys_db_sqlite", "rich._emoji_codes", "sqlalchemy.dialects.sqlite.aiosqlite"),
    *("httpcore._async.http11", "uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl"),
    *("anyio._backends._asyncio", "hishel", "sniffio"),
)
"""What libraries load when they are used."""

PROGRAMS = ("bot.hub.widgets", "bot.migrations.")
"""What is executed and not imported."""

_asking = threading.Lock()


class Command(subprocess.Popen[str]):
    """A command that is forked from the process that has loaded the product.

    Its arguments are those of `orchestrate`, or `-m`, a module and its arguments.
    """

    def _execute_child(self, args: Sequence[str], *given: Any) -> None:
        """Start the process: what `Popen` calls when its pipes are made."""
        _executable, _before, _close, _pass, cwd, env = given[:6]
        streams = given[9:15]
        session = given[20]
        order = {
            "args": [str(each) for each in args],
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "session": bool(session),
        }
        p2cread, _, _, c2pwrite, _, errwrite = streams
        descriptors = [
            own if other == -1 else other for own, other in enumerate((p2cread, c2pwrite, errwrite))
        ]
        try:
            self.pid = _fork(json.dumps(order).encode(), descriptors)
            self._child_created = True
        finally:
            self._close_pipe_fds(*streams)  # type: ignore[attr-defined]


def orchestrate(
    *args: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its exit code and what it printed."""
    pipe = subprocess.PIPE
    with Command(args, env=env, cwd=cwd, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def python(*args: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a module of the tests as a program, in the project's folder."""
    return orchestrate(MODULE, *args, cwd=ROOT, timeout=timeout)


def _fork(order: bytes, descriptors: list[int]) -> int:
    with _asking:
        parent = _parent()
        # Whom the fork leaves behind as an orphan is this process's child from then on.
        _adopt(True)
        try:
            size = len(order).to_bytes(LENGTH_BYTES, "big")
            socket.send_fds(parent, [size], descriptors)
            parent.sendall(order)
            told = parent.recv(LENGTH_BYTES, socket.MSG_WAITALL)
        finally:
            _adopt(False)
    assert len(told) == LENGTH_BYTES, "the process that forks commands has ended"
    return int.from_bytes(told, "big")


def _adopt(yes: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, int(yes), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@functools.cache
def _parent() -> socket.socket:
    """Start the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# -- the process that forks


def load() -> None:
    """Load whatever a command may import, and what the tests that are programs do."""
    import pytest  # noqa: F401

    import bot

    for each in pkgutil.walk_packages(bot.__path__, "bot."):
        if not each.name.startswith(PROGRAMS):
            importlib.import_module(each.name)
    for name in LAZY:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork has but the thread that made it"
    gc.collect()
    gc.freeze()


def _orders(asked: socket.socket) -> list[str]:
    """Fork for each order until there are no more; in a fork return the command."""
    while True:
        size, descriptors, _, _ = socket.recv_fds(asked, LENGTH_BYTES, 3)
        if not size:
            return []
        length = int.from_bytes(size, "big")
        order = json.loads(asked.recv(length, socket.MSG_WAITALL))
        reading, writing = os.pipe()
        middle = os.fork()
        if middle == 0:
            pid = os.fork()
            if pid:
                os.write(writing, pid.to_bytes(LENGTH_BYTES, "big"))
                os._exit(0)
            os.close(reading)
            os.close(writing)
            asked.close()
            return _become(order, descriptors)
        os.close(writing)
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(middle, 0)
        asked.sendall(os.read(reading, LENGTH_BYTES))
        os.close(reading)


def _become(order: dict[str, Any], descriptors: list[int]) -> list[str]:
    """Take on what a program is given at its start."""
    if order["session"]:
        os.setsid()
    for own, given in enumerate(descriptors):
        os.dup2(given, own)
        os.close(given)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    text = functools.partial(open, encoding="utf-8", closefd=False)
    sys.stdin, sys.stdout = text(0, "r"), text(1, "w")
    sys.stderr = text(2, "w", buffering=1, errors="backslashreplace")
    args: list[str] = order["args"]
    return args


def main() -> None:
    """Fork commands until the socket, whose number is the argument, is closed; be one in a fork."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    load()
    args = _orders(asked)
    if not args:
        return
    if args[0] == MODULE:
        sys.argv = args[1:]
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
        return
    from bot.cli import main as command

    sys.argv = ["orchestrate", *args]
    # By this a program that is a module is told from a script, and is named otherwise in its help.
    sys.modules["__main__"].__package__ = None
    command()


if __name__ == "__main__":
    main()
