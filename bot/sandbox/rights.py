"""The user that jobs are on the host, where the bot itself is root.

Root behind a user namespace is still root to the file system, and no limit of processes counts it.
So jobs get a number of their own. Everything that they are to write belongs to that number on the
disk as well: that works with every file system, and costs only where files are made.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bot.errors import OperatorError

DEFAULT_UID: Final = 65_530
"""Above what systemd gives to services, outside what distributions give to packages, and within
what containers map; not `nobody`, whom others use and network disks name."""

LAID_DEPTH: Final = 3
"""Folders below a home in which the host lays files: `.config/NAME/…` is the deepest."""

_MADE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.0005
_NO_MORE: Final = "echo 0 > /proc/sys/user/max_user_namespaces"


def uid_for_jobs(wanted: int = DEFAULT_UID) -> int | None:
    """The number that jobs run as; None where they keep the bot's own, since that is not root.

    Also None within a container whose user namespace has no such number.
    """
    return wanted if os.geteuid() == 0 and is_mapped(wanted) else None


def is_mapped(uid: int) -> bool:
    """Whether this process's user namespace has the number."""
    ranges = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)


def check_readable(folders: Iterable[Path], uid: int) -> None:
    """Refuse folders that are to be shown to jobs and that their user may not read."""
    for folder in folders:
        status = folder.stat()
        needed = 0o500 if status.st_uid == uid else 0o005
        if status.st_mode & needed != needed:
            raise OperatorError(
                f"Jobs have the user {uid}, which may not read the folder {folder}: open it with "
                f"`chmod go+rx {folder}`, or name another one."
            )


def give(folder: Path, uid: int) -> None:
    """Let `folder` and what the host made in it belong to `uid`. Links are not followed.

    What belongs to it already was given before: there, only what the host has laid near the top
    since is looked for, so that this costs nothing for a home of many files.
    """
    folders = [(folder, 0)]
    given: list[str] = []
    for path, depth in folders:
        with os.scandir(path) as entries:
            for entry in entries:
                theirs = entry.stat(follow_symlinks=False).st_uid == uid
                if entry.is_dir(follow_symlinks=False):
                    if not theirs or depth < LAID_DEPTH:
                        folders.append((Path(entry.path), depth + 1))
                    given += [] if theirs else [entry.path]
                elif not theirs:
                    os.chown(entry.path, uid, uid, follow_symlinks=False)
    # Folders after what is in them, so that one who is killed meanwhile begins anew.
    for each in (*reversed(given), str(folder)):
        os.chown(each, uid, uid, follow_symlinks=False)


def give_whole(folder: Path, uid: int) -> None:
    """Let a folder and all below it belong to `uid`; nothing is done where the folder does."""
    if os.lstat(folder).st_uid != uid:
        give(folder, uid)


@dataclass(slots=True)
class UserNamespace:
    """A user namespace with root and the jobs' user in it, kept open by a descriptor.

    Root sets the job up there and then becomes `inside`, which is `uid` to the host. There can be
    no user namespace below it.
    """

    uid: int
    inside: int
    _descriptor: int = field(default=-1, init=False)

    def entering(self) -> list[str]:
        """The beginning of a command line that runs the rest in it, made when first asked for.

        Not by bubblewrap itself: it would leave the namespace's descriptor to the job.
        """
        if self._descriptor < 0:
            self._descriptor = _new_namespace(self.uid, self.inside)
        file = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        return ["nsenter", "--preserve-credentials", f"--user={file}", "--"]

    def __del__(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)


def _new_namespace(uid: int, inside: int) -> int:
    holder = subprocess.Popen(
        ["unshare", "--user", "--", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    proc = Path(f"/proc/{holder.pid}")
    try:
        _await_namespace(holder, proc)
        lines = f"0 0 1\n{inside} {uid} 1\n"
        for each in ("uid_map", "gid_map"):
            (proc / each).write_text(lines)
        enter = ["nsenter", "--preserve-credentials", "--user", "--target", str(holder.pid), "--"]
        subprocess.run([*enter, "/bin/sh", "-c", _NO_MORE], check=True, capture_output=True)
        return os.open(proc / "ns" / "user", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, subprocess.SubprocessError) as error:
        raise OperatorError(
            f"No user namespace can be made for jobs ({error}): run `orchestrate doctor` to see "
            "what the sandbox lacks."
        ) from error
    finally:
        holder.kill()
        holder.communicate()


def _await_namespace(holder: subprocess.Popen[bytes], proc: Path) -> None:
    own = (Path("/proc/self/ns/user")).readlink()
    until = time.monotonic() + _MADE_SECONDS
    while (proc / "ns" / "user").readlink() == own:
        if holder.poll() is not None or time.monotonic() > until:
            raise OSError("user namespaces are refused")
        time.sleep(_POLL_SECONDS)
