"""Limits on what a folder may hold, by the project quotas of ext4 and xfs.

Only root may set them, on a file system mounted with `prjquota`. Every function raises OSError
where that is not so.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

MAX_FILES = 1_000_000
"""Files and folders of one workspace: installed dependencies are some 100,000, and a file system
has a number of them that it cannot exceed."""

_BLOCK = 1024  # quotactl(2) counts in these, whatever the file system's own
# Projects of ours lie above those that administrators number by hand in /etc/projid.
_OURS = 0x4000_0000

# <linux/fs.h>: struct fsxattr, and the two ioctls on it.
_FSXATTR = struct.Struct("=IIIII8x")
_GET, _SET = 0x801C581F, 0x401C5820
_INHERIT = 0x200

# <linux/quota.h>: struct if_dqblk, and the commands for project quotas.
_DQBLK = struct.Struct("=QQQQQQQQI4x")
_PROJECT = 2
_GET_QUOTA, _SET_QUOTA = (0x800007 << 8) | _PROJECT, (0x800008 << 8) | _PROJECT
_LIMITS = 1 | 4  # the valid fields: QIF_BLIMITS, QIF_ILIMITS
_QUOTACTL_FD = 443  # the same on every architecture

_libc = ctypes.CDLL(None, use_errno=True)


def limit(folder: Path, size: int) -> None:
    """Hold the empty `folder`, with all that will be made in it, to `size` bytes."""
    with _opened(folder) as descriptor:
        # An inode's number is nobody else's as long as the folder is there.
        number = _OURS | (os.fstat(descriptor).st_ino & (_OURS - 1))
        _set_limits(descriptor, number, size, MAX_FILES)
        flags, extent, extents, _, copied = _FSXATTR.unpack(_attributes(descriptor))
        changed = _FSXATTR.pack(flags | _INHERIT, extent, extents, number, copied)
        fcntl.ioctl(descriptor, _SET, changed)


def project(folder: Path) -> int:
    """Return the number of the project that `folder` belongs to, or 0 where it is none of ours."""
    with _opened(folder) as descriptor:
        number: int = _FSXATTR.unpack(_attributes(descriptor))[3]
    return number if number & _OURS else 0


def used(folder: Path) -> int:
    """Return how many bytes the project of `folder` takes on the disk."""
    return _state(folder, project(folder))[2]


def limited(folder: Path, number: int) -> int:
    """Return to how many bytes a project is held, 0 for no limit; `folder` as `lift` has it."""
    return _state(folder, number)[0] * _BLOCK


def lift(folder: Path, number: int) -> None:
    """Forget the limit of a project whose folder is gone; `folder` is any on its file system."""
    with _opened(folder) as descriptor:
        _set_limits(descriptor, number, 0, 0)


def _state(folder: Path, number: int) -> tuple[int, ...]:
    answer = ctypes.create_string_buffer(_DQBLK.size)
    with _opened(folder) as descriptor, contextlib.suppress(FileNotFoundError):
        _quotactl(descriptor, _GET_QUOTA, number, answer)  # xfs forgets one that has nothing
    return _DQBLK.unpack(answer.raw)


def _set_limits(descriptor: int, number: int, size: int, files: int) -> None:
    blocks = -(-size // _BLOCK)
    limits = _DQBLK.pack(blocks, blocks, 0, files, files, 0, 0, 0, _LIMITS)
    _quotactl(descriptor, _SET_QUOTA, number, ctypes.create_string_buffer(limits, _DQBLK.size))


def _quotactl(
    descriptor: int, command: int, number: int, about: ctypes.Array[ctypes.c_char]
) -> None:
    # By the descriptor of a folder: the older call wants the device, which a container has not.
    if _libc.syscall(_QUOTACTL_FD, descriptor, ctypes.c_uint(command), number, about):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _attributes(descriptor: int) -> bytes:
    return fcntl.ioctl(descriptor, _GET, bytes(_FSXATTR.size))


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
