"""What each sandbox protects from, and by which means: the one table of it.

The page docs/sandbox.md holds it whole, and `orchestrate doctor` says what of it is in force on the
machine that it runs on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bot.sandbox import launcher, seccomp
from bot.sandbox.bubblewrap import SHM_BYTES, TMP_BYTES, Bubblewrap
from bot.sandbox.cgroups import Cgroups
from bot.sandbox.landlock import PORTS_VERSION, Landlock
from bot.sandbox.model import MEGABYTE, Sandbox
from bot.sandbox.none import NoSandbox

NAMES = ("bubblewrap", "landlock", "none")


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides which means are to be had on a machine.

    rootless: whether workspaces are seen in user namespaces, which have no user but the bot's own.
    uid: what jobs are on the host where the bot is root; None where they are the bot's own user.
    landlock: the version that the kernel has.
    filtered: whether system calls can be filtered on this architecture.
    nested: whether jobs could make user namespaces.
    """

    root: bool
    rootless: bool
    uid: int | None
    groups: Cgroups
    landlock: int
    filtered: bool
    nested: bool


class Means(NamedTuple):
    """A way to protect; `when` says on which machines it is to be had, `given` whether it does."""

    text: str
    when: Callable[[Facts], bool] = lambda _: True
    given: bool = True


@dataclass(frozen=True, slots=True)
class Protection:
    """What is protected, and for each sandbox the ways to, of which the first to be had counts."""

    name: str
    bubblewrap: tuple[Means, ...]
    landlock: tuple[Means, ...]
    none: tuple[Means, ...]

    def means(self, sandbox: str) -> tuple[Means, ...]:
        """The ways of one sandbox."""
        found: tuple[Means, ...] = getattr(self, sandbox)
        return found


NOTHING = Means("no", given=False)


class InForce(NamedTuple):
    """A protection on one machine."""

    name: str
    given: bool
    means: str


def _no(text: str = "no") -> tuple[Means, ...]:
    return (Means(text, given=False),)


def _all(text: str) -> tuple[Means, ...]:
    return (Means(text),)


def _abi(version: int) -> Callable[[Facts], bool]:
    return lambda facts: facts.landlock >= version


def _held(controller: str) -> Callable[[Facts], bool]:
    return lambda facts: controller in facts.groups.controllers


_USER = (
    Means("a user of its own, where the bot is root", lambda facts: facts.uid is not None),
    Means("the bot's own user, which is not root", lambda facts: not facts.root),
    Means("no: root, as rootless workspaces have no other", lambda it: it.rootless, given=False),
    Means("no: root, which has no other user in this container", given=False),
)
_MEMORY = (
    Means("control group (version 1 or 2)", _held("memory")),
    Means("watched, and ended"),
)
_PROCESSES = (
    Means("control group (version 1 or 2)", _held("pids")),
    Means("rlimit, or watched and ended"),
)
_OF_THE_BOT = (*_PROCESSES[:1], Means("watched, and ended"))
_CPU = (
    Means("control group (version 1 or 2)", _held("cpu")),
    Means("no control group", given=False),
)
_FILTER = (
    Means("filter of system calls (x86_64, aarch64)", lambda facts: facts.filtered),
    Means("no filter for this architecture", given=False),
)

