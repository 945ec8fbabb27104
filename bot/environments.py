"""The environments of runs: which one a commit needs, whether it may be made, and what came of it.

An environment has a key: the lock files, the commands and the platform. The one of a run's base is
made from the base's own files and shared by all runs on that branch; what a run itself changed in a
lock file is set up from the run's files and for that run alone. So nobody prepares what others
stand on who could not change their branch.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from bot.errors import ConfigError, Refused
from bot.runs.model import Run
from bot.runs.ports import Git, Output, Place, Prepared, Recipe, Unprepared
from policies.config import PATH, Config
from policies.hosts import allows
from policies.setup import PROGRAMS, Installation, plan

VERSION = 1
"""Raised when an environment of an earlier version of ours would be wrong for this one."""
KEY_LENGTH = 32
"""Characters of a key: 128 bits, and short enough for a mount's options."""
MINUTE_SECONDS = 60.0
FAILURES_KEPT = 256
"""Failed set-ups that are remembered, so that a run does not repeat its own before every turn."""
LINES_SHOWN = 3
LINE_CHARACTERS = 400
"""The last lines in a run's reason: what most package managers need to say what is wrong."""
_ABOUT_LOGS = "A complete log of this run can be found"
"""What npm says last, of a file in a home that is gone."""
LOG_CHARACTERS = 3_000
"""The end of a failed set-up's output, as people and agents are shown it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Commands to run in a workspace, one after another, and what they may use.

    `secrets` are variables of theirs that nobody else sees; `path` are folders of the workspace
    whose programs come first, and `{workspace}` in a value of `env` is the workspace.
    """

    commands: tuple[str, ...]
    place: Place
    log: Path
    hosts: tuple[str, ...]
    seconds: float
    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of the commands.

    `failed` is the command that did, "" where none, and `why` says how it ended, as in "failed
    with exit code 1"; `blocked` are the hosts that it asked for in vain; `stopped` says that we
    ended it.
    """

    failed: str = ""
    why: str = ""
    log: str = ""
    blocked: tuple[str, ...] = ()
    stopped: bool = False


class Installer(Protocol):
    """Runs a set-up where it can do no harm."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The operator's own mirrors of registries, which may always be reached."""

    async def platform(self) -> str:
        """Name what programs find here: the machine's kind, the C library, the languages."""

    async def install(self, order: Order, *, stop: asyncio.Event, output: Output) -> Attempt:
        """Run the commands until one fails; none of their processes is alive afterwards."""


