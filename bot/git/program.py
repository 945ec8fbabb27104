"""The git program, run in an environment that neither a user nor a repository can change.

No configuration but the mirror's own and what is named here, no hooks, no prompts, no helpers. The
token travels in the environment (`GIT_CONFIG_COUNT`), where `ps` does not show it; no argument, no
file, no address and no error text holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.errors import OperatorError, Refused, TransientError

from .remote import Remote

LOCAL_TIMEOUT = 300.0
"""Seconds; a checkout of 57,000 files takes up to 25 on a slow disk."""
NETWORK_TIMEOUT = 900.0
"""Seconds; the first fetch of a repository of some gigabytes. A stalled one ends sooner, below."""
TERMINATE_GRACE = 2.0
"""Seconds in which git removes its lock files after SIGTERM, before SIGKILL."""
MAX_REASON = 300
"""Characters of git's own words in an error."""

_CONFIG = {
    "advice.detachedHead": "false",
    "checkout.workers": "0",  # as many as there are cores: a third less for a large repository
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.excludesFile": "/dev/null",
    "core.filesRefLockTimeout": "5000",  # ms; others move refs meanwhile, each with two flushes
    "core.fsmonitor": "false",
    "core.fsync": "committed,loose-object,reference",  # a commit that was reported must be there
    "core.fsyncMethod": "batch",  # one flush for many objects
    "core.hooksPath": "/dev/null",
    "core.packedRefsTimeout": "10000",
    "core.protectHFS": "true",  # what is refused must not depend on who checks it out later
    "core.protectNTFS": "true",
    "core.quotePath": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",  # a pack is flushed once, loose objects one by one
    "gc.auto": "0",
    "http.followRedirects": "initial",  # a renamed repository answers so
    "http.lowSpeedLimit": "1000",  # under 1000 bytes/s for 60 s is a connection that died
    "http.lowSpeedTime": "60",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "protocol.ext.allow": "never",
    "protocol.file.allow": "always",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "push.recurseSubmodules": "no",
    "safe.directory": "*",  # a person's repository may belong to that person
    "submodule.recurse": "false",
}
# In no work tree and with no index git-lfs takes no `.lfsconfig` from there.
_LFS = {
    "filter.lfs.process": "unset GIT_WORK_TREE GIT_INDEX_FILE; exec git-lfs filter-process",
    "filter.lfs.required": "true",
    "lfs.locksverify": "false",
    "lfs.transfer.maxretries": "3",
}
_PASSED_ON = (
    *("PATH", "TMPDIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
)

_FORMAT = re.compile(r"unknown repository extension|object.format|mismatched algorithms", re.I)
_DENIED = re.compile(
    r"authentication failed|could not read (username|password)|error: 40[13]|terminal prompts"
    r"|authentication required|authorization error"  # as git-lfs has it
    r"|permission to .* denied|access denied|write access to repository not granted",
    re.I,
)
_ABSENT = re.compile(
    r"repository .*not found|error: 404|does not appear to be a git repository|not a git repo"
    r"|does not exist",
    re.I,
)
_PASSING = re.compile(
    r"could not resolve|failed to connect|couldn't connect|connection (refused|reset|timed out)"
    r"|error: (5\d\d|429)|http 5\d\d|early eof|unexpected disconnect|hung up|timed out|timeout"
    r"|server error|http 429"  # as git-lfs has it
    r"|empty reply|rpc failed|too slow|ssl_|gnutls|cannot lock ref|unable to create '.*\.lock'",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run of git ended: its exit status, and what it wrote."""

    status: int
    out: bytes
    err: str


async def git(
    *args: str,
    git_dir: Path | None = None,
    work_tree: Path | None = None,
    index: Path | None = None,
    remote: Remote | None = None,
    input: bytes | None = None,
    timeout: float = LOCAL_TIMEOUT,  # noqa: ASYNC109 - it also names the error
    accept: Collection[int] = (0,),
    keep_open: Collection[int] = (),
) -> bytes:
    """Run git with `args` and return what it wrote to standard output.

    `remote` lends its token; `timeout` is in seconds; `accept` names the exit statuses that are
    answers; `keep_open` the descriptors that git holds on to until it has ended. Raises
    TransientError where trying again may help, OperatorError without the git program, and Refused
    with git's last line otherwise.
    """
    done = await run(
        *args,
        git_dir=git_dir,
        work_tree=work_tree,
        index=index,
        remote=remote,
        input=input,
        timeout=timeout,
        keep_open=keep_open,
    )
    if done.status not in accept:
        raise failure(_command(args), done, remote)
    return done.out


async def run(
    *args: str,
    git_dir: Path | None = None,
    work_tree: Path | None = None,
    index: Path | None = None,
    remote: Remote | None = None,
    input: bytes | None = None,
    timeout: float = LOCAL_TIMEOUT,  # noqa: ASYNC109 - it also names the error
    keep_open: Collection[int] = (),
) -> Finished:
    """Run git as `git` does, and return how it ended, whatever its exit status."""
    env = _environment(git_dir, work_tree, index, remote)
    starting = asyncio.create_subprocess_exec(
        "git",
        *args,
        cwd=work_tree or "/",
        env=env,
        stdin=asyncio.subprocess.DEVNULL if input is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # so that its helpers can be ended with it
        pass_fds=tuple(keep_open),
    )
    try:
        process = await _started(asyncio.create_task(starting))
    except FileNotFoundError as error:
        raise OperatorError(_missing(work_tree)) from error
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(input)
    except TimeoutError as error:
        command = _command(args)
        raise TransientError(f"git {command} took longer than {timeout:g} seconds.") from error
    finally:
        await asyncio.shield(_end(process))
    assert process.returncode is not None
    return Finished(process.returncode, out, err.decode("utf-8", "replace"))


def run_now(
    *args: str,
    git_dir: Path,
    work_tree: Path,
    index: Path,
    input: bytes = b"",
    timeout: float = LOCAL_TIMEOUT,
) -> Finished:
    """Run git as `run` does, for who is not on an event loop."""
    try:
        done = subprocess.run(
            ["git", *args],
            cwd=work_tree,
            env=_environment(git_dir, work_tree, index, None),
            input=input,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise OperatorError(_missing(work_tree)) from error
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"git {args[0]} took longer than {timeout:g} seconds.") from error
    return Finished(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def failure(command: str, done: Finished, remote: Remote | None = None) -> Refused | TransientError:
    """Return the error that says how `git COMMAND` failed, without the token."""
    where = remote.url if remote else "the mirror"
    said = _scrub(done.err, remote)
    if _FORMAT.search(said):
        return Refused(format_refusal(where))
    if _DENIED.search(said):
        return Refused(f"Access to {where} was denied; check the App's permissions.", status=403)
    if _PASSING.search(said):
        return TransientError(f"git {command} could not reach {where}: {_last_line(said)}")
    if remote and _ABSENT.search(said):
        return Refused(f"There is no repository at {where}, or it may not be read.", status=404)
    return Refused(f"git {command} failed: {_last_line(said) or f'exit {done.status}'}")


def format_refusal(where: str) -> str:
    """Return the sentence for a repository whose format pygit2 cannot read."""
    return f"{where} keeps its objects or refs in a format (SHA-256, reftable) that cannot be used."


def text(raw: bytes) -> str:
    """Return a path that git printed, as this package hands paths on."""
    return raw.decode("utf-8", "surrogateescape")


def raw(path: str) -> bytes:
    """Return a path as git reads it."""
    return path.encode("utf-8", "surrogateescape")


def _environment(
    git_dir: Path | None, work_tree: Path | None, index: Path | None, remote: Remote | None
) -> dict[str, str]:
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= {
        "HOME": "/dev/null",
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM": "0",
        "GIT_CEILING_DIRECTORIES": "/",
    }
    places = {"GIT_DIR": git_dir, "GIT_WORK_TREE": work_tree, "GIT_INDEX_FILE": index}
    env |= {name: str(place.absolute()) for name, place in places.items() if place}
    pairs = [*_CONFIG.items()]
    if shutil.which("git-lfs"):
        pairs += _LFS.items()
        # Without a remote there is nowhere to fetch from: a checkout has what is here.
        url = remote.lfs_url if remote else ""
        pairs += [("lfs.url", url), ("lfs.pushurl", url)]
    if remote and (header := remote.header()):
        pairs.append(header)
    env["GIT_CONFIG_COUNT"] = str(len(pairs))
    for number, (key, value) in enumerate(pairs):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


async def _started(
    starting: asyncio.Task[asyncio.subprocess.Process],
) -> asyncio.subprocess.Process:
    """Wait until git runs; whoever is cancelled meanwhile leaves neither it nor its helpers behind.

    By itself asyncio would kill git alone then.
    """
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.shield(_end_once_there(starting))
        raise


async def _end_once_there(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    with contextlib.suppress(OSError):
        await _end(await starting)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End git and its helpers, and wait; nothing to do where it has ended by itself."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            async with asyncio.timeout(TERMINATE_GRACE):
                await process.communicate()  # reads on, so that a full pipe cannot hold it
                return
        except TimeoutError:
            continue


def _command(args: Sequence[str]) -> str:
    """Return the name of a git command, behind what is given before it."""
    at = 0
    while args[at] in ("-c", "-C"):
        at += 2
    return args[at]


def _missing(work_tree: Path | None) -> str:
    if work_tree and not work_tree.is_dir():
        return f"The folder {work_tree} is gone; start the run's segment again."
    return "The git program is missing; install the package git."


def _scrub(said: str, remote: Remote | None) -> str:
    if remote and remote.token:
        said = said.replace(remote.token, "***")
        if header := remote.header():
            said = said.replace(header[1].rsplit(" ", 1)[1], "***")
    return said


def _last_line(said: str) -> str:
    """Return git's most telling line: the last `fatal:` or `error:`, else the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: error"))]
    return (telling or lines or [""])[-1][:MAX_REASON]