TABLE: tuple[Protection, ...] = (
    Protection(
        "the host's files cannot be read",
        _all("mount namespace"),
        _all("Landlock (Linux 5.13); but names, sizes and owners can be seen"),
        _no(),
    ),
    Protection(
        "nothing but workspace, home and scratch can be written",
        _all("mount namespace, read-only mounts"),
        (
            Means("Landlock (Linux 6.2)", _abi(3)),
            Means("Landlock (Linux 5.13), but for cutting files short", given=False),
        ),
        _no(),
    ),
    Protection("files of root in the folders that it is shown", _USER, _USER, _no()),
    Protection(
        "the bot's environment and memory",
        _all("pid namespace"),
        _all("Landlock"),
        _no("only its own variables are clean"),
    ),
    Protection(
        "other processes cannot be seen",
        _all("pid namespace"),
        _no("no: /proc is the host's"),
        _no(),
    ),
    Protection(
        "other processes cannot be ended",
        _all("pid namespace"),
        (
            Means("Landlock scope (Linux 6.12)", _abi(6)),
            Means("a user of its own, but for other jobs", lambda facts: facts.uid is not None),
            Means("no", given=False),
        ),
        _no(),
    ),
    Protection(
        "no network but the doors",
        _all("network namespace"),
        (
            Means(
                "Landlock (Linux 6.7) and filter of system calls: TCP to the doors, nothing else",
                lambda facts: facts.filtered and facts.landlock >= PORTS_VERSION,
            ),
            Means(
                "filter of system calls; jobs with doors are refused",
                lambda facts: facts.filtered,
            ),
            Means("no", given=False),
        ),
        _no(),
    ),
    Protection(
        "no unix sockets of the host, abstract or by path",
        _all("network and mount namespaces"),
        (
            Means("filter of system calls", lambda facts: facts.filtered),
            Means("no", given=False),
        ),
        _no(),
    ),
    Protection(
        "no shared memory or queues with other processes",
        _all("ipc namespace"),
        _no(),
        _no(),
    ),
    Protection(
        "no rights to gain",
        _all("no capabilities, no_new_privs"),
        _all("no capabilities, no_new_privs"),
        _no(),
    ),
    Protection(
        "no namespaces within",
        (
            Means("limit of user namespaces", lambda facts: not facts.nested),
            *_FILTER,
        ),
        _FILTER,
        _no(),
    ),
    Protection("no keyrings, bpf, io_uring, mounts and their like", _FILTER, _FILTER, _no()),
    Protection("memory", _MEMORY, _MEMORY, _MEMORY),
    Protection("processes", _PROCESSES, _PROCESSES, _OF_THE_BOT),
    Protection("processor", _CPU, _CPU, _CPU),
    Protection(
        "scratch space",
        _all(f"tmpfs of {TMP_BYTES // MEGABYTE} MB, /dev/shm of {SHM_BYTES // MEGABYTE} MB"),
        _no("no limit of its own: it lies in the home"),
        _no("no: /tmp is the host's"),
    ),
    Protection("size of one file", _all("rlimit"), _all("rlimit"), _no()),
    Protection("time and output", _all("the bot"), _all("the bot"), _all("the bot")),
    Protection(
        "no process outlives the job",
        _all("pid namespace"),
        _all("all are adopted by the one that started them, which kills them"),
        _no("only those that do not hide are found"),
    ),
    Protection(
        "no process outlives a bot that is killed",
        _all("pid namespace, death signal"),
        _all("the one that started them ends with the bot, and kills them first"),
        _no(),
    ),
)


def of_machine(sandbox: Sandbox, *, rootless: bool = False) -> list[InForce]:
    """Say of each protection whether it is in force in `sandbox` on this machine, and how.

    `rootless` says that workspaces are seen in user namespaces.
    """
    facts = _facts(sandbox, rootless=rootless)
    return [_in_force(each, sandbox.name, facts) for each in TABLE]


def markdown() -> str:
    """The table, as it stands in the docs."""
    rows = [["protection", *NAMES], ["---"] * (1 + len(NAMES))]
    rows += [[each.name, *(_cell(each.means(name)) for name in NAMES)] for each in TABLE]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _in_force(protection: Protection, sandbox: str, facts: Facts) -> InForce:
    first = next((each for each in protection.means(sandbox) if each.when(facts)), NOTHING)
    return InForce(protection.name, first.given, first.text)


def _cell(means: tuple[Means, ...]) -> str:
    return "; else ".join(f"**{each.text}**" if each.given else each.text for each in means)


def _facts(sandbox: Sandbox, *, rootless: bool) -> Facts:
    held = sandbox.cgroups if isinstance(sandbox, Bubblewrap | Landlock | NoSandbox) else Cgroups()
    own = sandbox.uid if isinstance(sandbox, Bubblewrap | Landlock) else None
    uid = None if rootless else own
    return Facts(
        root=os.geteuid() == 0,
        rootless=rootless,
        uid=uid,
        groups=held,
        landlock=launcher.version(),
        filtered=seccomp.program() is not None,
        nested=isinstance(sandbox, Bubblewrap) and uid is None and not sandbox.disable_userns,
    )
