from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bot.sandbox.gateway.caller import command_of

CONNECT = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.stdin.readline())))
sys.stdin.readline()
"""


@contextmanager
def connected(*arguments: str) -> Iterator[tuple[int, int]]:
    """The ports of a connection that a program of those arguments made."""
    listening = socket.create_server(("127.0.0.1", 0))
    door = listening.getsockname()[1]
    program = [sys.executable, *arguments]
    with subprocess.Popen(program, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(f"{door}\n")
        process.stdin.flush()
        accepted, peer = listening.accept()
        yield peer[1], door
        process.stdin.write("\n")
        process.stdin.close()
        accepted.close()
    listening.close()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("install", "left-pad"), " install left-pad"),
        (("get", "https://evil.example/x"), " get https://evil.example/x"),
        (("login", "--token", "hush"), " login"),
        (("-H", "Authorization: hush"), ""),
        (("a=hush", "b"), ""),
    ],
)
def test_the_command_is_told_without_its_options(
    tmp_path_factory: pytest.TempPathFactory, arguments: tuple[str, ...], shown: str
) -> None:
    script = tmp_path_factory.mktemp("bin") / "tool"
    script.write_text(CONNECT)
    with connected(str(script), *arguments) as (client, door):
        assert command_of(client, door).endswith(f" tool{shown}")


def test_a_connection_that_is_not_there_has_no_command() -> None:
    with connected("-c", CONNECT) as (client, door):
        assert command_of(client, door + 1 if door < 65535 else 1) == ""