class EnvironmentDesk:
    """Fulfils the runs' port to environments.

    `hosts` are those that the operator allows, `secrets` the operator's values by repository and
    name.
    """

    def __init__(
        self,
        git: Git,
        installer: Installer,
        *,
        hosts: tuple[str, ...],
        secrets: Mapping[str, Mapping[str, SecretStr]],
    ) -> None:
        self._git = git
        self._installer = installer
        self._hosts = hosts
        self._secrets = {name.casefold(): dict(values) for name, values in secrets.items()}
        self._failures: dict[str, tuple[float, int, Unprepared]] = {}

    async def prepare(
        self,
        run: Run,
        commit: str,
        config: Config,
        *,
        stop: asyncio.Event,
        output: Output,
        begin: Callable[[], Awaitable[None]],
    ) -> Prepared | Unprepared | None:
        """Find the environment of a commit, or make it; see the port."""
        wanted = plan(config.setup, await self._git.top(run, commit))
        if wanted is None:
            return Prepared()
        secrets = self._secrets.get(run.repository.full_name.casefold(), {})
        if refusal := self._refusal(run, wanted, secrets):
            return refusal
        own, key = await self._key(run, commit, wanted, config)
        if await self._git.has_environment(run, key):
            return Prepared(key)
        if failed := self._failed_before(run, key, own=own):
            return failed
        await begin()
        values = {name: secrets[name].get_secret_value() for name in wanted.secrets}
        made_at = commit if own else run.base_sha
        return await self._make(run, made_at, key, wanted, values, own, stop, output)

    # -- which, and whether

    async def _key(
        self, run: Run, commit: str, wanted: Installation, config: Config
    ) -> tuple[bool, str]:
        """Return whether it is the run's own change that decides, and the key."""
        platform = await self._installer.platform()
        files = await self._git.ids(run, commit, wanted.files)
        own = commit != run.base_sha and await self._differs(run, wanted, config, files)
        parts = [
            *(VERSION, platform, wanted.commands, wanted.env, wanted.asked, wanted.secrets),
            *(sorted(files.items()), _sharing(run, own=own)),
        ]
        told = json.dumps(parts).encode("utf-8", "surrogateescape")
        return own, hashlib.sha256(told).hexdigest()[:KEY_LENGTH]

    async def _differs(
        self, run: Run, wanted: Installation, config: Config, files: Mapping[str, str]
    ) -> bool:
        """Whether the run's base would be set up in another way, or from other lock files."""
        before = plan(config.setup, await self._git.top(run, run.base_sha))
        return before != wanted or files != await self._git.ids(run, run.base_sha, wanted.files)

    def _refusal(
        self, run: Run, wanted: Installation, secrets: Mapping[str, SecretStr]
    ) -> Unprepared | None:
        """Say what the configuration asks for that the operator does not give."""
        denied = [host for host in wanted.asked if not self._may_reach(host)]
        if denied:
            return Unprepared(
                f"`setup: network:` names {_listed(denied)}, which this server does not allow.",
                "Whoever runs the server can add it to ORCHESTRATE_SETUP_HOSTS; then `/resume`.",
            )
        missing = [name for name in wanted.secrets if name not in secrets]
        if missing:
            return Unprepared(
                f"`setup: secrets:` names {_listed(missing)}, which this server does not keep for "
                f"{run.repository.full_name}.",
                "Whoever runs the server can add it to ORCHESTRATE_SETUP_SECRETS; then `/resume`.",
            )
        return None

    def _may_reach(self, host: str) -> bool:
        return any(allows(each, host) for each in (*self._hosts, *self._installer.hosts))

    # -- making it

    async def _make(
        self,
        run: Run,
        commit: str,
        key: str,
        wanted: Installation,
        values: Mapping[str, str],
        own: bool,
        stop: asyncio.Event,
        output: Output,
    ) -> Prepared | Unprepared | None:
        begun, failure = time.monotonic(), None

        async def install(place: Place, halt: asyncio.Event) -> bool:
            nonlocal failure
            if (shared := self._failures.get(key)) and shared[0] > begun:
                failure = shared[2]  # of the one that this run waited for
                return False
            attempt = await self._installer.install(
                self._order(wanted, key, place, values), stop=halt, output=output
            )
            if attempt.failed and not attempt.stopped:
                failure = self._remember(run, key, _unprepared(attempt, own=own))
            return not attempt.failed and not attempt.stopped

        secrets = frozenset(values.values())
        recipe = Recipe(key, dict(wanted.env), PROGRAMS, secrets)
        try:
            made = await self._git.make_environment(run, commit, recipe, install, stop=stop)
        except (Refused, ConfigError) as error:
            return self._remember(run, key, Unprepared(str(error), _next_step(own), own=own))
        if made is None:
            return failure
        if made.dropped:
            output(f"The set-up changed {_listed(made.dropped)}, which is not kept.")
        return Prepared(key)

    def _order(
        self, wanted: Installation, key: str, place: Place, values: Mapping[str, str]
    ) -> Order:
        # Where a package manager's files were found, its registries are among the operator's hosts.
        registries = self._hosts if wanted.kinds else ()
        return Order(
            commands=wanted.commands,
            place=place,
            log=place.logs / f"setup-{key[:8]}.log",
            hosts=tuple(dict.fromkeys((*registries, *wanted.asked, *self._installer.hosts))),
            seconds=wanted.minutes * MINUTE_SECONDS,
            env=dict(wanted.env),
            path=PROGRAMS,
            secrets=values,
        )

    def _remember(self, run: Run, key: str, failure: Unprepared) -> Unprepared:
        self._failures.pop(key, None)
        self._failures[key] = (time.monotonic(), run.attempt, failure)
        if len(self._failures) > FAILURES_KEPT:
            self._failures.pop(next(iter(self._failures)))
        return failure

    def _failed_before(self, run: Run, key: str, *, own: bool) -> Unprepared | None:
        """Return how the run's own set-up failed in this attempt; `/retry` begins another one."""
        known = self._failures.get(key)
        return known[2] if own and known and known[1] == run.attempt else None


def _sharing(run: Run, *, own: bool) -> str:
    """Name who shares the environment: the run alone, or those on the same base."""
    if own:
        return run.id
    return "" if run.base == run.repository.default_branch else f"base {run.base}"


def _unprepared(attempt: Attempt, *, own: bool) -> Unprepared:
    command = attempt.failed.replace("`", "")
    log = attempt.log[-LOG_CHARACTERS:]
    if attempt.blocked:
        return Unprepared(
            f"`{command}` asked for {_listed(attempt.blocked)}, which the network of the set-up "
            "does not have.",
            "Whoever runs the server can add it to ORCHESTRATE_SETUP_HOSTS; commands that are in "
            f"`{PATH}` itself name it under `setup: network:` there as well. Then `/resume`.",
            log,
            own,
        )
    said = _last_lines(log)
    reason = f"The environment could not be set up: `{command}` {attempt.why}"
    reason += f": {said}" if said else ""
    return Unprepared(f"{reason.rstrip('.')}.", _next_step(own), log, own)


def _last_lines(log: str) -> str:
    """The last lines that say something, as one."""
    lines = [line.strip().replace("`", "") for line in log.splitlines()]
    said = [line for line in lines if line and _ABOUT_LOGS not in line]
    return "; ".join(said[-LINES_SHOWN:])[-LINE_CHARACTERS:]


def _next_step(own: bool) -> str:
    if own:
        return "`/resume` gives the agent another turn, `/retry` sets it up again."
    return f"Mend the lock file, or `setup:` in `{PATH}`, on the default branch; then `/resume`."


def _listed(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(f"`{each.replace('`', '')}`" for each in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
