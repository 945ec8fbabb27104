"""The checks of a server, as runs ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bot.checks.detect import READS, detect
from bot.checks.model import CheckSpec
from bot.checks.run import run_check
from bot.runs.ports import Check, Place
from bot.sandbox.environment.within import Within
from bot.sandbox.model import Sandbox


class CheckDesk:
    """Fulfils the runs' port to checks: in the sandbox, with the operator's tools."""

    def __init__(self, sandbox: Sandbox, *, tools: tuple[Path, ...], output_bytes: int) -> None:
        self._sandbox = sandbox
        self._tools = tools
        self._output_bytes = output_bytes

    @property
    def reads(self) -> frozenset[str]:
        """The files, by path, that `detect` may want to read."""
        return READS

    def detect(self, paths: Sequence[str], read: Callable[[str], bytes | None]) -> Sequence[Check]:
        """Find the checks of a repository that names none."""
        found = detect(paths, read)
        return [Check(each.name, each.run, each.report, each.seconds) for each in found]

    async def run(
        self,
        check: Check,
        place: Place,
        *,
        log: Path,
        stop: asyncio.Event,
        output: Callable[[str], None],
    ) -> dict[str, Any]:
        """Run one check; return its result as plain data."""
        spec = CheckSpec(check.name, check.run, check.report, check.seconds)
        result = await run_check(
            spec,
            sandbox=Within(self._sandbox, place.env, place.path),
            workspace=place.workspace,
            home=place.home.with_name("check-home"),
            tools=(*place.readable, *self._tools),
            log=log,
            stop=stop,
            on_output=output,
            output_bytes=self._output_bytes,
            namespace=place.namespace,
        )
        return result.to_dict()
