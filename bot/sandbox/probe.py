"""Choose the sandbox by really running something in it, and say what is missing."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from bot.errors import OperatorError
from bot.sandbox import launcher
from bot.sandbox.bubblewrap import Bubblewrap
from bot.sandbox.cgroups import Cgroups, find
from bot.sandbox.landlock import Landlock
from bot.sandbox.model import Job, Limits, Sandbox
from bot.sandbox.none import NoSandbox
from bot.sandbox.protections import InForce, of_machine
from bot.sandbox.rights import DEFAULT_UID, uid_for_jobs

Kind = Literal["auto", "bubblewrap", "landlock", "none"]

_PROBE_SECONDS = 20.0
_PROBE_BYTES = 65_536
_OTHERWISE = (
    "or set ORCHESTRATE_SANDBOX=none, with which agents and checks run with the bot's own rights "
    "on this machine"
)
# Settings with which distributions switch unprivileged user namespaces off, and the bad value.
_SETTINGS = (
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)


class Finding(NamedTuple):
    """One line for `orchestrate doctor`."""

    name: str
    ok: bool
    sentence: str


async def choose(kind: Kind, *, uid: int = DEFAULT_UID, limits: Limits | None = None) -> Sandbox:
    """The sandbox of that kind, tried out.

    `uid` is what jobs are on the host where the bot is root; `limits` are those of jobs that name
    none. What bots that were killed left of control groups is taken away. Raises OperatorError when
    it does not work: nothing ever runs without the sandbox that the operator asked for.
    """
    held = await asyncio.to_thread(_cgroups)
    most = limits or Limits()
    if kind == "none":
        return NoSandbox(limits=most, cgroups=held)
    refused = ""
    if kind in ("auto", "bubblewrap"):
        problem = _lacking()
        for nested in (True, False) if not problem else ():
            sandbox = Bubblewrap(
                disable_userns=nested, uid=uid_for_jobs(uid), limits=most, cgroups=held
            )
            problem = await _problem(sandbox)
            if not problem:
                return sandbox
        refused = problem
    if kind in ("auto", "landlock"):
        landlock = Landlock(uid=uid_for_jobs(uid), limits=most, cgroups=held)
        problem = await _landlock_problem(landlock)
        if not problem:
            return landlock
        refused = f"{refused}; {problem}" if refused else problem
    raise OperatorError(f"{refused}, {_OTHERWISE}.")


async def _landlock_problem(sandbox: Landlock) -> str:
    if launcher.version() == 0:
        return (
            "this kernel has no Landlock: start it with `landlock` in its `lsm=` list, Linux 5.13 "
            "or newer"
        )
    return await _problem(sandbox)


def _lacking() -> str:
    """Which program bubblewrap lacks, and what to install; or the empty string."""
    needed = [("bwrap", "bubblewrap")]
    if os.geteuid() == 0:
        needed += [(each, "util-linux") for each in ("nsenter", "setpriv", "unshare")]
    for program, package in needed:
        if shutil.which(program) is None:
            return (
                f"The program `{program}` is missing: install the package `{package}` "
                f"(`apt-get install {package}`)"
            )
    return ""


def _cgroups() -> Cgroups:
    found = find()
    found.sweep()
    return found


async def findings(kind: Kind, *, uid: int = DEFAULT_UID, rootless: bool = False) -> list[Finding]:
    """What `orchestrate doctor` says about the sandbox: which it is, and what it protects from.

    `rootless` says that workspaces are seen in user namespaces.
    """
    try:
        sandbox = await choose(kind, uid=uid)
    except OperatorError as error:
        return [Finding("sandbox", False, str(error))]
    return [_which(kind, sandbox), *map(_protection, of_machine(sandbox, rootless=rootless))]


def _which(kind: Kind, sandbox: Sandbox) -> Finding:
    if sandbox.name == "none":
        say = (
            "ORCHESTRATE_SANDBOX=none: agents and checks run with the bot's own rights on this "
            "machine; install the package `bubblewrap` and set ORCHESTRATE_SANDBOX=auto."
        )
        return Finding("sandbox", False, say)
    if sandbox.name == "landlock" and kind == "auto":
        say = (
            "Agents and checks run under Landlock, since bubblewrap does not work here "
            f"({_lacking() or _advice()}): it protects from less."
        )
        return Finding("sandbox", True, say)
    return Finding("sandbox", True, f"Agents and checks run in {sandbox.name}, without a network.")


def _protection(found: InForce) -> Finding:
    by = found.means if found.given else f"not given ({found.means})"
    return Finding("protection", found.given, f"{found.name[0].upper()}{found.name[1:]}: {by}.")


async def _problem(sandbox: Sandbox) -> str:
    """Why a trivial job does not work in `sandbox`, or the empty string."""
    with tempfile.TemporaryDirectory(prefix="orchestrate-probe-") as folder:
        job = Job(
            argv=("true",),
            workspace=Path(folder),
            home=Path(folder, "home"),
            seconds=_PROBE_SECONDS,
            output_bytes=_PROBE_BYTES,
        )
        try:
            ended = await sandbox.run(job)
        except OperatorError as error:
            return _refused(str(error).rstrip("."))
    if ended.code == 0:
        return ""
    said = ended.tail.rpartition("\n")[2].rstrip(".")
    return _refused(said or f"{ended.how}, code {ended.code}")


def _refused(reason: str) -> str:
    return f"The sandbox does not start ({reason}): {_advice()}"


def _advice() -> str:
    """What to set, from the kernel settings that are known to forbid it."""
    for name, bad, good in _SETTINGS:
        file = Path("/proc/sys", *name.split("."))
        if file.is_file() and file.read_text().strip() == bad:
            return f"set the kernel setting `{name}={good}` with sysctl"
    return (
        "let this user make user namespaces (in a container, start it with a seccomp profile that "
        "allows them)"
    )
