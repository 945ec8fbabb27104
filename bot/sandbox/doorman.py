"""Opens listening sockets inside the network of another process. A program of its own.

Entering a user namespace takes a process with one thread, and the bot has several: this one is
started once, beside it, and makes a child for each question, which enters and answers. It imports
nothing of ours, since it runs with the standard library alone.

A question is one message: ports of 16 bits, and the descriptor of a network namespace. The answer
is a message with the listening sockets in the order of the ports, or with what went wrong.
"""

import array
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path

PORT = struct.Struct("<H")
QUESTION_BYTES = 512
BACKLOG = 128  # what a browser or a package manager opens at once is less

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_NS_GET_USERNS = 0xB701
_IP_FREEBIND = 15  # the loopback of a new network may not be up yet


def main() -> None:
    """Answer until the bot has gone."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a child
    while True:
        question, network = _receive(asked)
        if not question:
            return
        if os.fork() == 0:
            _answer(asked, question, network)
            os._exit(0)
        os.close(network)


def _receive(asked: socket.socket) -> tuple[bytes, int]:
    data, ancillary, _, _ = asked.recvmsg(QUESTION_BYTES, socket.CMSG_SPACE(4))
    for _level, _kind, content in ancillary:
        return data, int.from_bytes(content[:4], sys.byteorder)
    return b"", -1


def _answer(asked: socket.socket, question: bytes, network: int) -> None:
    try:
        _enter(network)
        sockets = [_listen(port) for (port,) in PORT.iter_unpack(question)]
    except OSError as error:
        asked.sendmsg([os.strerror(error.errno or 0).encode()])
        return
    numbers = array.array("i", [each.fileno() for each in sockets])
    asked.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])


def _enter(network: int) -> None:
    """Go into the network, by way of the user namespace that it belongs to."""
    libc = ctypes.CDLL(None, use_errno=True)
    owner = fcntl.ioctl(network, _NS_GET_USERNS)
    if os.fstat(owner).st_ino != Path("/proc/self/ns/user").stat().st_ino:
        _check(libc.setns(owner, _CLONE_NEWUSER))
    _check(libc.setns(network, _CLONE_NEWNET))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "")


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(BACKLOG)
    return listening


if __name__ == "__main__":
    main()
