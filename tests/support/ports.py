"""Ports for processes that come and go."""

from __future__ import annotations

import socket

_HELD: list[socket.socket] = []


def own_port() -> int:
    """Return a port that nobody takes by chance while these tests run.

    It is bound and not listened on, so that Linux gives it to nobody else; who asks for it by
    number, with SO_REUSEADDR as servers do, may listen on it. That is said after it was bound:
    else it might be one that another holds in the same way.
    """
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _HELD.append(holder)
    return int(holder.getsockname()[1])
