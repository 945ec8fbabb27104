"""Which program is at the other end of a job's connection, as far as the machine tells.

A door listens in the job's own network and the connection comes from there, so the process is
found by the sockets that each network lists and each process holds. It is a help for people who
read of a blocked host, and believed in nothing: a job may call its processes as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
WORDS: Final = 4  # `python3 pip install requests`
CHARACTERS: Final = 80
# Columns of /proc/PID/net/tcp.
_LOCAL, _REMOTE, _INODE = 1, 2, 9
_PLAIN: Final = re.compile(r"[\w@.+:/-]+")


def command_of(client: int, door: int) -> str:
    """Return the command with a connection from the port `client` to `door`; empty when unknown.

    Its options, and all behind the first, are left out: they are long, and may hold secrets.
    """
    for processes in _by_network().values():
        inode = _socket(processes[0], client, door)
        if inode:
            holders = [process for process in processes if _holds(process, inode)]
            # A shell that started the program may hold the connection as well; it came before.
            return _shown(max(holders, key=_number)) if holders else ""
    return ""


def _by_network() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for process in _processes():
        try:
            network = (process / "ns" / "net").readlink()
        except OSError:
            continue  # it has gone, or is none of ours
        found.setdefault(str(network), []).append(process)
    return found


def _processes() -> Iterator[Path]:
    return (each for each in PROC.iterdir() if each.name.isdigit())


def _number(process: Path) -> int:
    return int(process.name)


def _socket(process: Path, client: int, door: int) -> str:
    """Return the number of the client's socket in the network of `process`; empty without one."""
    try:
        lines = (process / "net" / "tcp").read_text().splitlines()[1:]
    except OSError:
        return ""
    ends = (f"{client:04X}", f"{door:04X}")
    for line in lines:
        columns = line.split()
        if (columns[_LOCAL].rpartition(":")[2], columns[_REMOTE].rpartition(":")[2]) == ends:
            return columns[_INODE]
    return ""


def _holds(process: Path, inode: str) -> bool:
    wanted = f"socket:[{inode}]"
    try:
        return any(str(each.readlink()) == wanted for each in (process / "fd").iterdir())
    except OSError:
        return False


def _shown(process: Path) -> str:
    try:
        line = (process / "cmdline").read_bytes()
    except OSError:
        return ""
    # A program that names itself, as npm does, has its words in one argument.
    words = line.decode("utf-8", "replace").replace("\0", " ").split()
    kept = []
    for word in words[:WORDS]:
        if word.startswith("-") or not _PLAIN.fullmatch(word):
            break
        kept.append(word if "://" in word else word.rstrip("/").rpartition("/")[2])
    return " ".join(kept)[:CHARACTERS]
