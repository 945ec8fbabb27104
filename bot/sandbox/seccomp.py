"""A filter of system calls: what no agent or check needs, and what kernels were broken by.

It takes away what namespaces, once made, still leave: making more of them, mounting, keyrings (the
kernel keeps them by user, not by job), and the interfaces most kernel exploits went through.
"""

from __future__ import annotations

import errno
import platform
import socket
import struct
from collections.abc import Sequence
from typing import Final, Literal

Sockets = Literal["all", "tcp", "none"]

# Name: number on x86_64, number on aarch64 (and all later architectures).
DENIED: Final = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_CLONE: Final = (56, 220)
_SOCKET: Final = (41, 198)
_NO_FAMILY: Final = 0xFFFF
# With this flag sending connects: the calls, and which of their arguments holds flags.
_FAST_OPEN: Final = 0x20000000
_SENDING: Final = (((44, 206), 3), ((46, 211), 2), ((307, 269), 3))
_CLONE3: Final = 435
_NEW_NAMESPACES: Final = 0x7E020000  # every CLONE_NEW… flag that clone(2) takes

_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32: Final = 0x40000000  # numbers of a second way to call an x86_64 kernel

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ARGUMENTS_AT = (16, 24, 32, 40)
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
# A C library that is told that there is no such call takes the older one, which can be looked into.
_UNKNOWN = 0x00050000 | errno.ENOSYS


def program(sockets: Sockets = "all") -> bytes | None:
    """The filter in the kernel's form; None on an architecture that is not known here.

    `sockets` says which can be made: those of TCP alone, or none at all. What two processes of a
    job have between them, and questions about the network to the kernel, stay.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:
        return None
    which, architecture = known
    lines = [
        _line(_LOAD, _ARCHITECTURE_AT),
        _line(_EQUAL, architecture, 1, 0),
        _line(_RETURN, _UNKNOWN),
        _line(_LOAD, _NUMBER_AT),
        _line(_AT_LEAST, _X32, 0, 1),
        _line(_RETURN, _UNKNOWN),
        _line(_EQUAL, _CLONE3, 0, 1),
        _line(_RETURN, _UNKNOWN),
    ]
    for numbers in DENIED.values():
        lines += [_line(_EQUAL, numbers[which], 0, 1), _line(_RETURN, _REFUSE)]
    if sockets != "all":
        lines += _sockets(which, () if sockets == "none" else (socket.AF_INET, socket.AF_INET6))
    lines += [
        _line(_EQUAL, _CLONE[which], 0, 3),
        _line(_LOAD, _ARGUMENTS_AT[0]),
        _line(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        _line(_RETURN, _REFUSE),
        _line(_RETURN, _ALLOW),
    ]
    return b"".join(lines)


def _sockets(which: int, families: Sequence[int]) -> list[bytes]:
    """Only sockets whose connections Landlock looks at, and no connection that it does not see.

    Numbers after a test are how many lines to skip, where it holds and where it does not.
    """
    lines = [
        _line(_EQUAL, _SOCKET[which], 0, 14),
        _line(_LOAD, _ARGUMENTS_AT[0]),
        _line(_EQUAL, socket.AF_NETLINK, 8, 0),
        _line(_EQUAL, families[0] if families else _NO_FAMILY, 1, 0),
        _line(_EQUAL, families[1] if families else _NO_FAMILY, 0, 8),
        _line(_LOAD, _ARGUMENTS_AT[1]),
        _line(_AND, 0xF),  # the rest are flags
        _line(_EQUAL, socket.SOCK_STREAM, 0, 5),
        _line(_LOAD, _ARGUMENTS_AT[2]),
        _line(_EQUAL, 0, 4, 0),
        _line(_EQUAL, socket.IPPROTO_TCP, 3, 2),  # not MPTCP nor SCTP, which nobody looks at
        _line(_LOAD, _ARGUMENTS_AT[2]),
        _line(_EQUAL, 0, 1, 0),  # routes and addresses
        _line(_RETURN, _REFUSE),
        _line(_RETURN, _ALLOW),
    ]
    for numbers, argument in _SENDING:
        lines += [
            _line(_EQUAL, numbers[which], 0, 4),
            _line(_LOAD, _ARGUMENTS_AT[argument]),
            _line(_ANY_BIT, _FAST_OPEN, 0, 1),
            _line(_RETURN, _REFUSE),
            _line(_RETURN, _ALLOW),
        ]
    return lines


def _line(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)
