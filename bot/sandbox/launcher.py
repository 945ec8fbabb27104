"""Starts a job under Landlock, and stays until every process of it is dead. A program of its own.

It is told what to do by a file descriptor, takes rights away in a child that becomes the job, and
adopts whatever that leaves behind. It ends the job when the bot closes its end of a pipe, as it
does by being killed. It imports nothing of ours, and little of anything: it must start fast.
"""

# A module less is a millisecond less; the plan is the bot's own, and the program the job's.
# ruff: noqa: PTH112, PTH123, PTH208, S302, S606, SIM105

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import resource
import select
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION = 1
_BENEATH, _PORT = 1, 2
_SET_PDEATHSIG, _SET_SUBREAPER, _SET_NO_NEW_PRIVS = 1, 36, 38
_SET_SECCOMP, _FILTER, _DROP_BOUNDING = 22, 2, 24
_CAPABILITIES = 0x20080522  # the version of the structure with 64 capabilities
_NOT_FOUND, _NOT_ALLOWED = 127, 126
_PAUSE_MS = 5

# Access rights in the order of their bits, by how many of them each version knows.
_KNOWN = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_KNOWN = 16
EXECUTE, WRITE_FILE, READ_FILE, READ_FOLDER = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL
READING = EXECUTE | READ_FILE | READ_FOLDER
EVERYTHING = (1 << _ALL_KNOWN) - 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """What the kernel is given as a filter of system calls."""

    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_char_p)]


def version() -> int:
    """The version of Landlock that the kernel has; 0 for none."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))))


def main() -> None:
    """Run the job that the first argument's descriptor tells of; end with its code."""
    with open(int(sys.argv[1]), "rb") as file:
        job = marshal.load(file)
    _check(_libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0))
    if not os.read(job["control"], 1):
        return
    child = os.fork()
    if child == 0:
        _become(job)
    code = _until_end(child, job["control"])
    _kill_all()
    os.write(job["status"], b"exit %d\n" % code)


def _until_end(child: int, control: int) -> int:
    """Wait for the child's end, or for the bot's; adopted processes are reaped meanwhile."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(os.pidfd_open(child), select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if control in ready:
            return 128 + signal.SIGKILL
        status = os.waitpid(child, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code


def _kill_all() -> None:
    """Kill all below this process: first stop them, so that none starts another meanwhile."""
    while True:
        stopped: set[int] = set()
        while fresh := [pid for pid in _below(os.getpid()) if pid not in stopped]:
            _signal(fresh, signal.SIGSTOP)
            stopped.update(fresh)
        _signal(stopped, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        select.poll().poll(_PAUSE_MS)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def _below(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        try:
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children") as file:
                    found += [int(number) for number in file.read().split()]
        except OSError:
            continue
    return found[1:]


def _become(job: dict[str, Any]) -> None:
    """Take everything away and become the job's program; never returns."""
    try:
        _restrict_self(job)
        os.chdir(job["workspace"])
    except OSError as error:
        os.write(job["status"], f"error {error}\n".encode())
        os._exit(1)
    os.write(job["status"], b"begun\n")
    os.closerange(3, 2**16)
    problem = _execute(job["argv"], job["env"])
    os.write(2, f"{job['argv'][0]}: {problem.strerror}\n".encode())
    os._exit(_NOT_FOUND if problem.errno == errno.ENOENT else _NOT_ALLOWED)


def _execute(argv: list[str], env: dict[str, str]) -> OSError:
    """Become a program, as `os.execvpe` does, which would read modules that are closed by now."""
    folders = [""] if "/" in argv[0] else [f"{each}/" for each in env["PATH"].split(":")]
    worst = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for folder in folders:
        try:
            os.execve(folder + argv[0], argv, env)
        except OSError as error:
            worst = worst if error.errno in (errno.ENOENT, errno.ENOTDIR) else error
    return worst


def _restrict_self(job: dict[str, Any]) -> None:
    os.setsid()
    for kind, most in job["limits"]:
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))
    rules = _rules(job)
    _drop_bounding()
    if job["uid"] is not None:
        os.setgroups([])
        os.setresgid(job["uid"], job["uid"], job["uid"])
        os.setresuid(job["uid"], job["uid"], job["uid"])
    _check(_libc.capset((ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()))
    _check(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    _check(_libc.syscall(_RESTRICT, rules, ctypes.c_uint(0)))
    if job["filter"]:
        lines = job["filter"]
        program = _Program(len(lines) // 8, lines)
        _check(_libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0))


def _drop_bounding() -> None:
    """Let no program ever give a capability back; who is not root cannot, and gets none."""
    number = 0
    while _libc.prctl(_DROP_BOUNDING, number, 0, 0, 0) == 0:
        number += 1


def _rules(job: dict[str, Any]) -> int:
    """A set of rules: what is named is allowed, and nothing else that this kernel can refuse."""
    abi = version()
    handled = (1 << _KNOWN.get(abi, _ALL_KNOWN)) - 1
    ports, others = job["handled"]
    network, scopes = (3 if abi >= 4 and ports else 0), (3 if abi >= 6 and others else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attributes = (ctypes.c_uint64 * 3)(handled, network, scopes)
    rules = _check(_libc.syscall(_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint(0)))
    for path, access in job["paths"]:
        _add_path(rules, path, access & handled)
    if network:
        for port in job["ports"]:
            rule = (ctypes.c_uint64 * 2)(2, port)
            _check(_libc.syscall(_ADD, rules, _PORT, rule, ctypes.c_uint(0)))
    return rules


def _add_path(rules: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # not every system has each of them
    folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
    rule = (access if folder else access & _OF_FILES).to_bytes(8, sys.byteorder)
    rule += descriptor.to_bytes(4, sys.byteorder)
    _check(_libc.syscall(_ADD, rules, _BENEATH, rule, ctypes.c_uint(0)))
    os.close(descriptor)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    main()
