"""Starts a job under Landlock, and stays until every process of it is dead. A program of its own.

It is told what to do by a file descriptor, takes rights away in a child that becomes the job, and
adopts whatever that leaves behind. It ends the job when the bot closes its end of a pipe, as it
does by being killed. It imports nothing of ours, and of the standard library only what is written
in C: `ctypes`, `os` and `signal` around it take twice the time that the interpreter does.
"""

# The plan is the bot's own, and the program the job's.
# ruff: noqa: PTH123, S302, SIM105

from __future__ import annotations

import _ctypes
import errno
import marshal
import posix as os
import resource
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION = 1
_BENEATH, _PORT = 1, 2
_SET_PDEATHSIG, _SET_SUBREAPER, _SET_NO_NEW_PRIVS = 1, 36, 38
_SET_SECCOMP, _FILTER, _DROP_BOUNDING = 22, 2, 24
_CAPABILITIES = 0x20080522  # the version of the structure with 64 capabilities
_NOT_FOUND, _NOT_ALLOWED = 127, 126
_PAUSE_MS = 5
_SIGKILL, _SIGSTOP = 9, 19
_S_IFMT, _S_IFDIR = 0o170000, 0o040000

# Access rights in the order of their bits, by how many of them each version knows.
_KNOWN = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_KNOWN = 16
EXECUTE, WRITE_FILE, READ_FILE, READ_FOLDER = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL
READING = EXECUTE | READ_FILE | READ_FOLDER
EVERYTHING = (1 << _ALL_KNOWN) - 1


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """A number as wide as a register, which every argument of a system call is."""

    _type_ = "l"


class _Short(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "H"


class _Text(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"


class _Program(_ctypes.Structure):
    """What the kernel is given as a filter of system calls."""

    _fields_ = (("length", _Short), ("lines", _Text))


class _Function(_ctypes.CFuncPtr):
    """A function of the C library."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Long


def _of_libc(name: str) -> Callable[..., int]:
    function = _Function(_ctypes.dlsym(_ctypes.dlopen("", 0), name))

    def call(*arguments: Any) -> int:
        given = (_Long(each) if isinstance(each, int) else each for each in arguments)
        result: int = function(*given)
        return result

    return call


_syscall, _prctl, _capset = map(_of_libc, ("syscall", "prctl", "capset"))


def version() -> int:
    """The version of Landlock that the kernel has; 0 for none."""
    return max(0, _syscall(_CREATE, 0, 0, _VERSION))


def main() -> None:
    """Run the job that the first argument's descriptor tells of; end with its code."""
    with open(int(sys.argv[1]), "rb") as file:
        job = marshal.load(file)
    _check(_prctl(_SET_SUBREAPER, 1, 0, 0, 0))
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
            return 128 + _SIGKILL
        status = os.waitpid(child, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code


def _kill_all() -> None:
    """Kill all below this process: first stop them, so that none starts another meanwhile."""
    while True:
        stopped: set[int] = set()
        while fresh := [pid for pid in _below(os.getpid()) if pid not in stopped]:
            _signal(fresh, _SIGSTOP)
            stopped.update(fresh)
        _signal(stopped, _SIGKILL)
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
    _check(_capset(_packed(4, _CAPABILITIES, 0), bytes(24)))
    _check(_prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_prctl(_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))
    _check(_syscall(_RESTRICT, rules, 0))
    if job["filter"]:
        lines = job["filter"]
        program = _Program(len(lines) // 8, lines)
        _check(_prctl(_SET_SECCOMP, _FILTER, _ctypes.byref(program), 0, 0))


def _drop_bounding() -> None:
    """Let no program ever give a capability back; who is not root cannot, and gets none."""
    number = 0
    while _prctl(_DROP_BOUNDING, number, 0, 0, 0) == 0:
        number += 1


def _rules(job: dict[str, Any]) -> int:
    """A set of rules: what is named is allowed, and nothing else that this kernel can refuse."""
    abi = version()
    handled = (1 << _KNOWN.get(abi, _ALL_KNOWN)) - 1
    ports, others = job["handled"]
    network, scopes = (3 if abi >= 4 and ports else 0), (3 if abi >= 6 and others else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    rules = _check(_syscall(_CREATE, _packed(8, handled, network, scopes), size, 0))
    for path, access in job["paths"]:
        _add_path(rules, path, access & handled)
    if network:
        for port in job["ports"]:
            _check(_syscall(_ADD, rules, _PORT, _packed(8, 2, port), 0))
    return rules


def _add_path(rules: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # not every system has each of them
    folder = os.fstat(descriptor).st_mode & _S_IFMT == _S_IFDIR
    rule = _packed(8, access if folder else access & _OF_FILES) + _packed(4, descriptor)
    _check(_syscall(_ADD, rules, _BENEATH, rule, 0))
    os.close(descriptor)


def _packed(size: int, *numbers: int) -> bytes:
    """Numbers of so many bytes each, as the kernel reads them."""
    return b"".join(each.to_bytes(size, sys.byteorder) for each in numbers)


def _check(result: int) -> int:
    if result < 0:
        number = _ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    main()
    os._exit(0)  # taking the interpreter down takes milliseconds, and nobody needs it done
