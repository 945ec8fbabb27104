"""Kills a process at one of its system calls that write: before the call, with nothing after it.

By ptrace(2) with PTRACE_GET_SYSCALL_INFO (Linux 5.3), from Python alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable

_TRACEME, _CONT, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 7, 24, 0x4200, 0x420E
_SYSGOOD, _EXITKILL = 1, 1 << 20
_ENTRY = 1
# Which calls change what a file system holds or promises, by their numbers (linux/syscalls).
_WRITES = {
    "x86_64": {
        *(1, 18, 20, 76, 77, 296),  # write, pwrite64, writev, truncate, ftruncate, pwritev
        *(74, 75, 306),  # fsync, fdatasync, syncfs
        *(82, 264, 316),  # rename, renameat, renameat2
        *(83, 258, 84, 87, 263),  # mkdir, mkdirat, rmdir, unlink, unlinkat
        *(86, 265, 88, 266, 133, 259),  # link, linkat, symlink, symlinkat, mknod, mknodat
        *(90, 91, 268),  # chmod, fchmod, fchmodat
    },
    "aarch64": {
        *(64, 68, 66, 45, 46, 70),
        *(82, 83, 267),
        *(38, 276),
        *(34, 35),
        *(37, 36, 33),
        *(52, 53),
    },
}
# What opens a file, and which of its arguments says whether it makes one.
_OPENS = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def can_trace() -> bool:
    """Whether this machine is one whose calls are known here."""
    return platform.machine() in _WRITES


def killed_at(number: int, do: Callable[[], None]) -> bool:
    """Run `do` in a process of its own, killed at its `number`th call that writes, from 1 on.

    Returns False where it ended before; an AssertionError where it failed by itself.
    """
    pid = os.fork()
    if pid == 0:
        _be_traced(do)
    _waited(pid, signal.SIGSTOP)
    _ptrace(_SETOPTIONS, pid, _SYSGOOD | _EXITKILL)
    left = number
    while True:
        _ptrace(_SYSCALL, pid, 0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            assert status == 0, f"the traced process failed: {status}"
            return False
        if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80 and _is_write(pid):
            left -= 1
            if left == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return True


def _be_traced(do: Callable[[], None]) -> None:
    code = 1
    try:
        _ptrace(_TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        do()
        code = 0
    finally:
        os._exit(code)


def _waited(pid: int, wanted: int) -> None:
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status), status
    assert os.WSTOPSIG(status) == wanted, status


def _is_write(pid: int) -> bool:
    # struct ptrace_syscall_info: op, pad, arch, instruction and stack pointer; nr, args[6].
    told = ctypes.create_string_buffer(88)
    size = _libc.ptrace(_GET_SYSCALL_INFO, pid, 88, ctypes.addressof(told))
    assert size > 0, "the kernel does not tell which call it is"
    kind = told.raw[0]
    number, *args = struct.unpack_from("=7Q", told.raw, 24)
    machine = platform.machine()
    if kind != _ENTRY:
        return False
    if (at := _OPENS[machine].get(number)) is not None:
        return bool(args[at] & os.O_CREAT)
    return number in _WRITES[machine]


def _ptrace(request: int, pid: int, data: int) -> None:
    if _libc.ptrace(request, pid, 0, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
