"""Runs a repository's set-up in the sandbox, with no network but the hosts that it may reach."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

from bot.environments import Attempt, Order
from bot.runs.ports import Output
from bot.sandbox.environment.mirrors import Mirrors
from bot.sandbox.environment.within import Within
from bot.sandbox.gateway import Pass, Visit
from bot.sandbox.model import Ended, Job, Sandbox
from bot.sandbox.shell import NOT_FOUND, missing_program

PLATFORM_SECONDS: Final = 30.0
"""Some programs that say their version are slow to start on a busy machine."""
_BYTES: Final = 64 * 1024

# Versions of what an environment is made for: another one of these, and it is made anew.
_ASK: Final = (
    "uname -sm; getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 1;"
    " for each in python3 node; do"
    ' command -v "$each" >/dev/null && echo "$each $("$each" --version 2>&1)"; done; true'
)
# A home that nobody keeps needs no cache, and nobody is there to answer.
_QUIET: Final = {
    "CI": "true",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "npm_config_update_notifier": "false",
    "UV_NO_CACHE": "1",
    "UV_LINK_MODE": "copy",
    "UV_PYTHON_DOWNLOADS": "never",
}
# Where a workspace has another path in each run, what names the interpreter by its path would be
# dead in all others: then the path of programs finds it. pip names one with a long path on the
# second line, for a shell.
_UNROOT: Final = r"""
for each in .venv/bin/* venv/bin/*; do
  if [ -f "$each" ] && [ ! -L "$each" ] && head -c 2 "$each" | grep -q '#!'; then
    sed -i -e "1s|^#!$PWD/.*/python[0-9.]*|#!/usr/bin/env python3|" \
      -e "2s|^'''exec' \"*$PWD/.*/python[0-9.]*\"*|'''exec' python3|" "$each"
  fi
done
"""


class Gateways(Protocol):
    """What opens the ways out."""

    def open(self, passed: Pass) -> AbstractAsyncContextManager[Visit]:
        """Give what a job needs to go out; it is shut when the context is left."""


class SandboxInstaller:
    """Fulfils the environments' port to set-ups.

    tools: the operator's folders of programs. mirrors: the operator's registries.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        gateway: Gateways,
        *,
        tools: tuple[Path, ...],
        mirrors: Mirrors,
        output_bytes: int,
    ) -> None:
        self._sandbox = sandbox
        self._gateway = gateway
        self._tools = tools
        self._mirrors = mirrors
        self._output_bytes = output_bytes
        self._platform = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The operator's own mirrors, which may always be reached."""
        return self._mirrors.hosts

    async def platform(self) -> str:
        """Name what programs find in the sandbox; asked once in a process's life."""
        if not self._platform:
            with TemporaryDirectory(prefix="orchestrate-") as folder:
                place = Path(folder)
                (place / "workspace").mkdir()
                job = Job(
                    argv=("/bin/sh", "-c", _ASK),
                    workspace=place / "workspace",
                    home=place / "home",
                    readable=self._tools,
                    seconds=PLATFORM_SECONDS,
                    output_bytes=_BYTES,
                )
                ended = await self._sandbox.run(job)
            self._platform = f"{self._sandbox.name}\n{ended.tail.strip()}"
        return self._platform

    async def install(self, order: Order, *, stop: asyncio.Event, output: Output) -> Attempt:
        """Run the commands until one fails."""
        deadline = time.monotonic() + order.seconds
        within = Within(self._sandbox, order.env, order.path)
        async with self._gateway.open(Pass(hosts=order.hosts)) as visit:
            for command in self._commands(order):
                if command is not _UNROOT:
                    output(f"$ {command}")
                before = len(visit.blocked)
                left = max(0.0, deadline - time.monotonic())
                ended = await within.run(
                    self._job(order, visit, command, left), stop=stop, on_output=output
                )
                refused = tuple(f"{each.host}:{each.port}" for each in visit.blocked[before:])
                if ended.how != "exited" or ended.code != 0:
                    return _attempt(command, ended, refused)
                for each in refused:  # it could do without
                    output(f"{each} was asked for, and is not among the hosts of the set-up.")
        return Attempt()

    def _commands(self, order: Order) -> tuple[str, ...]:
        place = order.place
        seen = self._sandbox.places(place.workspace, place.home).workspace
        # A sandbox that shows every workspace under the same path needs no more.
        return order.commands if seen != str(place.workspace) else (*order.commands, _UNROOT)

    def _job(self, order: Order, visit: Visit, command: str, seconds: float) -> Job:
        place = order.place
        hidden = frozenset(order.secrets.values()) | self._mirrors.secrets | visit.secrets
        return Job(
            argv=("/bin/sh", "-c", command),
            workspace=place.workspace,
            home=place.home,
            env={**_QUIET, **self._mirrors.env, **visit.env, **order.secrets},
            readable=self._tools,
            seconds=seconds,
            output_bytes=self._output_bytes,
            log=order.log,
            namespace=place.namespace,
            doors=visit.doors,
            secrets=hidden,
        )


def _attempt(command: str, ended: Ended, blocked: tuple[str, ...]) -> Attempt:
    return Attempt(
        failed=command,
        why=_why(ended),
        log=ended.tail,
        blocked=blocked,
        stopped=ended.how == "stopped",
    )


def _why(ended: Ended) -> str:
    match ended.how:
        case "timed_out":
            return "did not end within the minutes of `setup:`"
        case "out_of_memory":
            return "needed more memory than a job may have"
        case "too_many_processes":
            return "started more processes than a job may have"
        case "too_much_output":
            return "printed more than the server keeps"
    if ended.code == NOT_FOUND and (name := missing_program(ended.tail)):
        return (
            f"needs `{name}`, which is not there: it must lie in /usr, or in a folder that "
            "ORCHESTRATE_TOOLS names on the server"
        )
    return f"failed with exit code {ended.code}"
